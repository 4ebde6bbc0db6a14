/* SPDX-License-Identifier: Apache-2.0 */
/* torpord: command line and signals. */
#include <argp.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/daemon.h"
#include "daemon/log.h"
#include "daemon/notify.h"

#define DEFAULT_CONFIG TORPOR_SYSCONFDIR "/torpor/torpord.conf"

const char *argp_program_version = "torpord " TORPOR_VERSION;

enum { KEY_CONFIG = 256, KEY_STATE, KEY_SOCKET, KEY_LOG_LEVEL, KEY_CHECK };

static const struct argp_option options[] = {
	{"config", KEY_CONFIG, "FILE", 0,
		"The configuration (default: " DEFAULT_CONFIG "; without that file what is built "
		"in holds)",
		0},
	{"check-config", KEY_CHECK, NULL, 0,
		"Say \"ok\", or all that is wrong with the configuration, and end", 0},
	{"state", KEY_STATE, "DIR", 0, "In place of state_dir in the configuration", 0},
	{"socket", KEY_SOCKET, "FILE", 0, "In place of socket in the configuration", 0},
	{"log-level", KEY_LOG_LEVEL, "LEVEL", 0,
		"In place of log_level in the configuration: debug, info or warning", 0},
	{0},
};

struct arguments {
	const char *config; /* NULL: the default, which may be missing */
	const char *state;
	const char *socket;
	int log_level; /* -1: as configured */
	bool check;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	static const char *const levels[] = {"debug", "info", "warning"};
	struct arguments *arguments = state->input;

	switch (key) {
	case KEY_CONFIG:
		arguments->config = arg;
		return 0;
	case KEY_CHECK:
		arguments->check = true;
		return 0;
	case KEY_STATE:
		arguments->state = arg;
		return 0;
	case KEY_SOCKET:
		arguments->socket = arg;
		return 0;
	case KEY_LOG_LEVEL:
		for (int i = 0; i < (int)TP_ARRAY_LEN(levels); i++) {
			if (strcmp(arg, levels[i]) == 0)
				arguments->log_level = i;
		}
		if (arguments->log_level < 0)
			argp_error(state, "--log-level is debug, info or warning");
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "there are no arguments, only options: %s", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.doc = "Serves sessions of virtual machines over HTTP, to many tenants."
	       "\vOn the UNIX socket root is the admin and needs no token. SIGHUP: read the "
	       "configuration again. SIGTERM, SIGINT: answer what was asked, and end; guests run "
	       "on unless on_stop says otherwise.",
};

/* --- configuration --- */

static void override(struct tp_daemon_config *config, const struct arguments *arguments)
{
	if (arguments->state) {
		free(config->state_dir);
		config->state_dir = tp_strdup(arguments->state);
		config->service.engine.state_dir = config->state_dir;
	}
	if (arguments->socket) {
		free(config->socket);
		config->socket = tp_strdup(arguments->socket);
	}
	if (arguments->log_level >= 0)
		config->log_level = (enum tp_log_level)arguments->log_level;
}

/* All that is wrong goes to the log; the error sums it up. */
static struct torpor_error *load(
	const struct arguments *arguments, struct tp_daemon_config **config_out)
{
	const char *path = arguments->config ? arguments->config : DEFAULT_CONFIG;
	struct tp_config_faults faults = {0};
	struct tp_daemon_config *config;
	struct torpor_error *err = tp_config_load(path, &faults, &config);

	for (size_t i = 0; i < faults.n; i++)
		tp_log(TP_LOG_WARNING, "%s", faults.lines[i]);
	tp_config_faults_deinit(&faults);
	if (err && !arguments->config && torpor_error_code(err) == TORPOR_E_NOT_FOUND) {
		err = torpor_error_free(err);
		config = tp_config_defaults();
	}
	if (err)
		return err;
	override(config, arguments);
	*config_out = config;
	return NULL;
}

/* --- signals --- */

/* Descriptors for guests and connections: as many as this process may have at all. */
static void raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* Blocked before there are threads, so that they only come to sigwait below. */
static sigset_t block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return set;
}

static void log_failure(const char *what, struct torpor_error *err)
{
	const char *hint = torpor_error_hint(err);

	tp_log(TP_LOG_WARNING, "%s%s", what, torpor_error_message(err));
	if (hint)
		tp_log(TP_LOG_WARNING, "%s", hint);
	torpor_error_free(err);
}

static void reload(struct tp_daemon *daemon, const struct arguments *arguments)
{
	struct tp_daemon_config *config;

	tp_notify_reloading();
	struct torpor_error *err = load(arguments, &config);
	if (!err)
		err = tp_daemon_reload(daemon, config);
	if (err)
		log_failure("the old configuration stays: ", err);
	else
		tp_log(TP_LOG_INFO, "the configuration was read again");
	tp_notify("READY=1");
}

static void serve(
	struct tp_daemon *daemon, const struct arguments *arguments, const sigset_t *signals)
{
	int number = 0;

	while (sigwait(signals, &number) != 0 || number == SIGHUP) {
		if (number == SIGHUP)
			reload(daemon, arguments);
	}
	tp_notify("STOPPING=1");
	tp_log(TP_LOG_INFO, "ends on %s", sigdescr_np(number));
}

static struct torpor_error *run(const struct arguments *arguments, const sigset_t *signals)
{
	struct tp_daemon_config *config;
	struct tp_daemon *daemon;

	TP_TRY(load(arguments, &config));
	if (arguments->check) {
		struct torpor_error *err = tp_daemon_check(config);
		tp_config_free(config);
		if (!err)
			puts("ok");
		return err;
	}
	tp_daemon_log_level(config->log_level);
	raise_limits();
	TP_TRY(tp_daemon_start(config, http_routes, &daemon));
	tp_log(TP_LOG_INFO, "torpord " TORPOR_VERSION " is ready");
	tp_notify("READY=1");
	serve(daemon, arguments, signals);
	tp_daemon_stop(daemon);
	return NULL;
}

int main(int argc, char **argv)
{
	struct arguments arguments = {.log_level = -1};

	/* A thread for each connection would have an arena of its own, each with its own holes. */
	mallopt(M_ARENA_MAX, 2);
	tp_fault_init();
	argp_parse(&argp, argc, argv, 0, NULL, &arguments);
	tp_daemon_log_start(
		arguments.log_level < 0 ? TP_LOG_INFO : (enum tp_log_level)arguments.log_level);
	sigset_t signals = block_signals();
	struct torpor_error *err = run(&arguments, &signals);
	if (err) {
		log_failure("", err);
		return 1;
	}
	return 0;
}
