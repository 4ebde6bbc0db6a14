/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests that outlive their engine: a process that keeps them is killed at some moment, and this
 * one takes them over, or ends them and nobody else.
 */
#include <fcntl.h>
#include <jansson.h>
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

#include "events.h"
#include "fault.h"
#include "inside.h"
#include "pool/session.h"

/* A test that fails leaves no guest behind either. */
static int pidfds[64];
static size_t n_pidfds;

static void end_guests(void)
{
	for (size_t i = 0; i < n_pidfds; i++) {
		pidfd_send_signal(pidfds[i], SIGKILL, NULL, 0);
		close(pidfds[i]);
	}
	n_pidfds = 0;
}

TestSuite(adopt, .fini = end_guests, .timeout = 500);

enum { GUESTS_MAX = 4 };

/* Long, and only reached by what hangs. */
#define PATIENCE_MS 60000

/* What a process told before it was killed. */
struct left {
	char *state;
	int pids[GUESTS_MAX];
	size_t n_pids;
	char *handovers[GUESTS_MAX];
	size_t n_handovers;
	unsigned long long inode; /* of its base */
};

static struct it_events events = IT_EVENTS_INIT;

static void note(struct left *left, char *line)
{
	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "pid %d", &left->pids[left->n_pids]) == 1) {
		int fd = pidfd_open(left->pids[left->n_pids++], 0);
		if (fd >= 0 && n_pidfds < TP_ARRAY_LEN(pidfds))
			pidfds[n_pidfds++] = fd;
	}
	if (strncmp(line, "handover ", 9) == 0)
		left->handovers[left->n_handovers++] = strdup(line + 9);
	sscanf(line, "base %*u %llu", &left->inode);
	cr_assert(left->n_pids < GUESTS_MAX && left->n_handovers < GUESTS_MAX);
}

static struct left leave(const char *scenario, const char *op, unsigned int nth)
{
	struct left left = {.state = it_own_state()};
	char number[16];
	char *line = NULL;
	size_t room = 0;
	int pipe_fds[2];
	int status;

	snprintf(number, sizeof(number), "%u", nth);
	cr_assert_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(pipe_fds[1], STDOUT_FILENO);
		execl(getenv("TORPOR_TEST_FAULTY"), "faulty", left.state, scenario, op, number,
			NULL);
		_exit(127);
	}
	close(pipe_fds[1]);
	FILE *f = fdopen(pipe_fds[0], "r");
	while (getline(&line, &room, f) > 0)
		note(&left, line);
	fclose(f);
	free(line);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s ended otherwise: 0x%x",
		scenario, (unsigned int)status);
	cr_assert_gt(left.n_handovers, 0);
	return left;
}

static void left_deinit(struct left *left)
{
	for (size_t i = 0; i < left->n_handovers; i++)
		free(left->handovers[i]);
	it_remove_tree(left->state);
}

static struct torpor_engine *open_engine(const struct left *left)
{
	return it_open_with((struct torpor_engine_options){.state_dir = left->state,
		.keep_guests = true,
		.on_event = it_events_note,
		.event_data = &events});
}

static struct torpor_session *adopt(struct torpor_engine *engine, const char *handover)
{
	struct torpor_session *session;

	it_ok(torpor_session_adopt(engine, handover, NULL, &session));
	return session;
}

static enum torpor_session_state state_of(struct torpor_session *session)
{
	struct torpor_session_info info;

	it_ok(torpor_session_info(session, &info));
	return info.state;
}

/* No guest of the state directory runs any more, and nothing of one is left. */
static void check_empty(struct torpor_engine *engine)
{
	cr_assert_eq(it_entries(torpor_engine_state_dir(engine), "run", ""), 0);
}

static void wait_for_end(int pid)
{
	int pidfd = pidfd_open(pid, 0);
	struct pollfd end = {.fd = pidfd, .events = POLLIN};

	if (pidfd < 0)
		return;
	cr_assert_eq(poll(&end, 1, PATIENCE_MS), 1);
	close(pidfd);
}

static bool runs(int pid)
{
	return kill(pid, 0) == 0;
}

