/* SPDX-License-Identifier: Apache-2.0 */
/* Starting and ending the benchmark's own torpord. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "benchmarks/daemon.h"

#define HOST_READY_NS (120 * TP_NSEC_PER_SEC)
#define HOST_END_NS   (60 * TP_NSEC_PER_SEC)

/* --- its state directory --- */

static struct torpor_error *make_dir(const char *path)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return tp_error_errno(errno, "make directory", path);
	return NULL;
}

/* The template's files by other names: nothing is copied, and both can be removed. */
static struct torpor_error *link_template(struct bench *b, const char *dir)
{
	const char *name = b->options->template_name;
	TP_FREE char *from = tp_asprintf("%s/templates/%s", b->engine->state_dir, name);
	TP_FREE char *all = tp_asprintf("%s/templates", dir);
	TP_FREE char *to = tp_asprintf("%s/%s", all, name);
	struct dirent *entry;
	struct torpor_error *err = NULL;

	TP_TRY(make_dir(all));
	TP_TRY(make_dir(to));
	DIR *files = opendir(from);
	if (!files)
		return tp_error_errno(errno, "open", from);
	while (!err && (entry = readdir(files))) {
		TP_FREE char *old = tp_asprintf("%s/%s", from, entry->d_name);
		TP_FREE char *new = tp_asprintf("%s/%s", to, entry->d_name);
		if (entry->d_name[0] != '.' && link(old, new) < 0)
			err = tp_error_errno(errno, "link", new);
	}
	closedir(files);
	return err;
}

static struct torpor_error *write_config(struct bench *b, struct bench_host *host)
{
	FILE *f = fopen(host->config, "we");

	if (!f)
		return tp_error_errno(errno, "create", host->config);
	fprintf(f,
		"[daemon]\nstate_dir = %s\nsocket = %s\nlog_level = warning\n"
		"[pool]\nhost_memory = 90%%\nmax_sessions = 100000\n"
		"[sessions]\nttl = never\nidle = never\nretention = never\n"
		"[template %s]\nwarm_min = 4\nwarm_max = 8\nshells_min = 2\nshells_max = 4\n",
		host->dir, host->socket, b->options->template_name);
	return fclose(f) == 0 ? NULL : tp_error_errno(errno, "write", host->config);
}

static void remove_tree(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		TP_FREE char *inner = tp_asprintf("%s/%s", path, entry->d_name);
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (entry->d_type == DT_DIR)
			remove_tree(inner);
		else
			unlink(inner);
	}
	if (dir)
		closedir(dir);
	rmdir(path);
}

/* --- the process --- */

