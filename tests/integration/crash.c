/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The crash matrix: torpord dies at each fault point, and the next one must make all of it right.
 *
 *   it_crash [--stock] [PREFIX...]
 *
 * For each point (those whose name begins with one of the PREFIXes) a session is brought to where
 * an operation passes the point. Where it can fail, it fails first: an error, and all as before.
 * Then torpord dies there. The next one must find the session as the point's row says, with what it
 * had in memory; three bystanders (running, paused, parked) stay as they are throughout.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "crash_world.h"
#include "deaf.h"
#include "service/fault_points.h"
#include "service/fault_points_recover.h"

/* --- the points --- */

#define POINT(name, what) name,
static const char *const can_fail[] = {
	TP_FAULT_POINTS(POINT) "records-commit", "audit-write", "audit-sync"};
static const char *const can_kill[] = {
	TP_FAULT_POINTS_GONE(POINT) TP_FAULT_POINTS_RECOVER(POINT) TP_FAULT_POINTS_KEEPER(POINT)};

/* What is done to the target. */
enum operation {
	CREATE,
	CREATE_DEAF, /* its warm guest runs, and never says so; with stock only */
	PARK,
	RESUME,
	PAUSE,
	UNPAUSE,
	CHECKPOINT,
	REMOVE_IMAGE,
	FORK,
	FORK_PARKED,
	DESTROY,
	CHANGE,
	END_GUEST, /* it dies by itself */
	EXPIRE,
	IDLE,
	RECOVER, /* with a guest that died, one of nobody, and a file of nobody */
};

/* What may have become of the target when torpord is there again. */
#define GONE	1u
#define RUNNING 2u
#define PAUSED	4u
#define PARKED	8u
#define DONE	16u /* what the operation adds or changes beside the state is there */
#define UNDONE	32u /* it isn't */

struct row {
	const char *point; /* NAME, or NAME:N */
	enum operation operation;
	unsigned int then;
};

static const struct row rows[] = {
	{"create.begin", CREATE, GONE},
	{"create.loaded", CREATE, GONE},
	{"create.running", CREATE, GONE},
	{"create.submitted", CREATE, GONE | RUNNING},
	{"create.dropped", CREATE_DEAF, GONE},
	{"create.committed", CREATE, RUNNING},
	{"park.begin", PARK, RUNNING},
	{"park.durable", PARK, RUNNING},
	{"park.committed", PARK, PARKED},
	{"park.gone", PARK, PARKED},
	{"resume.begin", RESUME, PARKED},
	{"resume.loaded", RESUME, PARKED},
	{"resume.running", RESUME, PARKED},
	{"resume.submitted", RESUME, PARKED | RUNNING},
	{"resume.committed", RESUME, RUNNING},
	{"pause.turned", PAUSE, RUNNING},
	{"pause.committed", PAUSE, PAUSED},
	{"unpause.turned", UNPAUSE, PAUSED},
	{"unpause.committed", UNPAUSE, RUNNING},
	{"checkpoint.begin", CHECKPOINT, RUNNING | UNDONE},
	{"checkpoint.durable", CHECKPOINT, RUNNING | UNDONE},
	{"checkpoint.committed", CHECKPOINT, RUNNING | DONE},
	{"remove-image.committed", REMOVE_IMAGE, RUNNING | DONE},
	{"fork.begin", FORK, RUNNING | UNDONE},
	{"fork.begin", FORK_PARKED, PARKED | UNDONE},
	{"fork.loaded", FORK, RUNNING | UNDONE},
	{"fork.running", FORK, RUNNING | UNDONE},
	{"fork.running", FORK_PARKED, PARKED | UNDONE},
	{"fork.submitted", FORK, RUNNING | UNDONE},
	{"fork.committed", FORK, RUNNING | DONE},
	{"fork.committed", FORK_PARKED, PARKED | DONE},
	{"destroy.begin", DESTROY, RUNNING},
	{"destroy.committed", DESTROY, GONE},
	{"destroy.ended", DESTROY, GONE},
	{"destroy.unlinked", DESTROY, GONE},
	{"change.committed", CHANGE, RUNNING | DONE},
	{"settle.committed", PAUSE, PAUSED},
	{"settle.committed", PARK, PARKED},
	{"settle.committed", FORK, RUNNING | DONE},
	{"lost.begin", END_GUEST, PARKED},
	{"lost.committed", END_GUEST, PARKED},
	{"keeper.lost", END_GUEST, PARKED},
	{"keeper.destroy", EXPIRE, GONE},
	{"keeper.park", IDLE, PARKED},
	{"recover.adopted", RECOVER, PARKED},
	{"recover.committed", RECOVER, PARKED},
	{"recover.ended", RECOVER, PARKED},
	{"recover.swept", RECOVER, PARKED},
	/* storage/: durable, or about to be; whichever of the two comes first. Opening commits,
	   too. */
	{"records-commit:3", CREATE, GONE | RUNNING},
	{"records-commit:3", PARK, RUNNING | PARKED},
	{"records-commit:3", FORK, RUNNING | DONE | UNDONE},
	{"records-commit:1", RECOVER, PARKED},
	{"records-commit:2", RECOVER, PARKED},
	{"audit-write", CREATE, GONE | RUNNING},
	{"audit-write", PARK, RUNNING | PARKED},
	{"audit-write", DESTROY, RUNNING | GONE},
	{"audit-sync", RESUME, PARKED | RUNNING},
	{"audit-sync", CHECKPOINT, RUNNING | DONE | UNDONE},
	{"audit-sync", RECOVER, PARKED},
};