/* It goes on as a session of this engine: counts, answers, parks, resumes. */
static void check_whole_life(struct torpor_session *session)
{
	struct torpor_ping_report ping;

	if (state_of(session) == TORPOR_SESSION_PAUSED)
		it_ok(torpor_session_unpause(session, NULL));
	it_ok(torpor_session_ping(session, NULL, &ping));
	it_count_check(session);
	it_clock_check(session);
	cr_assert_str_eq(it_run(session, "hostname"), "s1");
	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_resume(session, NULL, NULL));
	it_count_check(session);
	it_run(session, "[ ! -f /sum ] || sha256sum -c /sum");
}

/* --- Found as it was left --- */

Test(adopt, a_running_guest_goes_on_untouched)
{
	struct left left = leave("kept-idle", "end", 1);
	struct torpor_engine *engine = open_engine(&left);
	struct torpor_session *session = adopt(engine, left.handovers[0]);
	struct torpor_session *other = adopt(engine, left.handovers[1]);
	struct torpor_template *tmpl;
	struct torpor_template_info tmpl_info;
	struct torpor_session_info info;

	it_ok(torpor_session_info(session, &info));
	cr_assert_eq(info.state, TORPOR_SESSION_RUNNING);
	cr_assert_eq(info.pid, left.pids[0]);
	cr_assert_str_eq(info.name, "s1");
	cr_assert(info.has_base);
	cr_assert_eq(session->tmpl, other->tmpl);
	/* The base is the guests' own, and stays it. */
	it_ok(torpor_template_open(engine, IT_TEMPLATE, NULL, &tmpl));
	it_ok(torpor_template_info(tmpl, &tmpl_info));
	cr_assert_eq(tmpl_info.fill_ns, 0);
	cr_assert_eq(tmpl, session->tmpl);
	cr_assert_eq((unsigned long long)tmpl->base->inode, left.inode);
	it_count_check(other);
	check_whole_life(session);
	/* And serves new guests. */
	struct torpor_session *third = it_start(tmpl);
	it_run(third, "true");
	it_ok(torpor_session_destroy(third, NULL));

	torpor_template_close(tmpl);
	it_ok(torpor_session_destroy(session, NULL));
	it_ok(torpor_session_destroy(other, NULL));
	check_empty(engine);
	torpor_engine_close(engine);
	left_deinit(&left);
}

Test(adopt, a_paused_guest_stays_paused)
{
	struct left left = leave("kept-paused", "end", 1);
	struct torpor_engine *engine = open_engine(&left);
	struct torpor_session *session = adopt(engine, left.handovers[0]);

	cr_assert_eq(state_of(session), TORPOR_SESSION_PAUSED);
	check_whole_life(session);
	it_ok(torpor_session_destroy(session, NULL));
	check_empty(engine);
	torpor_engine_close(engine);
	left_deinit(&left);
}

Test(adopt, a_rebooted_guest_brings_its_own_memory)
{
	struct left left = leave("kept-reboot", "end", 1);
	struct torpor_engine *engine = open_engine(&left);
	struct torpor_session *session = adopt(engine, left.handovers[0]);
	struct torpor_session_info info;

	it_ok(torpor_session_info(session, &info));
	cr_assert_not(info.has_base);
	cr_assert_eq(info.reboots, 1);
	check_whole_life(session);
	it_ok(torpor_session_destroy(session, NULL));
	check_empty(engine);
	torpor_engine_close(engine);
	left_deinit(&left);
}

Test(adopt, its_end_and_its_reboot_are_seen)
{
	struct left left = leave("kept-idle", "end", 1);
	struct torpor_engine *engine = open_engine(&left);
	struct torpor_session *session = adopt(engine, left.handovers[0]);
	struct torpor_session *other = adopt(engine, left.handovers[1]);

	cr_assert_eq(kill(left.pids[1], SIGKILL), 0);
	it_events_wait(&events, TORPOR_EVENT_SESSION, "s2", 1);
	cr_assert_eq(state_of(other), TORPOR_SESSION_ENDED);
	in_reboot(session);
	it_events_wait(&events, TORPOR_EVENT_SESSION, "s1", 2);
	cr_assert_eq(state_of(session), TORPOR_SESSION_RUNNING);
	it_ok(torpor_session_destroy(session, NULL));
	it_ok(torpor_session_destroy(other, NULL));
	torpor_engine_close(engine);
	left_deinit(&left);
}

