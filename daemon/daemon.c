/* SPDX-License-Identifier: Apache-2.0 */
/* torpord without its command line and signals. */
#include "daemon/daemon.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/auth.h"
#include "daemon/http_engine.h"
#include "daemon/listen.h"
#include "daemon/log.h"
#include "daemon/login.h"
#include "daemon/notify.h"
#include "daemon/tls.h"

#define LOGIN_KEY_NAME "login.key"	      /* in the state directory */
#define PATIENCE_NS    (30 * TP_NSEC_PER_SEC) /* for running requests, when it ends */

struct tp_daemon {
	struct tp_daemon_config *config; /* that it was started with */
	struct tp_service *service;
	struct tp_auth *auth;
	struct tp_logins *logins;
	struct tp_tls *tls; /* or NULL */
	struct http *http;
	int socket_fd; /* our own UNIX socket, to be removed; -1: none, or systemd's */
};

/* The files that CONFIG names. *TLS_OUT is NULL where there is none; both are to be freed, on
 * failure too. */
static struct torpor_error *read_files(
	const struct tp_daemon_config *config, struct tp_auth **auth_out, struct tp_tls **tls_out)
{
	*auth_out = NULL;
	*tls_out = NULL;
	TP_TRY(tp_auth_new(&config->auth, NULL, auth_out));
	if (config->tls_cert)
		TP_TRY(tp_tls_new(config->tls_cert, config->tls_key, tls_out));
	return NULL;
}

struct torpor_error *tp_daemon_check(const struct tp_daemon_config *config)
{
	TP_CLEANUP(tp_auth_free) struct tp_auth *auth = NULL;
	TP_CLEANUP(tp_tls_free) struct tp_tls *tls = NULL;

	return read_files(config, &auth, &tls);
}

/* --- start --- */

static void add_listener(struct http_options *options, int fd, bool tls)
{
	options->listeners[options->n_listeners].fd = fd;
	options->listeners[options->n_listeners].tls = tls;
	options->n_listeners++;
}

/* What systemd has handed over stands in for what is configured. */
static struct torpor_error *listen_unix(struct tp_daemon *daemon, struct http_options *options)
{
	const struct tp_daemon_config *config = daemon->config;
	int fd = tp_activated_socket(AF_UNIX);

	if (fd < 0 && config->socket) {
		TP_TRY(tp_listen_unix(
			config->socket, config->socket_mode, config->socket_group, &fd));
		daemon->socket_fd = fd;
	}
	if (fd >= 0)
		add_listener(options, fd, false);
	return NULL;
}

static struct torpor_error *listen_tcp(struct tp_daemon *daemon, struct http_options *options)
{
	const struct tp_daemon_config *config = daemon->config;
	int fd = tp_activated_socket(AF_INET);

	if (fd >= 0 && !config->tls_cert && !config->tcp_plain) {
		tp_close(fd);
		return tp_error(TORPOR_E_INVALID, "listen on", "systemd's TCP socket",
			"there is neither tls_cert nor plain = yes in [tcp]");
	}
	if (fd < 0 && config->tcp_listen)
		TP_TRY(tp_listen_tcp(config->tcp_listen, &fd));
	if (fd < 0)
		return NULL;
	add_listener(options, fd, config->tls_cert != NULL);
	if (config->tls_cert)
		TP_TRY(tp_tls_new(config->tls_cert, config->tls_key, &daemon->tls));
	options->tls = daemon->tls;
	return NULL;
}

static struct torpor_error *open_service(struct tp_daemon *daemon)
{
	struct torpor_error *err = tp_service_open(&daemon->config->service, &daemon->service);

	if (!err || torpor_error_code(err) != TORPOR_E_BUSY)
		return err;
	return tp_error_hint(err, "Is torpord running already? Each needs a state directory of its "
				  "own: state_dir in [daemon], or --state.");
}

static struct torpor_error *start(
	struct tp_daemon *daemon, struct http_options *options, bool *taken_out)
{
	struct tp_daemon_config *config = daemon->config;