static bool is_among(const char *name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strncmp(names[i], name, strcspn(name, ":")) == 0)
			return true;
	}
	return false;
}

static void all_are_driven(const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool driven = false;
		for (size_t row = 0; row < TP_ARRAY_LEN(rows); row++)
			driven = driven || is_among(rows[row].point, &names[i], 1);
		if (!driven)
			world_complain("no operation here passes the fault point %s", names[i]);
	}
}

/* --- sessions --- */

static char ids[16][17]; /* what "id" below points to, in turn */

static const char *id_of(const char *name)
{
	static unsigned int next;
	char *id = ids[next++ % 16];

	snprintf(id, sizeof(ids[0]), "%s",
		world_ask("SELECT id FROM sessions WHERE name = '%s'", name));
	return id;
}

static const char *state_of(const char *name)
{
	return world_ask("SELECT state FROM sessions WHERE name = '%s'", name);
}

static const char *pid_of(const char *name)
{
	return world_ask(
		"SELECT json_extract(handover, '$.pid') FROM sessions WHERE name = '%s'", name);
}

/* A request about the session NAME: "POST" to "/park" and the like. */
static struct torpor_error *request(
	const char *method, const char *name, const char *what, const char *body)
{
	TP_FREE char *path = tp_asprintf("/v1/sessions/%s%s", id_of(name), what);

	return world_try(method, path, body, NULL);
}

static void must(const char *method, const char *name, const char *what, const char *body)
{
	struct torpor_error *err = request(method, name, what, body);

	if (err)
		world_complain("%s %s%s: %s", method, name, what, torpor_error_message(err));
	torpor_error_free(err);
}

static struct torpor_error *create(const char *name, const char *more)
{
	TP_FREE char *body =
		tp_asprintf("{\"template\": \"minimal\", \"name\": \"%s\"%s}", name, more);

	return world_try("POST", "/v1/sessions", body, NULL);
}

/* What the guest has in its memory. */
static void mark(const char *name, int number)
{
	TP_FREE char *script = tp_asprintf("echo %d >/tmp/mark", number);

	world_run(world_client(), id_of(name), script);
}

static void expect_mark(const char *name, int number)
{
	const char *found = world_run(world_client(), id_of(name), "cat /tmp/mark");

	if (atoi(found) != number)
		world_complain("%s has \"%s\" in memory, not %d", name, found, number);
}

static void destroy_if_there(const char *name)
{
	if (*state_of(name))
		must("DELETE", name, "", NULL);
}

/* --- bystanders --- */

static char running_pid[16];
static char paused_pid[16];
static char parked_uuid[64];

static const char *uuid_of(const char *name)
{
	return world_ask("SELECT park_uuid FROM sessions WHERE name = '%s'", name);
}