Test(adopt, one_that_was_closed_is_adopted_again)
{
	struct left left = leave("kept-idle", "end", 1);
	struct torpor_engine *engine = open_engine(&left);
	struct torpor_session *other;
	char *handover;

	for (int i = 0; i < 3; i++) {
		struct torpor_session *session = adopt(engine, left.handovers[0]);
		it_fails(torpor_session_adopt(engine, left.handovers[0], NULL, &other),
			TORPOR_E_BUSY);
		/* QEMU keeps what a paused guest was lent: that mustn't be taken for ours. */
		if (i == 0)
			it_ok(torpor_session_pause(session, NULL));
		it_ok(torpor_session_checkpoint(session, "c1", NULL, NULL));
		if (i == 2)
			it_ok(torpor_session_unpause(session, NULL));
		if (i == 2)
			it_count_check(session);
		it_ok(torpor_session_handover(session, &handover));
		free(left.handovers[0]);
		left.handovers[0] = handover;
		torpor_session_close(session);
		torpor_engine_close(engine);
		cr_assert(runs(left.pids[0]));
		engine = open_engine(&left);
	}
	for (int i = 0; i < 2; i++)
		it_ok(torpor_handover_end(engine, left.handovers[i], NULL));
	check_empty(engine);
	torpor_engine_close(engine);
	left_deinit(&left);
}

/* --- Left in the middle --- */

static void check_interrupted(const char *scenario, const char *op, unsigned int nth)
{
	struct left left = leave(scenario, op, nth);
	struct torpor_engine *engine = open_engine(&left);
	struct torpor_session *session;

	/* Where the park had succeeded there is its image, and nothing to adopt. */
	struct torpor_error *err = torpor_session_adopt(engine, left.handovers[0], NULL, &session);
	if (err) {
		cr_assert_eq(torpor_error_code(err), TORPOR_E_NOT_FOUND, "%s at %s %u: %s",
			scenario, op, nth, torpor_error_message(err));
		torpor_error_free(err);
		it_ok(torpor_session_open(engine, "s1", NULL, NULL, &session));
		it_ok(torpor_session_resume(session, NULL, NULL));
	}
	check_whole_life(session);
	it_ok(torpor_session_destroy(session, NULL));
	it_check_swept(left.state);
	cr_assert_eq(it_entries(left.state, "images", "s1"), 0);
	check_empty(engine);
	torpor_engine_close(engine);
	left_deinit(&left);
}

/* Its park had an image already: destroyed, it takes that along. */
Test(adopt, left_with_an_image_it_takes_it_along)
{
	struct left left = leave("kept-park", "sync-dir", 1);
	struct torpor_engine *engine = open_engine(&left);
	struct torpor_session *session = adopt(engine, left.handovers[0]);

	cr_assert_eq(it_entries(left.state, "images", "s1"), 1);
	cr_assert_eq(state_of(session), TORPOR_SESSION_PAUSED);
	it_ok(torpor_session_destroy(session, NULL));
	cr_assert_eq(it_entries(left.state, "images", "s1"), 0);
	torpor_engine_close(engine);
	left_deinit(&left);
}

Test(adopt, left_in_the_middle_of_a_park)
{
	static const char *const ops[] = {"create", "write", "sync", "rename", "sync-dir"};

	for (size_t i = 0; i < TP_ARRAY_LEN(ops); i++)
		check_interrupted("kept-park", ops[i], 1);
	check_interrupted("kept-park", "us", 2000);
	check_interrupted("kept-park", "us", 10000);
}

Test(adopt, left_in_the_middle_of_a_park_by_the_stream_path)
{
	static const char *const ops[] = {"create", "write", "sync", "rename"};

	for (size_t i = 0; i < TP_ARRAY_LEN(ops); i++)
		check_interrupted("kept-stream", ops[i], 1);
	/* The migration is under way, or not yet, or over. */
	check_interrupted("kept-stream", "us", 2000);
	check_interrupted("kept-stream", "us", 20000);
	check_interrupted("kept-stream", "us", 60000);
}