	TP_TRY(listen_unix(daemon, options));
	TP_TRY(listen_tcp(daemon, options));
	config->service.engine.log = tp_daemon_log_line;
	TP_TRY(open_service(daemon));
	TP_TRY(tp_auth_new(&config->auth, daemon->service, &daemon->auth));
	TP_FREE char *key_path = tp_asprintf("%s/" LOGIN_KEY_NAME, config->state_dir);
	TP_TRY(tp_logins_new(key_path, &daemon->logins));
	options->daemon = daemon;
	options->service = daemon->service;
	options->auth = daemon->auth;
	options->logins = daemon->logins;
	options->bounds = config->http;
	*taken_out = true;
	return http_start(options, &daemon->http);
}

static struct tp_daemon *release(struct tp_daemon *daemon)
{
	tp_service_close(daemon->service);
	tp_logins_free(daemon->logins);
	tp_auth_free(daemon->auth);
	tp_tls_free(daemon->tls);
	tp_config_free(daemon->config);
	free(daemon);
	return NULL;
}

struct torpor_error *tp_daemon_start(struct tp_daemon_config *config,
	const struct http_route *routes, struct tp_daemon **daemon_out)
{
	struct tp_daemon *daemon = tp_calloc(1, sizeof(*daemon));
	struct http_options options = {.routes = routes};
	bool taken = false;

	daemon->config = config;
	daemon->socket_fd = -1;
	struct torpor_error *err = start(daemon, &options, &taken);
	if (!err) {
		*daemon_out = daemon;
		return NULL;
	}
	if (daemon->socket_fd >= 0 && !taken)
		tp_listen_remove(config->socket, daemon->socket_fd);
	for (size_t i = 0; !taken && i < options.n_listeners; i++)
		tp_close(options.listeners[i].fd);
	release(daemon);
	return err;
}

/* --- reload --- */

static bool differ(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) != 0 : a != b;
}

/* What is only looked at when torpord starts. What the service has to say of its own, it says. */
static void warn_of_restart(
	const struct tp_daemon_config *running, const struct tp_daemon_config *new)
{
	const struct {
		const char *what;
		bool changed;
	} fixed[] = {
		{"[daemon] state_dir", differ(running->state_dir, new->state_dir)},
		{"[daemon] socket", differ(running->socket, new->socket)},
		{"[daemon] socket_mode", running->socket_mode != new->socket_mode},
		{"[daemon] socket_group", differ(running->socket_group, new->socket_group)},
		{"[tcp] listen", differ(running->tcp_listen, new->tcp_listen)},
		{"[tcp] plain", running->tcp_plain != new->tcp_plain},
		{"[tcp] tls_cert", !running->tls_cert != !new->tls_cert},
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(fixed); i++) {
		if (fixed[i].changed)
			tp_log(TP_LOG_WARNING, "%s has changed: that needs a restart",
				fixed[i].what);
	}
}

struct torpor_error *tp_daemon_reload(struct tp_daemon *daemon, struct tp_daemon_config *config)
{
	TP_CLEANUP(tp_config_free) struct tp_daemon_config *new = config;
	TP_CLEANUP(tp_auth_free) struct tp_auth *auth = NULL;
	TP_CLEANUP(tp_tls_free) struct tp_tls *tls = NULL;

	new->service.engine.log = tp_daemon_log_line;
	/* First all that can fail, so that it is all or nothing. */
	TP_TRY(read_files(new, &auth, &tls));
	TP_TRY(tp_service_reload(daemon->service, &new->service));
	tp_auth_exchange(daemon->auth, auth);
	if (daemon->tls && tls)
		tp_tls_take(daemon->tls, tls);
	http_configure(daemon->http, &new->http);
	tp_daemon_log_level(new->log_level);
	warn_of_restart(daemon->config, new);
	return NULL;
}

/* --- end --- */

struct tp_daemon *tp_daemon_stop(struct tp_daemon *daemon)
{
	if (!daemon)
		return NULL;
	if (daemon->socket_fd >= 0)
		tp_listen_remove(daemon->config->socket, daemon->socket_fd);
	tp_service_drain(daemon->service);
	http_drain(daemon->http, PATIENCE_NS);
	http_stop(daemon->http);
	return release(daemon);
}