static void make_bystanders(void)
{
	static const char *const names[] = {"runs", "stands", "sleeps"};

	for (size_t i = 0; i < TP_ARRAY_LEN(names); i++) {
		struct torpor_error *err = create(names[i], "");
		if (err)
			world_complain("create: %s", torpor_error_message(err));
		torpor_error_free(err);
		mark(names[i], 100 + (int)i);
	}
	must("POST", "stands", "/pause", NULL);
	must("POST", "sleeps", "/park", NULL);
	snprintf(running_pid, sizeof(running_pid), "%s", pid_of("runs"));
	snprintf(paused_pid, sizeof(paused_pid), "%s", pid_of("stands"));
	snprintf(parked_uuid, sizeof(parked_uuid), "%s", uuid_of("sleeps"));
}

static void check_bystanders(void)
{
	if (strcmp(state_of("runs"), "running") != 0 || strcmp(pid_of("runs"), running_pid) != 0)
		world_complain("the one that runs is %s", state_of("runs"));
	if (strcmp(state_of("stands"), "paused") != 0 || strcmp(pid_of("stands"), paused_pid) != 0)
		world_complain("the one that is paused is %s", state_of("stands"));
	if (strcmp(state_of("sleeps"), "parked") != 0 ||
		strcmp(uuid_of("sleeps"), parked_uuid) != 0)
		world_complain("the one that is parked is %s", state_of("sleeps"));
	expect_mark("runs", 100);
}

static void end_bystanders(void)
{
	must("POST", "stands", "/unpause", NULL);
	must("POST", "sleeps", "/resume", NULL);
	expect_mark("stands", 101);
	expect_mark("sleeps", 102);
}

/* --- the target --- */

static char target_pid[16];

/* Before torpord is started with the fault: 1 in its last park, 2 in memory. */
static void prepare(enum operation operation)
{
	if (operation == CREATE || operation == CREATE_DEAF)
		return;
	torpor_error_free(create("target", ""));
	mark("target", 1);
	must("POST", "target", "/park", NULL);
	must("POST", "target", "/resume", NULL);
	mark("target", 2);
	if (operation == RESUME || operation == FORK_PARKED)
		must("POST", "target", "/park", NULL);
	if (operation == UNPAUSE)
		must("POST", "target", "/pause", NULL);
	if (operation == REMOVE_IMAGE)
		must("POST", "target", "/checkpoint", "{\"name\": \"point\"}");
	snprintf(target_pid, sizeof(target_pid), "%s", pid_of("target"));
}

/* While torpord doesn't run: what only recovery finds. */
static void mess_up(enum operation operation)
{
	if (operation != RECOVER)
		return;
	if (world_start("create.running"))
		torpor_error_free(create("nobodys", ""));
	if (!world_died())
		world_complain("torpord didn't die at create.running");
	world_kill_guest(id_of("target"));
	TP_FREE char *stray = tp_asprintf("%s/state/images/zzzzzzzzzzzzzzzz", world_dir());
	FILE *f = fopen(stray, "we");
	if (!f || fputs("no image\n", f) < 0)
		world_complain("%s can't be written", stray);
	if (f)
		fclose(f);
}

static struct it_held *held; /* the deaf guest */

static struct torpor_error *create_deaf(void)
{
	world_check(); /* waits for stock */
	held = it_hold(world_warm_guest());
	if (!held)
		world_complain("no guest can be made deaf");
	return create("target", "");
}

/* It is nobody's any more: whoever gave it up has ended it, or else recovery has. */
static void expect_deaf_ended(void)
{
	if (held && !it_held_ended(TP_TAKE(held)))
		world_complain("the deaf guest is left");
}