Test(adopt, left_in_the_middle_of_a_checkpoint_and_of_a_park_of_its_own_memory)
{
	check_interrupted("kept-checkpoint", "write", 1);
	check_interrupted("kept-checkpoint", "sync", 1);
	check_interrupted("kept-own", "write", 1);
	check_interrupted("kept-own", "us", 20000);
}

/* It stands still, or runs, and nobody has confirmed that it has its names. */
Test(adopt, left_in_the_middle_of_a_start)
{
	for (unsigned int warm = 0; warm < 2; warm++) {
		struct left left = leave("kept-loaded", "end", warm);
		struct torpor_engine *engine = open_engine(&left);
		struct torpor_session *session = adopt(engine, left.handovers[0]);
		cr_assert_eq(state_of(session), TORPOR_SESSION_PAUSED);
		it_ok(torpor_session_unpause(session, NULL));
		cr_assert_str_eq(it_run(session, "hostname"), "s1");
		cr_assert_str_eq(it_run(session, "cat /etc/hostname"), "s1");
		it_clock_check(session);
		it_ok(torpor_session_destroy(session, NULL));
		torpor_engine_close(engine);
		left_deinit(&left);

		left = leave("kept-running", "end", warm);
		engine = open_engine(&left);
		session = adopt(engine, left.handovers[0]);
		cr_assert_eq(state_of(session), TORPOR_SESSION_RUNNING);
		it_run(session, "true");
		it_ok(torpor_session_destroy(session, NULL));
		torpor_engine_close(engine);
		left_deinit(&left);
	}
}

/* --- Other bases --- */

/* An engine that has filled the template before knows the guest's base as the same. */
Test(adopt, a_base_that_was_filled_again_does)
{
	struct left left = leave("kept-idle", "end", 1);
	struct torpor_engine *engine = open_engine(&left);
	struct torpor_template *tmpl = it_template(engine);
	struct torpor_session *session = adopt(engine, left.handovers[0]);

	cr_assert_neq((unsigned long long)tmpl->base->inode, left.inode);
	cr_assert_eq(session->tmpl, tmpl);
	check_whole_life(session);
	it_ok(torpor_session_destroy(session, NULL));
	it_ok(torpor_handover_end(engine, left.handovers[1], NULL));
	torpor_template_close(tmpl);
	torpor_engine_close(engine);
	left_deinit(&left);
}

static struct torpor_error *take_back(struct torpor_engine *engine, struct tp_base **base_out)
{
	struct tp_call call = in_call();

	return tp_base_take_back(engine->templates_fd, IT_TEMPLATE "/template", getpid(),
		engine->workers, &call, base_out);
}

/* A file of this process's that pretends to be a base. */
static int pretend(const struct tp_base *base, int seals)
{
	uint64_t size = tp_base_pages(base) * TP_PAGE_SIZE;
	int fd = memfd_create(TP_BASE_MEMFD, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	cr_assert(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	for (uint64_t at = 0; at < size; at += TP_MIB) {
		static char buf[TP_MIB];
		size_t len = (size_t)TP_MIN(TP_MIB, size - at);
		cr_assert_eq(pread(base->fd, buf, len, (off_t)at), (ssize_t)len);
		cr_assert_eq(pwrite(fd, buf, len, (off_t)at), (ssize_t)len);
	}
	cr_assert(seals == 0 || fcntl(fd, F_ADD_SEALS, seals) == 0);
	return fd;
}

Test(adopt, only_a_sealed_base_with_the_right_content_is_taken_back)
{
	static const int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
	struct torpor_engine *engine = it_open();
	struct tp_call call = in_call();
	struct tp_base *base;
	struct tp_base *taken;

	it_ok(tp_base_fill(
		engine->templates_fd, IT_TEMPLATE "/template", engine->workers, &call, &base));
	static const int seals[] = {0, F_SEAL_WRITE, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
		F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE};
	int fd = pretend(base, 0);
	int sound = pretend(base, all);
	int fds[TP_ARRAY_LEN(seals)];
	for (size_t i = 0; i < TP_ARRAY_LEN(seals); i++)
		fds[i] = pretend(base, seals[i]);
	/* The base itself goes: only what pretends is left. */
	char byte;
	cr_assert_eq(pread(base->fd, &byte, 1, 5 * TP_MIB), 1);
	tp_base_unref(base);

	it_ok(take_back(engine, &taken));
	cr_assert_eq(taken->fill_ns, 0);
	tp_base_unref(taken);
	close(sound);
	it_fails(take_back(engine, &taken), TORPOR_E_MISMATCH);
	byte ^= 1;
	cr_assert_eq(pwrite(fd, &byte, 1, 5 * TP_MIB), 1);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, all), 0);
	it_fails(take_back(engine, &taken), TORPOR_E_MISMATCH);
	close(fd);
	for (size_t i = 0; i < TP_ARRAY_LEN(seals); i++)
		close(fds[i]);
	torpor_engine_close(engine);
}

