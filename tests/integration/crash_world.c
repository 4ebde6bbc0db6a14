/* SPDX-License-Identifier: Apache-2.0 */
/* A torpord of a test's own: starting, ending, asking. crash_check.c has what must be true. */
#include "crash_world.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "crash_priv.h"

#define READY_WITHIN_MS 60000
#define DIES_WITHIN_MS	60000
#define PATIENCE_MS	60000
#define EVERY_MS	10

struct crash_world world;

static char label[128];
static atomic_uint complaints;

void world_label(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(label, sizeof(label), format, ap);
	va_end(ap);
}

void world_complain(const char *format, ...)
{
	va_list ap;
	TP_FREE char *text = NULL;

	va_start(ap, format);
	text = tp_vasprintf(format, ap);
	va_end(ap);
	atomic_fetch_add(&complaints, 1);
	printf("  %s: %s\n", label, text);
	fflush(stdout);
}

unsigned int world_complaints(void)
{
	return atomic_load(&complaints);
}

/* Nothing can be said of the rest. */
static void give_up(const char *why)
{
	world_complain("%s; torpord's log is %s/log", why, world.dir);
	world_kill();
	world_end_guests();
	exit(1);
}

/* --- the directory --- */

/* One program at a time in each; the lock goes with the process. */
static void lock_directory(void)
{
	TP_FREE char *path = tp_asprintf("%s.lock", world.dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		give_up("its directory can't be locked");
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void)st;
	(void)kind;
	(void)where;
	return remove(path);
}

static const char *environment(const char *name)
{
	const char *value = getenv(name);

	if (!value) {
		fprintf(stderr, "%s is not set: run this through meson test\n", name);
		exit(2);
	}
	return value;
}

static void write_config(unsigned int stock)
{
	TP_FREE char *path = tp_asprintf("%s/torpord.conf", world.dir);
	FILE *f = fopen(path, "we");

	if (!f)
		give_up("no configuration can be written");
	fprintf(f,
		"[daemon]\nstate_dir = %s/state\nsocket = %s/socket\n"
		"[template minimal]\nwarm_min = %u\nwarm_max = %u\n"
		"shells_min = %u\nshells_max = %u\n"
		"[sessions]\nttl = never\nhealth_interval = never\n"
		"[tenants]\nrequests_per_minute = 1000000\n",
		world.dir, world.dir, stock, stock, stock, stock);
	fclose(f);
}