static struct torpor_error *operate(enum operation operation)
{
	switch (operation) {
	case CREATE:
		return create("target", "");
	case CREATE_DEAF:
		return create_deaf();
	case PARK:
		return request("POST", "target", "/park", NULL);
	case RESUME:
		return request("POST", "target", "/resume", NULL);
	case PAUSE:
		return request("POST", "target", "/pause", NULL);
	case UNPAUSE:
		return request("POST", "target", "/unpause", NULL);
	case CHECKPOINT:
		return request("POST", "target", "/checkpoint", "{\"name\": \"point\"}");
	case REMOVE_IMAGE:
		return request("DELETE", "target", "/images/point", NULL);
	case FORK:
	case FORK_PARKED:
		return request("POST", "target", "/fork", "{\"names\": [\"fork-a\", \"fork-b\"]}");
	case DESTROY:
		return request("DELETE", "target", "", NULL);
	case CHANGE:
		return request("PATCH", "target", "", "{\"labels\": {\"changed\": \"yes\"}}");
	case END_GUEST:
		world_kill_guest(id_of("target"));
		return NULL;
	case EXPIRE:
		return request("PATCH", "target", "", "{\"ttl_s\": 1}");
	case IDLE:
		return request("PATCH", "target", "", "{\"idle_s\": 1}");
	default:
		return NULL;
	}
}

/* How much of what OPERATION adds is there: 0, or all of it. */
static bool is_done(enum operation operation)
{
	int checkpoints = atoi(world_ask("SELECT count(*) FROM images WHERE label = 'point'"));
	int forks = atoi(world_ask("SELECT count(*) FROM sessions WHERE name LIKE 'fork-_'"));

	if (operation == CHECKPOINT)
		return checkpoints == 1;
	if (operation == REMOVE_IMAGE)
		return checkpoints == 0;
	if (operation == CHANGE)
		return *world_ask("SELECT id FROM sessions WHERE name = 'target'"
				  " AND json_extract(labels, '$.changed') = 'yes'") != '\0';
	if (forks == 1)
		world_complain("one of two forks is there");
	return forks > 0;
}

static unsigned int bit_of(const char *state)
{
	if (!*state)
		return GONE;
	if (strcmp(state, "running") == 0)
		return RUNNING;
	if (strcmp(state, "paused") == 0)
		return PAUSED;
	return strcmp(state, "parked") == 0 ? PARKED : 0;
}

/* What was in memory is there, whatever the state is; of all forks, too. */
static void check_memory(enum operation operation, bool done)
{
	/* Put back to its last park, or idle for longer than it was used. */
	int number = operation == END_GUEST || operation == RECOVER ? 1 : 2;

	if (operation == CREATE)
		mark("target", 2);
	/* Or it is parked again before it is looked into. */
	if (operation == IDLE)
		must("PATCH", "target", "", "{\"idle_s\": 0}");
	if (bit_of(state_of("target")) == PARKED)
		must("POST", "target", "/resume", NULL);
	else if (bit_of(state_of("target")) == PAUSED)
		must("POST", "target", "/unpause", NULL);
	expect_mark("target", number);
	if (done && (operation == FORK || operation == FORK_PARKED)) {
		expect_mark("fork-a", 2);
		expect_mark("fork-b", 2);
	}
}

/* Whether the process is another one than before, where none of that was asked for. */
static bool process_changed(enum operation operation)
{
	return operation != CREATE && operation != RESUME &&
	       bit_of(state_of("target")) & (RUNNING | PAUSED) &&
	       strcmp(pid_of("target"), target_pid) != 0;
}

static void check_target(const struct row *row)
{
	const char *state = state_of("target");
	bool done = is_done(row->operation);

	if (!(bit_of(state) & row->then))
		world_complain("the session is \"%s\"", state);
	if (row->then & (DONE | UNDONE) && !(row->then & (done ? DONE : UNDONE)))
		world_complain("what was asked for is%s there", done ? "" : " not");
	if (process_changed(row->operation))
		world_complain("it has another process than before");
	if (*state)
		check_memory(row->operation, done);
}

static void end_target(void)
{
	destroy_if_there("target");
	destroy_if_there("fork-a");
	destroy_if_there("fork-b");
}

/* --- one row --- */

/* Operations' commits are counted from here on: torpord has done those of its start. */
static void await_first_commits(void)
{
	static const char name[] = "\ntorpor_records_commits_total ";
	int commits = 0;

	for (int i = 0; i < 1000 && commits < 2; i++) {
		char *text = NULL;
		struct torpor_error *err = world_try("GET", "/metrics", NULL, &text);
		const char *at = text ? strstr(text, name) : NULL;
		commits = at ? atoi(at + strlen(name)) : 0;
		torpor_error_free(err);
		free(text);
		if (commits < 2)
			poll(NULL, 0, 10);
	}
	if (commits < 2)
		world_complain("torpord has made %d commits", commits);
}

