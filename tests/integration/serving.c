/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by tests of the service with real guests. */
#include "serving.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/spawn.h"

/* Only reached by what hangs. */
#define PATIENCE_NS	 (300 * TP_NSEC_PER_SEC)
#define KILLED_WITHIN_MS 60000

struct tp_actor serving_actor = {.tenant = TP_DEFAULT_TENANT, .how = "test", .perms = TP_PERM_ALL};
struct serving_told *serving_told;

static char dir[4096];

static struct tp_call patience(void)
{
	return tp_call_within(PATIENCE_NS);
}

const char *serving_dir(void)
{
	const char *shared = getenv("TORPOR_TEST_STATE");
	char target[4200];
	char link[4200];

	cr_assert_not_null(shared, "TORPOR_TEST_STATE is not set: run this through meson test");
	snprintf(dir, sizeof(dir), "%s-service-XXXXXX", shared);
	cr_assert_not_null(mkdtemp(dir));
	snprintf(target, sizeof(target), "%s/templates", shared);
	snprintf(link, sizeof(link), "%s/templates", dir);
	cr_assert_eq(symlink(target, link), 0);
	return dir;
}

static void log_line(void *data, int level, const char *line)
{
	(void)data;
	if (level >= 1)
		fprintf(stderr, "torpor[%d]: %s\n", getpid(), line);
}

struct tp_service_config serving_config(const char *state_dir)
{
	struct tp_service_config config;

	tp_service_config_init(&config);
	config.engine.state_dir = state_dir;
	config.engine.log = log_line;
	config.policy.warm_min = config.policy.shells_min = 1;
	config.policy.warm_max = config.policy.shells_max = 1;
	config.timers = (struct tp_timers){0};
	config.health_every_ns = 0;
	config.memory_reserve = 1;
	return config;
}

struct tp_service *serving_open(const char *state_dir)
{
	struct tp_service_config config = serving_config(state_dir);
	struct tp_service *service;

	it_ok(tp_service_open(&config, &service));
	return service;
}

static struct torpor_error *add_id(void *data, const struct tp_session_row *row)
{
	struct tp_buf *ids = data;

	tp_buf_put(ids, row->id, TP_ID_LEN + 1);
	return NULL;
}

void serving_end(struct tp_service *service)
{
	TP_BUF struct tp_buf ids = {0};
	struct tp_session_filter all = {0};
	struct tp_call call = patience();

	it_ok(tp_records_sessions(service->records, &all, add_id, &ids));
	for (size_t at = 0; at < ids.len; at += TP_ID_LEN + 1)
		it_ok(tp_service_destroy(
			service, &serving_actor, (const char *)ids.data + at, &call));
	tp_service_close(service);
	cr_assert_eq(serving_guests(dir), 0, "guests are left");
}

const char *serving_keep_id(json_t *view)
{
	static char ids[64][TP_ID_LEN + 1];
	static unsigned int next;
	char *id = ids[next++ % TP_ARRAY_LEN(ids)];

	snprintf(id, sizeof(ids[0]), "%s", json_string_value(json_object_get(view, "id")));
	json_decref(view);
	return id;
}

const char *serving_create(struct tp_service *service, const char *name)
{
	struct tp_create_spec spec = {.template_name = IT_TEMPLATE,
		.name = name,
		.timers = {TP_UNSET, TP_UNSET, TP_UNSET}};
	struct tp_call call = patience();
	json_t *view;

	it_ok(tp_service_create(service, &serving_actor, &spec, &call, &view));
	return serving_keep_id(view);
}

json_t *serving_get(struct tp_service *service, const char *id)
{
	json_t *view;

	it_ok(tp_service_get(service, &serving_actor, id, &view));
	return view;
}

void serving_park(struct tp_service *service, const char *id)
{
	struct tp_call call = patience();
	json_t *view;

	it_ok(tp_service_park(service, &serving_actor, id, &call, &view));
	json_decref(view);
}

void serving_resume(struct tp_service *service, const char *id)
{
	struct tp_call call = patience();
	json_t *view;

	it_ok(tp_service_resume(service, &serving_actor, id, &call, &view));
	json_decref(view);
}

/* --- commands --- */

static void keep_output(void *data, int stream, const void *bytes, size_t len)
{
	(void)stream;
	tp_buf_put(data, bytes, len);
}

const char *serving_run(struct tp_service *service, const char *id, const char *script)
{
	static struct tp_buf output;
	const char *const argv[] = {"sh", "-c", script, NULL};
	struct tp_exec_spec spec = {
		.argv = argv, .stdin_fd = -1, .output = keep_output, .data = &output};
	struct torpor_exec_result result;
	struct tp_call call = patience();

	tp_buf_deinit(&output);
	output = (struct tp_buf){0};
	it_ok(tp_service_exec(service, &serving_actor, id, &spec, &call, &result));
	while (output.len > 0 && output.data[output.len - 1] == '\n')
		output.len--;
	tp_buf_put_u8(&output, '\0');
	cr_assert(result.exited && result.status == 0, "%s: %d: %s", script, result.status,
		(char *)output.data);
	return (char *)output.data;
}