/* --- Handovers that are wrong --- */

/* HANDOVER with KEY replaced, or without it (VALUE is NULL); the caller's to free. */
static char *forge(const char *handover, const char *key, json_t *value)
{
	json_t *root = json_loads(handover, 0, NULL);

	cr_assert_not_null(root);
	if (value)
		json_object_set_new(root, key, value);
	else
		json_object_del(root, key);
	char *text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	return text;
}

static json_t *get(const char *handover, const char *key)
{
	json_t *root = json_loads(handover, 0, NULL);
	json_t *value = json_incref(json_object_get(root, key));

	json_decref(root);
	return value;
}

static void check_refused(struct torpor_engine *engine, const struct left *left, const char *key,
	json_t *value, enum torpor_errc code)
{
	char *forged = forge(left->handovers[0], key, value);
	struct torpor_session *session;

	it_fails(torpor_session_adopt(engine, forged, NULL, &session), code);
	cr_assert(runs(left->pids[0]));
	free(forged);
}

Test(adopt, forged_handovers_are_refused_and_nobody_is_harmed)
{
	static const char *const keys[] = {"version", "guest", "pid", "start_time", "template_id",
		"has_base", "record", "image_name", "image_path", "owed", "entered_ns", "small"};
	struct left left = leave("kept-idle", "end", 1);
	struct torpor_engine *engine = open_engine(&left);
	struct torpor_session *session;
	char *text;

	for (size_t i = 0; i < TP_ARRAY_LEN(keys); i++) {
		check_refused(engine, &left, keys[i], NULL, TORPOR_E_CORRUPT);
		/* A list is what "small" is, and nothing else. */
		check_refused(engine, &left, keys[i],
			strcmp(keys[i], "small") == 0 ? json_integer(1) : json_array(),
			TORPOR_E_CORRUPT);
	}
	check_refused(engine, &left, "version", json_integer(2), TORPOR_E_MISMATCH);
	check_refused(engine, &left, "guest", json_string("../x"), TORPOR_E_CORRUPT);
	check_refused(engine, &left, "guest", json_string("nobody"), TORPOR_E_NOT_FOUND);
	check_refused(engine, &left, "guest", get(left.handovers[1], "guest"), TORPOR_E_MISMATCH);
	check_refused(engine, &left, "start_time", json_integer(1), TORPOR_E_MISMATCH);
	check_refused(engine, &left, "template_id",
		json_string("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
		TORPOR_E_NOT_FOUND);
	/* It says that its memory is its own: it has no such file. */
	check_refused(engine, &left, "has_base", json_false(), TORPOR_E_MISMATCH);
	check_refused(engine, &left, "small", json_pack("[[I,s]]", (json_int_t)1, "00"),
		TORPOR_E_CORRUPT);
	it_fails(torpor_session_adopt(engine, "", NULL, &session), TORPOR_E_CORRUPT);
	it_fails(torpor_session_adopt(engine, "[]", NULL, &session), TORPOR_E_CORRUPT);
	it_ok(torpor_session_adopt(engine, left.handovers[0], NULL, &session));
	check_whole_life(session);
	it_ok(torpor_session_handover(session, &text));
	it_ok(torpor_session_destroy(session, NULL));
	it_fails(torpor_session_adopt(engine, text, NULL, &session), TORPOR_E_NOT_FOUND);
	free(text);
	it_ok(torpor_handover_end(engine, left.handovers[1], NULL));
	torpor_engine_close(engine);
	left_deinit(&left);
}

Test(adopt, ending_a_handover_ends_its_guest_and_nobody_else)
{
	struct left left = leave("kept-idle", "end", 1);
	struct torpor_engine *engine = open_engine(&left);
	struct torpor_session *session;
	pid_t bystander = fork();

	if (bystander == 0) {
		pause();
		_exit(0);
	}
	/* A process that isn't that guest any more, by pid or by start time. */
	char *forged = forge(left.handovers[0], "pid", json_integer(bystander));
	it_ok(torpor_handover_end(engine, forged, NULL));
	free(forged);
	forged = forge(left.handovers[0], "start_time", json_integer(1));
	it_ok(torpor_handover_end(engine, forged, NULL));
	free(forged);
	cr_assert(runs(left.pids[0]) && runs(left.pids[1]) && runs(bystander));

	it_ok(torpor_handover_end(engine, left.handovers[0], NULL));
	wait_for_end(left.pids[0]);
	cr_assert(runs(left.pids[1]) && runs(bystander));
	it_ok(torpor_handover_end(engine, left.handovers[0], NULL));
	it_fails(torpor_session_adopt(engine, left.handovers[0], NULL, &session),
		TORPOR_E_NOT_FOUND);

	/* One that somebody has taken over isn't anybody's to end. */
	session = adopt(engine, left.handovers[1]);
	it_fails(torpor_handover_end(engine, left.handovers[1], NULL), TORPOR_E_BUSY);
	it_count_check(session);
	it_ok(torpor_session_destroy(session, NULL));
	cr_assert_eq(kill(bystander, SIGKILL), 0);
	cr_assert_eq(waitpid(bystander, NULL, 0), bystander);
	check_empty(engine);
	torpor_engine_close(engine);
	left_deinit(&left);
}

static bool is_name(void *data, const char *guest)
{
	return strcmp(data, guest) == 0;
}

/* Whether a QEMU whose stream breaks off waits to be asked about it, instead of ending. */
static bool broken_shells_stay(struct torpor_engine *engine)
{
	struct tp_call call = in_call();
	struct torpor_template *tmpl;

	it_ok(torpor_template_open(engine, IT_TEMPLATE, NULL, &tmpl));
	it_ok(tp_template_find_qemu(tmpl, &call));
	bool stay = tmpl->qemu.traits & TP_QEMU_STAYS;
	torpor_template_close(tmpl);
	return stay;
}

Test(adopt, orphans_end_and_what_is_kept_does_not)
{
	struct left left = leave("kept-stock", "end", 1);
	struct torpor_engine *engine = open_engine(&left);
	struct tp_call call = in_call();
	char *guest = tp_handover_guest(left.handovers[0]);
	unsigned int count;

	cr_assert_not_null(guest);
	cr_assert_null(tp_handover_guest("{}"));
	/* Nobody is there to finish what the shell loads: it ends by itself, or is an orphan. */
	const unsigned int orphans = broken_shells_stay(engine) ? 2 : 1;
	if (orphans == 1)
		wait_for_end(left.pids[left.n_pids - 1]);
	it_ok(tp_launcher_sweep(engine->launcher, &call));
	cr_assert_eq(it_entries(left.state, "run", ""), 1 + orphans);
	it_ok(tp_engine_end_orphans(engine, is_name, guest, &call, &count));
	cr_assert_eq(count, orphans);
	cr_assert_eq(it_entries(left.state, "run", ""), 1);
	struct torpor_session *session = adopt(engine, left.handovers[0]);
	/* Owned now: nobody's orphan, even where it isn't wanted. */
	it_ok(tp_engine_end_orphans(engine, is_name, (void *)"", &call, &count));
	cr_assert_eq(count, 0);
	check_whole_life(session);
	it_ok(torpor_session_destroy(session, NULL));
	free(guest);
	check_empty(engine);
	torpor_engine_close(engine);
	left_deinit(&left);
}