static struct torpor_error *operate_on(const struct row *row)
{
	if (strcmp(row->point, "records-commit:3") == 0)
		await_first_commits();
	return operate(row->operation);
}

/* An error, and all is as before: FAULT strikes once, without killing. */
static void fail(const struct row *row)
{
	TP_FREE char *fault =
		tp_asprintf("%s%s:fail", row->point, strchr(row->point, ':') ? "" : ":1");
	TP_FREE char *before = tp_strdup(state_of("target"));

	if (!world_start(fault)) {
		world_complain("torpord ended");
		return;
	}
	struct torpor_error *err = operate_on(row);
	if (!err)
		world_complain("the operation succeeded");
	else if (!strstr(torpor_error_message(err), "a fault was asked for"))
		world_complain("the error is: %s", torpor_error_message(err));
	torpor_error_free(err);
	expect_deaf_ended();
	world_check();
	check_bystanders();
	if (!world_lives())
		world_complain("torpord died");
	if (strcmp(state_of("target"), before) != 0)
		world_complain("the session is %s and not %s", state_of("target"), before);
	if (process_changed(row->operation))
		world_complain("it has another process than before");
	bool removes = row->operation == REMOVE_IMAGE;
	if (is_done(row->operation) && row->then & (DONE | UNDONE))
		world_complain("what was asked for is %s", removes ? "gone" : "there");
	if (bit_of(before) == RUNNING)
		expect_mark("target", 2);
	world_kill();
}

static void die(const struct row *row)
{
	if (world_start(row->point))
		torpor_error_free(operate_on(row));
	if (!world_died()) {
		world_complain("torpord passed without dying there");
		world_kill();
	}
}

/* By themselves, and not at once. */
static void await_chores(enum operation operation)
{
	if (operation == EXPIRE)
		world_await("0", "SELECT count(*) FROM sessions WHERE name = 'target'");
	if (operation == IDLE)
		world_await("parked", "SELECT state FROM sessions WHERE name = 'target'");
}

static void walk(const struct row *row)
{
	unsigned int before = world_complaints();

	world_label("%s", row->point);
	prepare(row->operation);
	world_kill();
	if (row->operation != RECOVER && is_among(row->point, can_fail, TP_ARRAY_LEN(can_fail))) {
		world_label("%s fails", row->point);
		fail(row);
	}
	world_label("%s", row->point);
	mess_up(row->operation);
	die(row);
	world_label("behind %s", row->point);
	world_start(NULL);
	if (row->operation != EXPIRE && row->operation != IDLE)
		world_check_at_once();
	await_chores(row->operation);
	expect_deaf_ended();
	world_check();
	check_bystanders();
	check_target(row);
	end_target();
	printf("%-24s %-8s\n", row->point, world_complaints() == before ? "ok" : "FAILED");
	fflush(stdout);
}

static bool is_wanted(const char *point, int n, char **prefixes)
{
	for (int i = 0; i < n; i++) {
		if (strncmp(point, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	}
	return n == 0;
}

int main(int argc, char **argv)
{
	bool stock = argc > 1 && strcmp(argv[1], "--stock") == 0;
	int first = stock ? 2 : 1;
	unsigned int walked = 0;

	world_open(stock ? "crash-stock" : "crash", stock);
	world_label("the matrix");
	all_are_driven(can_fail, TP_ARRAY_LEN(can_fail));
	all_are_driven(can_kill, TP_ARRAY_LEN(can_kill));
	world_start(NULL);
	make_bystanders();
	for (size_t i = 0; i < TP_ARRAY_LEN(rows); i++) {
		if (!is_wanted(rows[i].point, argc - first, argv + first))
			continue;
		if (rows[i].operation == CREATE_DEAF && !stock)
			continue;
		walk(&rows[i]);
		walked++;
	}
	world_label("the end");
	end_bystanders();
	unsigned int complaints = world_close();
	printf("%u rows, %u complaints\n", walked, complaints);
	return complaints > 0 || walked == 0;
}