int serving_pid(struct tp_service *service, const char *id)
{
	TP_FREE struct tp_live_brief *briefs = NULL;
	size_t n = tp_live_briefs(service, &briefs);

	for (size_t i = 0; i < n; i++) {
		if (strcmp(briefs[i].id, id) == 0)
			return briefs[i].pid;
	}
	return 0;
}

void serving_assert_state(struct tp_service *service, const char *id, const char *state)
{
	TP_JSON json_t *view = serving_get(service, id);
	TP_FREE char *text = json_dumps(view, 0);

	cr_assert_str_eq(json_string_value(json_object_get(view, "state")), state, "%s", text);
}

/* Whether it is so now; a session that is gone is "destroyed". */
static bool is_in(struct tp_service *service, const char *id, const char *state)
{
	json_t *view;

	struct torpor_error *err = tp_service_get(service, &serving_actor, id, &view);
	if (err) {
		bool gone = torpor_error_code(err) == TORPOR_E_NOT_FOUND;
		torpor_error_free(err);
		return gone && strcmp(state, "destroyed") == 0;
	}
	bool is = strcmp(json_string_value(json_object_get(view, "state")), state) == 0;
	json_decref(view);
	return is;
}

void serving_await_state(struct tp_service *service, const char *id, const char *state)
{
	struct tp_call call = patience();

	for (;;) {
		uint64_t after = tp_service_last_event(service);
		struct tp_event event;
		if (is_in(service, id, state))
			return;
		it_ok(tp_service_next_event(service, &serving_actor, id, after, &call, &event));
		json_decref(event.data);
	}
}

/* --- a process that is killed --- */

static void make_shared(void)
{
	if (!serving_told)
		serving_told = mmap(NULL, sizeof(*serving_told), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(serving_told, MAP_FAILED);
	*serving_told = (struct serving_told){0};
}

void serving_tell(struct tp_service *service, const char *id)
{
	size_t i = serving_told->n++;

	snprintf(serving_told->ids[i], sizeof(serving_told->ids[i]), "%s", id);
	serving_told->pids[i] = serving_pid(service, id);
}

void serving_kill_after(const char *state_dir, const char *fault, serving_scenario *scenario)
{
	int status;

	make_shared();
	pid_t pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		if (fault)
			setenv("TORPOR_FAULT", fault, 1);
		tp_fault_init();
		struct tp_service *service = serving_open(state_dir);
		scenario(service);
		serving_told->returned = true;
		kill(getpid(), SIGKILL);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the process failed: %x",
		status);
	cr_assert_eq(serving_told->returned, !fault, "the fault %s didn't strike", fault);
}

/* --- guests --- */

/* Calls EACH with the process of each directory in DIR/run that has one; how many run. */
static unsigned int each_guest(const char *state_dir, void (*each)(pid_t pid))
{
	TP_FREE char *path = tp_asprintf("%s/run", state_dir);
	DIR *run = opendir(path);
	struct dirent *entry;
	unsigned int n = 0;

	while (run && (entry = readdir(run))) {
		TP_FREE char *record = tp_asprintf("%s/%s/process", path, entry->d_name);
		FILE *file = entry->d_name[0] == '.' ? NULL : fopen(record, "re");
		struct tp_process process;
		unsigned long long start;
		int pid;
		if (!file)
			continue;
		bool read = fscanf(file, "{\"pid\": %d, \"start_time\": %llu}", &pid, &start) == 2;
		fclose(file);
		struct torpor_error *err = read ? tp_process_open(pid, start, &process) : NULL;
		if (read && !err) {
			bool runs = !tp_process_ended(&process);
			n += runs;
			if (runs && each)
				each(pid);
			tp_process_deinit(&process);
		}
		torpor_error_free(err);
	}
	if (run)
		closedir(run);
	return n;
}

unsigned int serving_guests(const char *state_dir)
{
	return each_guest(state_dir, NULL);
}

bool serving_runs(int pid)
{
	TP_FREE char *path = tp_asprintf("/proc/%d/stat", pid);
	FILE *file = fopen(path, "re");
	char state = 'X';

	if (!file)
		return false;
	(void)!fscanf(file, "%*d (%*[^)]) %c", &state);
	fclose(file);
	return state != 'Z' && state != 'X';
}

void serving_kill_guest(int pid)
{
	TP_FD int pidfd = pidfd_open(pid, 0);
	struct pollfd ended = {.fd = pidfd, .events = POLLIN};

	cr_assert_geq(pidfd, 0, "%d: %m", pid);
	cr_assert_eq(pidfd_send_signal(pidfd, SIGKILL, NULL, 0), 0, "%d: %m", pid);
	cr_assert_eq(poll(&ended, 1, KILLED_WITHIN_MS), 1, "%d survived its kill", pid);
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void serving_clean_up(void)
{
	if (!dir[0])
		return;
	each_guest(dir, end);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