/* It says READY=1 here (sd_notify(3)). */
static struct torpor_error *open_notify(struct bench_host *host)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	TP_FREE char *path = tp_asprintf("%s/notify", host->dir);

	host->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	unlink(path);
	if (host->notify_fd < 0 ||
		bind(host->notify_fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return tp_error_errno(errno, "listen on", path);
	return NULL;
}

static struct torpor_error *wait_ready(struct bench *b, struct bench_host *host)
{
	struct tp_call call = tp_call_from(&b->options->call, HOST_READY_NS);
	TP_FD int pidfd = pidfd_open(host->pid, 0);
	char text[512];

	for (;;) {
		struct pollfd fds[] = {
			{.fd = host->notify_fd, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
		TP_TRY(tp_wait_fds(fds, 2, &call, "wait for", "torpord"));
		if (fds[0].revents) {
			ssize_t n = recv(host->notify_fd, text, sizeof(text) - 1, 0);
			text[TP_MAX(n, 0)] = '\0';
			if (strstr(text, "READY=1"))
				return NULL;
		} else if (fds[1].revents) {
			return tp_error(TORPOR_E_IO, "start", b->options->daemon,
				"it ended; what it said is above");
		}
	}
}

struct torpor_error *bench_host_run(struct bench *b, struct bench_host *host)
{
	TP_FREE char *notify = tp_asprintf("NOTIFY_SOCKET=%s/notify", host->dir);
	const char *argv[] = {b->options->daemon, "--config", host->config, NULL};
	size_t n = 0;

	while (environ[n])
		n++;
	TP_FREE char **env = tp_calloc(n + 2, sizeof(*env));
	memcpy(env, environ, n * sizeof(*env));
	env[n] = notify;
	int errnum = posix_spawnp(&host->pid, argv[0], NULL, NULL, (char *const *)argv, env);
	if (errnum) {
		host->pid = 0;
		return tp_error_hint(tp_error_errno(errnum, "start", argv[0]),
			"Name torpord's program: --daemon=FILE.");
	}
	return wait_ready(b, host);
}

struct torpor_error *bench_host_halt(struct bench_host *host)
{
	struct tp_call call = tp_call_within(HOST_END_NS);
	TP_FD int pidfd = pidfd_open(host->pid, 0);

	if (pidfd < 0 || kill(host->pid, SIGTERM) < 0)
		return tp_error_errno(errno, "end", "torpord");
	struct torpor_error *err =
		tp_wait_fd(pidfd, POLLIN, &call, "wait for the end of", "torpord");
	if (err)
		kill(host->pid, SIGKILL);
	waitpid(host->pid, NULL, 0);
	host->pid = 0;
	return err;
}

struct torpor_error *bench_host_restart(
	struct bench *b, struct bench_host *host, uint64_t *took_ns_out)
{
	TP_TRY(bench_host_halt(host));
	uint64_t start = tp_now_ns();
	TP_TRY(bench_host_run(b, host));
	*took_ns_out = tp_now_ns() - start;
	return NULL;
}

static struct torpor_error *add_tenant(struct bench *b, struct bench_host *host)
{
	static const char body[] = "{\"name\": \"" BENCH_TENANT "\", \"limits\": {"
				   "\"sessions\": 100000, \"memory_bytes\": 1000000000000000, "
				   "\"parked_bytes\": 1000000000000000, "
				   "\"requests_per_minute\": 1000000}}";
	struct torpor_client_options admin = {.socket_path = host->socket};
	struct torpor_client *client;

	TP_TRY(torpor_client_open(&admin, &client));
	struct torpor_error *err = torpor_client_request(
		client, "POST", "/v1/tenants", body, &b->options->call, NULL, NULL);
	torpor_client_close(client);
	return err;
}

struct torpor_error *bench_host_start(struct bench *b, struct bench_host *host)
{
	*host = (struct bench_host){.notify_fd = -1};
	host->dir = tp_asprintf("%s/bench-torpord-%d", b->engine->state_dir, getpid());
	host->socket = tp_asprintf("%s/sock", host->dir);
	host->config = tp_asprintf("%s/torpord.conf", host->dir);
	TP_TRY(make_dir(host->dir));
	TP_TRY(link_template(b, host->dir));
	TP_TRY(write_config(b, host));
	TP_TRY(open_notify(host));
	TP_TRY(bench_host_run(b, host));
	TP_TRY(add_tenant(b, host));
	struct torpor_client_options options = {
		.socket_path = host->socket, .tenant = BENCH_TENANT};
	return torpor_client_open(&options, &host->client);
}

/* All sessions, so that no guest is left when the process has ended. */
static bool destroy_each(void *data, const struct torpor_remote_session *session)
{
	struct bench_host *host = data;

	tp_error_log(torpor_client_destroy(host->client, session->id, NULL));
	return true;
}

void bench_host_deinit(struct bench_host *host)
{
	if (host->client) {
		tp_error_log(torpor_client_list(host->client, NULL, NULL, destroy_each, host));
		torpor_client_close(host->client);
	}
	if (host->pid)
		tp_error_log(bench_host_halt(host));
	tp_close(host->notify_fd);
	if (host->dir)
		remove_tree(host->dir);
	free(host->dir);
	free(host->socket);
	free(host->config);
}

/* --- its pool --- */

struct stock {
	unsigned int warm;
	unsigned int warm_target;
	unsigned int shells;
	unsigned int shell_target;
	unsigned int starting;
};

static struct torpor_error *get_stock(
	struct bench *b, struct bench_host *host, struct stock *stock_out)
{
	TP_FREE char *text = NULL;
	struct stock stock = {0};

	TP_TRY(torpor_client_request(
		host->client, "GET", "/v1/pool", NULL, &b->options->call, NULL, &text));
	json_t *pool = json_loads(text, 0, NULL);
	if (json_array_size(json_object_get(pool, "templates")) == 0) {
		/* The template isn't in use yet: there is more to come. */
		json_decref(pool);
		*stock_out = (struct stock){.warm_target = 1};
		return NULL;
	}
	int bad = json_unpack(pool, "{s:[{s:{s:i, s:i, s:i, s:i, s:i}}]}", "templates", "pool",
		"warm", &stock.warm, "warm_target", &stock.warm_target, "shells", &stock.shells,
		"shell_target", &stock.shell_target, "starting", &stock.starting);
	json_decref(pool);
	if (bad)
		return tp_error(TORPOR_E_IO, "read", "the pool's state", "it is \"%s\"", text);
	*stock_out = stock;
	return NULL;
}

struct torpor_error *bench_host_stocked(struct bench *b, struct bench_host *host)
{
	uint64_t give_up = tp_now_ns() + HOST_READY_NS;
	struct stock stock;

	do {
		TP_TRY(get_stock(b, host, &stock));
		if (stock.starting == 0 && stock.warm >= stock.warm_target &&
			stock.shells >= stock.shell_target)
			return NULL;
		/* Not an event: what waits for one would be part of what is measured. */
		TP_TRY(bench_quiet(b, 20));
	} while (tp_now_ns() < give_up);
	return tp_error(TORPOR_E_TIMEOUT, "wait for", "the pool",
		"%u of %u warm guests, %u of %u shells", stock.warm, stock.warm_target,
		stock.shells, stock.shell_target);
}

struct torpor_error *bench_host_starting(
	struct bench *b, struct bench_host *host, unsigned int *n_out)
{
	struct stock stock;

	TP_TRY(get_stock(b, host, &stock));
	*n_out = stock.starting;
	return NULL;
}

struct torpor_error *bench_host_claim(struct bench *b, struct bench_host *host,
	struct torpor_remote_session *session_out, uint64_t *answer_ns_out)
{
	struct torpor_client_spec spec = {.template_name = b->options->template_name};
	uint64_t start = tp_now_ns();

	TP_TRY(torpor_client_create(host->client, &spec, &b->options->call, session_out));
	*answer_ns_out = tp_now_ns() - start;
	return NULL;
}

struct torpor_error *bench_host_destroy(struct bench *b, struct bench_host *host, const char *id)
{
	return torpor_client_destroy(host->client, id, &b->options->call);
}