void world_open(const char *name, unsigned int stock)
{
	const char *shared = environment("TORPOR_TEST_STATE");
	TP_FREE char *templates = tp_asprintf("%s/templates", shared);

	world.torpord = environment("TORPOR_TEST_TORPORD");
	world.stock = stock;
	world.dir = tp_asprintf("%s-%s", shared, name);
	world.state_dir = tp_asprintf("%s/state", world.dir);
	world.socket = tp_asprintf("%s/socket", world.dir);
	lock_directory();
	setenv(WORLD_MARK, world.dir, 1);
	world_end_guests(); /* of one that was broken off */
	nftw(world.dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	TP_FREE char *link = tp_asprintf("%s/templates", world.state_dir);
	if (mkdir(world.dir, 0700) < 0 || mkdir(world.state_dir, 0700) < 0 ||
		symlink(templates, link) < 0)
		give_up("its directory can't be made");
	write_config(stock);
}

/* The session ID of TENANT, for whom the admin acts. */
static bool destroy(const char *tenant, const char *id)
{
	struct torpor_client_options options = {.socket_path = world.socket, .tenant = tenant};
	struct torpor_client *client;

	struct torpor_error *err = torpor_client_open(&options, &client);
	if (!err) {
		err = torpor_client_destroy(client, id, NULL);
		torpor_client_close(client);
	}
	bool ok = !err;
	if (!ok)
		world_complain("destroy %s: %s", id, torpor_error_message(err));
	torpor_error_free(err);
	return ok;
}

static void destroy_all(void)
{
	for (;;) {
		const char *id = world_ask("SELECT id FROM sessions ORDER BY id");
		const char *tenant = world_ask("SELECT tenant FROM sessions ORDER BY id");
		if (!*id || !destroy(tenant, id))
			return;
	}
}

unsigned int world_close(void)
{
	if (world_lives()) {
		int status;
		destroy_all();
		world_check();
		world.client = torpor_client_close(world.client);
		kill(world.pid, SIGTERM);
		waitpid(world.pid, &status, 0);
		world.pid = 0;
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			world_complain("torpord ended with status 0x%x", (unsigned int)status);
	}
	unsigned int left = world_end_guests();
	if (left > 0)
		world_complain("%u guests were left at the end", left);
	return world_complaints();
}

/* --- the process --- */

pid_t world_pid(void)
{
	return world.pid;
}

const char *world_socket(void)
{
	return world.socket;
}

const char *world_dir(void)
{
	return world.dir;
}

struct torpor_client *world_client(void)
{
	return world.client;
}

/* Waits for torpord's end; false when TIMEOUT_MS are over. */
static bool ends_within(int timeout_ms)
{
	TP_FD int fd = pidfd_open(world.pid, 0);
	struct pollfd ended = {.fd = fd, .events = POLLIN};

	return fd < 0 || poll(&ended, 1, timeout_ms) > 0;
}

bool world_lives(void)
{
	return world.pid > 0 && !ends_within(0);
}

static bool reap(void)
{
	int status = 0;

	world.client = torpor_client_close(world.client);
	if (world.pid > 0)
		waitpid(world.pid, &status, 0);
	world.pid = 0;
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

bool world_died(void)
{
	if (world.pid > 0 && !ends_within(DIES_WITHIN_MS))
		return false;
	return world.pid == 0 ? world.was_killed : (world.was_killed = reap());
}

void world_kill(void)
{
	if (world.pid > 0)
		kill(world.pid, SIGKILL);
	reap();
}

static void run_torpord(const char *fault)
{
	TP_FREE char *config = tp_asprintf("%s/torpord.conf", world.dir);
	TP_FREE char *log = tp_asprintf("%s/log", world.dir);
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

	if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
		_exit(126);
	close(fd);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* of this program, however it ends */
	dprintf(STDERR_FILENO, "--- %s, TORPOR_FAULT=%s\n", label, fault ? fault : "");
	if (fault)
		setenv("TORPOR_FAULT", fault, 1);
	else
		unsetenv("TORPOR_FAULT");
	execl(world.torpord, "torpord", "--config", config, (char *)NULL);
	_exit(127);
}

static bool is_ready(void)
{
	struct torpor_call call = {.timeout_ns = UINT64_C(60000000000)};
	struct torpor_error *err =
		torpor_client_request(world.client, "GET", "/readyz", NULL, &call, NULL, NULL);

	torpor_error_free(err);
	return !err;
}

bool world_start(const char *fault)
{
	struct torpor_client_options options = {
		.socket_path = world.socket, .timeout_ns = UINT64_C(120000000000)};

	fflush(stdout);
	world.pid = fork();
	if (world.pid < 0)
		give_up("fork failed");
	if (world.pid == 0)
		run_torpord(fault);
	world.pids = tp_reallocarray(world.pids, world.n_pids + 1, sizeof(*world.pids));
	world.pids[world.n_pids++] = world.pid;
	if (torpor_client_open(&options, &world.client))
		give_up("no client");
	for (int waited_ms = 0; waited_ms < READY_WITHIN_MS; waited_ms += EVERY_MS) {
		if (ends_within(EVERY_MS)) {
			world.was_killed = reap();
			if (!fault)
				give_up("torpord ended before it was ready");
			return false;
		}
		if (is_ready())
			return true;
	}
	give_up("torpord isn't ready after a minute");
	return false;
}

/* --- requests --- */

struct torpor_error *world_try(
	const char *method, const char *path, const char *body, char **answer_out)
{
	return torpor_client_request(world.client, method, path, body, NULL, NULL, answer_out);
}

bool world_do(const char *method, const char *path, const char *body)
{
	struct torpor_error *err = world_try(method, path, body, NULL);

	bool ok = !err;
	if (!ok)
		world_complain("%s %s: %s", method, path, torpor_error_message(err));
	torpor_error_free(err);
	return ok;
}

static __thread char output[4096];

static void gather(void *data, int stream, const void *bytes, size_t len)
{
	size_t *used = data;

	(void)stream;
	len = TP_MIN(len, sizeof(output) - 1 - *used);
	memcpy(output + *used, bytes, len);
	*used += len;
}

const char *world_run(struct torpor_client *client, const char *id, const char *script)
{
	const char *const argv[] = {"sh", "-c", script, NULL};
	struct torpor_call call = {.timeout_ns = UINT64_C(60000000000)};
	struct torpor_client_exec_result result;
	size_t used = 0;
	struct torpor_client_exec exec = {.argv = argv, .output = gather, .output_data = &used};

	struct torpor_error *err = torpor_client_exec(client, id, &exec, &call, &result);
	output[used] = '\0';
	if (used > 0 && output[used - 1] == '\n')
		output[used - 1] = '\0';
	if (err || !result.exited || result.status != 0) {
		world_complain(
			"\"%s\" in %s: %s", script, id, err ? torpor_error_message(err) : output);
		strcpy(output, "?");
	}
	torpor_error_free(err);
	return output;
}

/* --- records --- */

static const char *ask(const char *sql)
{
	static __thread char answers[8][8192];
	static __thread unsigned int next;
	char *answer = answers[next++ % 8];
	TP_FREE char *path = tp_asprintf("%s/records.db", world.state_dir);
	sqlite3 *db = NULL;
	sqlite3_stmt *statement = NULL;

	answer[0] = '\0';
	int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL);
	if (rc == SQLITE_OK) {
		sqlite3_busy_timeout(db, 10000);
		rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
	}
	if (rc == SQLITE_OK)
		rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW && sqlite3_column_text(statement, 0))
		snprintf(answer, sizeof(answers[0]), "%s",
			(const char *)sqlite3_column_text(statement, 0));
	else if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		world_complain("\"%s\": %s", sql, sqlite3_errmsg(db));
	sqlite3_finalize(statement);
	sqlite3_close(db);
	return answer;
}

const char *world_ask(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	TP_FREE char *sql = tp_vasprintf(format, ap);
	va_end(ap);
	return ask(sql);
}

void world_await(const char *wanted, const char *format, ...)
{
	va_list ap;
	const char *answer = "";

	va_start(ap, format);
	TP_FREE char *sql = tp_vasprintf(format, ap);
	va_end(ap);
	for (int waited_ms = 0; waited_ms < PATIENCE_MS; waited_ms += EVERY_MS) {
		answer = ask(sql);
		if (strcmp(answer, wanted) == 0)
			return;
		if (ends_within(EVERY_MS))
			break;
	}
	world_complain("\"%s\" is \"%s\" and not \"%s\"", sql, answer, wanted);
}

void world_kill_guest(const char *id)
{
	pid_t pid = atoi(world_ask(
		"SELECT json_extract(handover, '$.pid') FROM sessions WHERE id = '%s'", id));

	if (pid > 0)
		kill(pid, SIGKILL);
	else
		world_complain("%s has no guest to be killed", id);
}
