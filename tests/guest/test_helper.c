/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real helper, run on this host over a socket pair, against the engine's client and against
 * single frames. What a FRESH changes is a directory of the test's own.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "engine/helper.h"
#include "guest/helper.h"
#include "peer.h"

static char dir[] = "/tmp/torpor-helper-test.XXXXXX";
static pid_t helper_pid;
static int host_fd; /* our end of the port */
static struct tp_call call;

/* --- the helper's world --- */

static struct tp_guest guest;

static int append_to(const char *name, const void *bytes, size_t len)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	bool written = fd >= 0 && write(fd, bytes, len) == (ssize_t)len;
	tp_close(fd);
	return written ? 0 : EIO;
}

static int fake_seed(const uint8_t *seed, size_t len)
{
	return append_to("seed", seed, len);
}

static int fake_clock(int64_t realtime_ns)
{
	return realtime_ns == 13 ? EPERM : append_to("clock", &realtime_ns, sizeof(realtime_ns));
}

static int fake_shift(int64_t by_ns)
{
	return by_ns == -5000000 ? 0 : EINVAL;
}

static int fake_hostname(const char *name, size_t len)
{
	return append_to("uts", name, len);
}

static void serve(int port)
{
	static char hostname_path[PATH_MAX], machine_id_path[PATH_MAX];
	struct tp_guest_world world = {
		.seed = fake_seed,
		.set_clock = fake_clock,
		.shift_clock = fake_shift,
		.set_hostname = fake_hostname,
		.hostname_path = hostname_path,
		.machine_id_path = machine_id_path,
	};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(hostname_path, sizeof(hostname_path), "%s/hostname", dir);
	snprintf(machine_id_path, sizeof(machine_id_path), "%s/machine-id", dir);
	fcntl(port, F_SETFL, O_NONBLOCK);
	_exit(tp_guest_serve(&guest, port, &world));
}

static void setup(void)
{
	int fds[2];

	cr_assert(mkdtemp(dir));
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	helper_pid = fork();
	if (helper_pid == 0) {
		close(fds[0]);
		serve(fds[1]);
	}
	close(fds[1]);
	host_fd = fds[0];
	call = tp_call_within(30 * TP_NSEC_PER_SEC);
}

static void teardown(void)
{
	char command[PATH_MAX];

	kill(helper_pid, SIGKILL);
	waitpid(helper_pid, NULL, 0);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert_eq(system(command), 0);
}

/* --- tools --- */

#define CHECK_OK(expr)                                                                             \
	do {                                                                                       \
		TP_ERROR struct torpor_error *err_ = (expr);                                       \
		cr_assert_null(err_, "%s", torpor_error_message(err_));                            \
	} while (0)

#define CHECK_FAILS(expr, expected)                                                                \
	do {                                                                                       \
		TP_ERROR struct torpor_error *err_ = (expr);                                       \
		cr_assert_not_null(err_);                                                          \
		cr_assert_eq(torpor_error_code(err_), expected, "%s", torpor_error_message(err_)); \
	} while (0)

struct output {
	struct tp_buf bytes[3];
};

static void output_deinit(struct output *o)
{
	for (int i = 0; i < 3; i++)
		tp_buf_deinit(&o->bytes[i]);
}
#define OUTPUT __attribute__((cleanup(output_deinit)))

static struct torpor_error *collect(void *data, int stream, const void *bytes, size_t len)
{
	struct output *o = data;

	cr_assert(stream == 1 || stream == 2);
	cr_assert_gt(len, 0);
	tp_buf_put(&o->bytes[stream], bytes, len);
	return NULL;
}

static const char *text_of(struct output *o, int stream)
{
	tp_buf_put_u8(&o->bytes[stream], 0);
	return (const char *)o->bytes[stream].data;
}

static struct torpor_error *run_shell(
	struct tp_helper *h, const char *script, struct output *o, struct tp_exec_result *result)
{
	const char *argv[] = {"sh", "-c", script, NULL};
	struct tp_exec spec = {.argv = argv, .cwd = dir, .sink = collect, .data = o};

	return tp_helper_exec(h, &spec, &call, result);
}

/* A name that processes of the helper can wait at. */
static void make_fifo(const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	cr_assert_eq(mkfifo(path, 0600), 0);
}

/* Opens the fifo, which waits for the other side, and closes it: that process goes on. */
static void meet_at(const char *name, int flags)
{
	char path[PATH_MAX];
	char byte;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	TP_FD int fd = open(path, flags | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	if (flags == O_RDONLY)
		cr_assert_geq(read(fd, &byte, 1), 0);
}

static struct tp_fresh sound_fresh(void)
{
	static const uint8_t seed[32] = "0123456789012345678901234567890";

	return (struct tp_fresh){
		.nonce = 42,
		.steps = TP_WIRE_ALL_STEPS,
		.realtime_ns = 1234567890123456789,
		.machine_id = {0xde, 0xad, 0xbe, 0xef},
		.seed = seed,
		.seed_len = sizeof(seed),
		.hostname = "clone-1",
	};
}

static void check_fresh_works(struct tp_helper *h)
{
	struct tp_fresh fresh = sound_fresh();
	struct tp_fresh_done done;

	CHECK_OK(tp_helper_send_fresh(h, &fresh, &call));
	CHECK_OK(tp_helper_wait_fresh(h, &fresh, &call, &done));
	cr_assert_eq(done.done, TP_WIRE_ALL_STEPS);
}

static void check_file(const char *name, const void *bytes, size_t len)
{
	char path[PATH_MAX];
	TP_FREE char *data = NULL;
	size_t size;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	CHECK_OK(tp_read_file(AT_FDCWD, path, 4096, &data, &size));
	cr_assert_eq(size, len, "%s: %zu bytes", name, size);
	cr_assert_eq(memcmp(data, bytes, len), 0, "%s: %s", name, data);
}

#define HELPER_TEST(name) Test(helper, name, .init = setup, .fini = teardown, .timeout = 60)
#define HOST_CLIENT	  TP_CLEANUP(tp_helper_free) struct tp_helper *h = tp_helper_new(host_fd)

/* --- ping and fresh --- */

HELPER_TEST(a_ping_tells_boot_id_and_time)
{
	HOST_CLIENT;
	TP_FREE char *boot_id = NULL;
	char text[64] = "";
	struct tp_helper_pong pong;
	size_t len;

	CHECK_OK(tp_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &boot_id, &len));
	for (int i = 0; i < 2; i++) {
		CHECK_OK(tp_helper_ping(h, &call, &pong));
		uint64_t now = tp_realtime_ns();
		cr_assert_lt(now - (uint64_t)pong.realtime_ns, 60 * TP_NSEC_PER_SEC);
	}
	for (int i = 0; i < 16; i++)
		sprintf(text + strlen(text), "%s%02x", strchr("\4\6\10\12", i) && i ? "-" : "",
			pong.boot_id[i]);
	cr_assert_eq(strncmp(text, boot_id, 36), 0, "%s, not %s", text, boot_id);
	cr_assert(tp_helper_drained(h));
}

HELPER_TEST(fresh_changes_everything_that_was_asked)
{
	HOST_CLIENT;
	struct tp_fresh fresh = sound_fresh();
	struct tp_fresh_done done;

	CHECK_OK(tp_helper_send_fresh(h, &fresh, &call));
	CHECK_OK(tp_helper_wait_fresh(h, &fresh, &call, &done));
	cr_assert_eq(done.done, TP_WIRE_ALL_STEPS);
	cr_assert_eq(done.failed, 0);
	cr_assert_eq(done.count, 1, "the helper's own warming up doesn't count");
	check_file("seed", fresh.seed, 32);
	check_file("clock", &fresh.realtime_ns, 8);
	check_file("uts", "clone-1", 7);
	check_file("hostname", "clone-1\n", 8);
	check_file("machine-id", "deadbeef000000000000000000000000\n", 33);
}

HELPER_TEST(fresh_does_only_what_was_asked)
{
	HOST_CLIENT;
	struct tp_fresh fresh = sound_fresh();
	struct tp_fresh_done done;
	char path[PATH_MAX];

	fresh.steps = TP_WIRE_STEP_MACHINE_ID;
	CHECK_OK(tp_helper_send_fresh(h, &fresh, &call));
	CHECK_OK(tp_helper_wait_fresh(h, &fresh, &call, &done));
	snprintf(path, sizeof(path), "%s/seed", dir);
	cr_assert_lt(access(path, F_OK), 0);
	snprintf(path, sizeof(path), "%s/hostname", dir);
	cr_assert_lt(access(path, F_OK), 0);
}

HELPER_TEST(a_failed_step_fails_unless_it_is_optional)
{
	HOST_CLIENT;
	struct tp_fresh fresh = sound_fresh();
	struct tp_fresh_done done;

	fresh.realtime_ns = 13; /* fake_clock refuses it */
	CHECK_OK(tp_helper_send_fresh(h, &fresh, &call));
	CHECK_FAILS(tp_helper_wait_fresh(h, &fresh, &call, &done), TORPOR_E_GUEST);
	fresh.nonce++;
	fresh.optional = TP_WIRE_STEP_CLOCK;
	CHECK_OK(tp_helper_send_fresh(h, &fresh, &call));
	CHECK_OK(tp_helper_wait_fresh(h, &fresh, &call, &done));
	cr_assert_eq(done.failed, TP_WIRE_STEP_CLOCK);
	cr_assert_eq(done.done, TP_WIRE_ALL_STEPS & ~(uint32_t)TP_WIRE_STEP_CLOCK);
	cr_assert_eq(done.error, EPERM);
	cr_assert_eq(done.count, 2);
}

HELPER_TEST(the_clock_can_be_shifted_back)
{
	HOST_CLIENT;
	struct tp_fresh fresh = {
		.nonce = 77, .steps = TP_WIRE_STEP_CLOCK_SHIFT, .realtime_ns = -5000000};
	struct tp_fresh_done done;

	CHECK_OK(tp_helper_send_fresh(h, &fresh, &call));
	CHECK_OK(tp_helper_wait_fresh(h, &fresh, &call, &done));
	cr_assert_eq(done.done, TP_WIRE_STEP_CLOCK_SHIFT);
}

HELPER_TEST(nonsense_is_not_sent)
{
	HOST_CLIENT;
	struct tp_fresh fresh = sound_fresh();

	fresh.hostname = "a b";
	CHECK_FAILS(tp_helper_send_fresh(h, &fresh, &call), TORPOR_E_INVALID);
	fresh = sound_fresh();
	fresh.seed_len = 31;
	CHECK_FAILS(tp_helper_send_fresh(h, &fresh, &call), TORPOR_E_INVALID);
	fresh = sound_fresh();
	fresh.steps |= 1u << 31;
	CHECK_FAILS(tp_helper_send_fresh(h, &fresh, &call), TORPOR_E_INVALID);
	fresh = sound_fresh();
	fresh.realtime_ns = -1;
	CHECK_FAILS(tp_helper_send_fresh(h, &fresh, &call), TORPOR_E_INVALID);
}

/* --- commands --- */

HELPER_TEST(output_and_status_come_back)
{
	HOST_CLIENT;
	OUTPUT struct output o = {0};
	struct tp_exec_result result;

	CHECK_OK(run_shell(h, "echo out; echo err >&2; cat; exit 7", &o, &result));
	cr_assert_str_eq(text_of(&o, 1), "out\n");
	cr_assert_str_eq(text_of(&o, 2), "err\n");
	cr_assert_not(result.signaled);
	cr_assert_eq(result.value, 7);
	CHECK_OK(run_shell(h, "kill -9 $$", &o, &result));
	cr_assert(result.signaled);
	cr_assert_eq(result.value, SIGKILL);
}

HELPER_TEST(environment_directory_and_merging_are_as_asked)
{
	HOST_CLIENT;
	OUTPUT struct output o = {0};
	const char *argv[] = {"sh", "-c", "echo $A; pwd; echo err >&2; echo end", NULL};
	const char *env[] = {"A=1", "PATH=/nowhere:/bin:/usr/bin", NULL};
	struct tp_exec spec = {.argv = argv,
		.env = env,
		.cwd = "/proc",
		.merge_stderr = true,
		.sink = collect,
		.data = &o};
	struct tp_exec_result result;

	CHECK_OK(tp_helper_exec(h, &spec, &call, &result));
	cr_assert_str_eq(text_of(&o, 1), "1\n/proc\nerr\nend\n");
	cr_assert_eq(o.bytes[2].len, 0);
}

HELPER_TEST(commands_start_clean)
{
	HOST_CLIENT;
	OUTPUT struct output o = {0};
	struct tp_exec_result result;

	/* The shell's own directory handle is the 3. */
	CHECK_OK(run_shell(h,
		"echo /proc/self/fd/*; grep SigBlk /proc/self/status;"
		"read -r pid name state parent group session rest </proc/self/stat;"
		"[ $$ = $group ] && [ $$ = $session ] && echo leads",
		&o, &result));
	cr_assert_str_eq(text_of(&o, 1),
		"/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n"
		"SigBlk:\t0000000000000000\nleads\n");
}

HELPER_TEST(what_cannot_start_says_why)
{
	HOST_CLIENT;
	const char *argv[] = {"no-such-command", NULL};
	const char *sh[] = {"sh", NULL};
	const char *nothing[] = {NULL};
	const char *nowhere[] = {"PATH=/nowhere", NULL};
	char *huge = memset(tp_calloc(1, 20000), 'x', 19999);
	const char *large[] = {"echo", huge, NULL};
	struct tp_exec spec = {.argv = argv};
	struct tp_exec_result result;

	CHECK_FAILS(tp_helper_exec(h, &spec, &call, &result), TORPOR_E_NOT_FOUND);
	spec = (struct tp_exec){.argv = sh, .env = nowhere};
	CHECK_FAILS(tp_helper_exec(h, &spec, &call, &result), TORPOR_E_NOT_FOUND);
	spec = (struct tp_exec){.argv = sh, .cwd = "/nowhere"};
	CHECK_FAILS(tp_helper_exec(h, &spec, &call, &result), TORPOR_E_NOT_FOUND);
	spec = (struct tp_exec){.argv = nothing};
	CHECK_FAILS(tp_helper_exec(h, &spec, &call, &result), TORPOR_E_INVALID);
	spec = (struct tp_exec){.argv = large};
	CHECK_FAILS(tp_helper_exec(h, &spec, &call, &result), TORPOR_E_LIMIT);
	free(huge);
}

HELPER_TEST(no_process_is_left_unreaped)
{
	HOST_CLIENT;
	OUTPUT struct output o = {0};
	const char *argv[] = {"no-such-command", NULL};
	struct tp_exec spec = {.argv = argv};
	struct tp_exec_result result;
	char path[64];
	TP_FREE char *children = NULL;
	size_t len;

	CHECK_OK(run_shell(h, "exit 0", &o, &result));
	CHECK_FAILS(tp_helper_exec(h, &spec, &call, &result), TORPOR_E_NOT_FOUND);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", helper_pid, helper_pid);
	CHECK_OK(tp_read_file(AT_FDCWD, path, 4096, &children, &len));
	cr_assert_eq(len, 0, "children: %s", children);
}

HELPER_TEST(output_beyond_the_window_comes_whole)
{
	HOST_CLIENT;
	static const uint32_t windows[] = {0, 1000, 17, 1 << 20};

	for (size_t i = 0; i < TP_ARRAY_LEN(windows); i++) {
		OUTPUT struct output o = {0};
		const char *argv[] = {"seq", windows[i] == 17 ? "2000" : "200000", NULL};
		struct tp_exec spec = {
			.argv = argv, .sink = collect, .data = &o, .window = windows[i]};
		struct tp_exec_result result;
		CHECK_OK(tp_helper_exec(h, &spec, &call, &result));
		char *at = (char *)(uintptr_t)text_of(&o, 1);
		long n = 0;
		while (*at) {
			cr_assert_eq(strtol(at, &at, 10), ++n);
			at++;
		}
		cr_assert_eq(n, windows[i] == 17 ? 2000 : 200000);
	}
}

/* Gives 1 MiB of a pattern. */
static struct torpor_error *give_pattern(void *data, void *bytes, size_t room, size_t *len_out)
{
	struct output *o = data;
	size_t len = TP_MIN(room, 1048576 - o->bytes[0].len);

	for (size_t i = 0; i < len; i++)
		((uint8_t *)bytes)[i] = (uint8_t)((o->bytes[0].len + i) * 7 / 3);
	tp_buf_put(&o->bytes[0], bytes, len);
	*len_out = len;
	return NULL;
}

HELPER_TEST(input_beyond_the_window_arrives_whole)
{
	HOST_CLIENT;
	OUTPUT struct output o = {0};
	const char *argv[] = {"cat", NULL};
	struct tp_exec spec = {.argv = argv, .source = give_pattern, .sink = collect, .data = &o};
	struct tp_exec_result result;

	CHECK_OK(tp_helper_exec(h, &spec, &call, &result));
	cr_assert_eq(o.bytes[1].len, 1048576);
	cr_assert_eq(memcmp(o.bytes[0].data, o.bytes[1].data, 1048576), 0);
}

static struct torpor_error *give_letter(void *data, void *bytes, size_t room, size_t *len_out)
{
	struct output *o = data;

	cr_assert_gt(room, 0);
	*len_out = o->bytes[0].len < 100;
	memset(bytes, 'x', *len_out);
	tp_buf_put(&o->bytes[0], bytes, *len_out);
	return NULL;
}

HELPER_TEST(input_in_small_pieces_arrives_whole)
{
	HOST_CLIENT;
	OUTPUT struct output o = {0};
	const char *argv[] = {"cat", NULL};
	struct tp_exec spec = {.argv = argv, .source = give_letter, .sink = collect, .data = &o};
	struct tp_exec_result result;

	CHECK_OK(tp_helper_exec(h, &spec, &call, &result));
	cr_assert_eq(o.bytes[1].len, 100);
}

HELPER_TEST(input_from_a_descriptor_ends_where_it_ends)
{
	HOST_CLIENT;
	OUTPUT struct output o = {0};
	const char *argv[] = {"cat", NULL};
	int fds[2];
	struct tp_exec_result result;

	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	cr_assert_eq(write(fds[1], "typed", 5), 5);
	close(fds[1]);
	struct tp_exec spec = {.argv = argv,
		.has_stdin_fd = true,
		.stdin_fd = fds[0],
		.sink = collect,
		.data = &o};
	CHECK_OK(tp_helper_exec(h, &spec, &call, &result));
	cr_assert_str_eq(text_of(&o, 1), "typed");
	close(fds[0]);
}

HELPER_TEST(input_that_is_not_wanted_is_no_failure)
{
	HOST_CLIENT;
	OUTPUT struct output o = {0};
	const char *argv[] = {"sh", "-c", "exec <&-; echo closed; exit 4", NULL};
	struct tp_exec spec = {.argv = argv, .source = give_pattern, .sink = collect, .data = &o};
	struct tp_exec_result result;

	CHECK_OK(tp_helper_exec(h, &spec, &call, &result));
	cr_assert_eq(result.value, 4);
}

/* An endless source that cancels the call once the helper can't have room for more. */
struct stuffing {
	size_t given;
	int cancel_fd;
};

static struct torpor_error *stuff(void *data, void *bytes, size_t room, size_t *len_out)
{
	struct stuffing *s = data;

	memset(bytes, 'x', room);
	*len_out = room;
	s->given += room;
	/* The window and the pipe; of that less than a quarter window isn't granted yet. */
	if (s->given >= TP_WIRE_STDIN_WINDOW * 3 / 4 + 65536)
		cr_assert_eq(eventfd_write(s->cancel_fd, 1), 0);
	return NULL;
}

HELPER_TEST(a_command_that_does_not_read_blocks_nobody)
{
	HOST_CLIENT;
	TP_FD int cancel_fd = eventfd(0, EFD_CLOEXEC);
	struct stuffing s = {.cancel_fd = cancel_fd};
	const char *argv[] = {"sleep", "1000", NULL};
	struct tp_exec spec = {.argv = argv, .source = stuff, .data = &s, .kill_on_cancel = true};
	struct tp_call cancellable = {.deadline_ns = call.deadline_ns, .cancel_fd = cancel_fd};
	struct tp_exec_result result;

	CHECK_FAILS(tp_helper_exec(h, &spec, &cancellable, &result), TORPOR_E_CANCELLED);
	check_fresh_works(h);
}

static struct torpor_error *refuse(void *data, int stream, const void *bytes, size_t len)
{
	(void)data, (void)stream, (void)bytes, (void)len;
	return tp_error(TORPOR_E_NOSPACE, "keep", NULL, "no room");
}

HELPER_TEST(an_abandoned_command_runs_on_unheard)
{
	HOST_CLIENT;
	const char *argv[] = {"sh", "-c",
		"echo started; read -r go <go; head -c 1000000 /dev/zero; echo >done", NULL};
	struct tp_exec spec = {.argv = argv, .cwd = dir, .sink = refuse, .window = 10};
	struct tp_exec_result result;
	OUTPUT struct output o = {0};

	make_fifo("go");
	make_fifo("done");
	CHECK_FAILS(tp_helper_exec(h, &spec, &call, &result), TORPOR_E_NOSPACE);
	meet_at("go", O_WRONLY);
	meet_at("done", O_RDONLY);
	CHECK_OK(run_shell(h, "echo next", &o, &result));
	cr_assert_str_eq(text_of(&o, 1), "next\n");
}

HELPER_TEST(an_abandoned_command_is_killed_with_its_group_if_asked)
{
	HOST_CLIENT;
	const char *argv[] = {"sh", "-c", "exec 3>alive; echo started; sleep 1000 & wait", NULL};
	struct tp_exec spec = {.argv = argv, .cwd = dir, .sink = refuse, .kill_on_cancel = true};
	struct tp_exec_result result;
	char path[PATH_MAX];
	char byte;

	make_fifo("alive");
	snprintf(path, sizeof(path), "%s/alive", dir);
	TP_FD int alive = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	CHECK_FAILS(tp_helper_exec(h, &spec, &call, &result), TORPOR_E_NOSPACE);
	CHECK_OK(tp_wait_fd(alive, POLLIN, &call, "wait for the end of", "the group"));
	cr_assert_eq(read(alive, &byte, 1), 0, "no process holds it any more");
}

HELPER_TEST(what_a_command_leaves_behind_does_not_delay_its_end)
{
	HOST_CLIENT;
	OUTPUT struct output o = {0};
	struct tp_exec_result result;

	make_fifo("end");
	CHECK_OK(run_shell(h, "(read -r x <end) & echo here", &o, &result));
	cr_assert_str_eq(text_of(&o, 1), "here\n");
	meet_at("end", O_WRONLY);
}

HELPER_TEST(cancelled_before_the_guest_answers)
{
	HOST_CLIENT;
	TP_FD int cancel_fd = eventfd(1, EFD_CLOEXEC);
	struct tp_call cancelled = {.deadline_ns = TP_NO_DEADLINE, .cancel_fd = cancel_fd};
	struct tp_helper_pong pong;

	kill(helper_pid, SIGSTOP);
	for (int i = 0; i < 10; i++)
		CHECK_FAILS(tp_helper_ping(h, &cancelled, &pong), TORPOR_E_CANCELLED);
	kill(helper_pid, SIGCONT);
	CHECK_OK(tp_helper_ping(h, &call, &pong));
}

HELPER_TEST(drained_tells_what_was_not_taken)
{
	HOST_CLIENT;
	struct tp_fresh fresh = sound_fresh();
	struct tp_fresh_done done;
	struct tp_helper_pong pong;

	cr_assert(tp_helper_drained(h), "nothing was sent");
	CHECK_OK(tp_helper_ping(h, &call, &pong));
	cr_assert(tp_helper_drained(h));
	kill(helper_pid, SIGSTOP);
	waitpid(helper_pid, NULL, WUNTRACED);
	CHECK_OK(tp_helper_send_fresh(h, &fresh, &call));
	cr_assert_not(tp_helper_drained(h));
	kill(helper_pid, SIGCONT);
	CHECK_OK(tp_helper_wait_fresh(h, &fresh, &call, &done));
	cr_assert(tp_helper_drained(h));
}

/* --- frame by frame --- */

static void send_exec(
	struct peer *p, uint32_t stream, uint32_t flags, uint32_t window, const char *script)
{
	const char *argv[] = {"sh", "-c", script};
	struct tp_wire_exec exec = {.flags = flags, .window = window, .argc = 3, .cwd = dir};

	tp_wire_begin(&p->out, TP_WIRE_EXEC, stream);
	tp_wire_put_exec(&p->out, &exec, argv, NULL);
	peer_send(p);
}

static void send_ping(struct peer *p, uint64_t nonce)
{
	struct tp_wire_ping ping = {.nonce = nonce};

	tp_wire_begin(&p->out, TP_WIRE_PING, 0);
	tp_wire_put_ping(&p->out, &ping);
	peer_send(p);
}

HELPER_TEST(it_says_hello_first)
{
	static struct peer p;
	struct tp_wire_hello hello;

	peer_init(&p, host_fd);
	cr_assert(peer_receive(&p));
	cr_assert_eq(p.frame.type, TP_WIRE_HELLO);
	cr_assert(tp_wire_get_hello(&p.frame, &hello));
	cr_assert_eq(hello.protocol, TP_WIRE_VERSION);
}

HELPER_TEST(no_output_comes_that_was_not_granted)
{
	static struct peer p;

	peer_init(&p, host_fd);
	send_exec(&p, 5, 0, 10, "printf 0123456789abcdef");
	peer_expect(&p, TP_WIRE_STDOUT);
	cr_assert_eq(p.frame.len, 10);
	cr_assert(peer_is_quiet(&p));
	send_ping(&p, 1);
	peer_expect(&p, TP_WIRE_PONG);
	peer_send_u32(&p, TP_WIRE_CREDIT, 5, 4);
	peer_expect(&p, TP_WIRE_STDOUT);
	cr_assert_eq(p.frame.len, 4);
	cr_assert_eq(memcmp(p.frame.payload, "abcd", 4), 0);
	cr_assert(peer_is_quiet(&p), "the command has ended, but not its output");
	peer_send_u32(&p, TP_WIRE_CREDIT, 5, UINT32_MAX);
	peer_expect(&p, TP_WIRE_STDOUT);
	cr_assert_eq(p.frame.len, 2);
	peer_expect(&p, TP_WIRE_EXIT);
}

HELPER_TEST(input_that_was_not_granted_is_dropped)
{
	static const char bytes[16384];
	static struct peer p;

	make_fifo("go");
	peer_init(&p, host_fd);
	send_exec(&p, 5, TP_WIRE_EXEC_STDIN, 1000, "read -r go <go; wc -c");
	for (int i = 0; i < 10; i++)
		peer_send_data(&p, TP_WIRE_STDIN, 5, bytes, sizeof(bytes));
	send_ping(&p, 1);
	peer_expect(&p, TP_WIRE_PONG);
	tp_wire_begin(&p.out, TP_WIRE_STDIN_EOF, 5);
	peer_send(&p);
	meet_at("go", O_WRONLY);
	peer_expect(&p, TP_WIRE_STDOUT);
	/* What fits into the window, and the same again if that went into the pipe in time. */
	long n = strtol((const char *)p.frame.payload, NULL, 10);
	cr_assert_lt(n, 10 * 16384);
	cr_assert_eq(n % 16384, 0);
	peer_expect(&p, TP_WIRE_EXIT);
}

HELPER_TEST(commands_run_side_by_side_up_to_a_bound)
{
	static struct peer p;

	static_assert(TP_GUEST_COMMANDS == 32, "the sets below have 32 members");
	peer_init(&p, host_fd);
	for (uint32_t i = 0; i < TP_GUEST_COMMANDS; i++) {
		send_exec(&p, i, TP_WIRE_EXEC_STDIN, 1000, "read -r line; echo $line; exit 3");
		peer_expect(&p, TP_WIRE_STARTED);
		cr_assert_eq(p.frame.stream, i);
	}
	send_exec(&p, 1000, 0, 1000, "true");
	peer_expect(&p, TP_WIRE_FAILED);
	cr_assert_eq(p.frame.payload[0], EAGAIN);
	send_exec(&p, 7, 0, 1000, "true");
	peer_expect(&p, TP_WIRE_FAILED);
	cr_assert_eq(p.frame.payload[0], EEXIST);
	for (uint32_t i = TP_GUEST_COMMANDS; i-- > 0;) {
		char line[16];
		snprintf(line, sizeof(line), "%u\n", i);
		peer_send_data(&p, TP_WIRE_STDIN, i, line, strlen(line));
	}
	uint64_t heard = 0;
	uint64_t ended = 0;
	while (ended != UINT32_MAX) {
		cr_assert(peer_receive(&p));
		if (p.frame.type == TP_WIRE_STDOUT) {
			cr_assert_eq(
				strtoul((const char *)p.frame.payload, NULL, 10), p.frame.stream);
			heard |= UINT64_C(1) << p.frame.stream;
		} else if (p.frame.type == TP_WIRE_EXIT) {
			ended |= UINT64_C(1) << p.frame.stream;
			cr_assert_eq(heard & ended, ended, "nothing ends before its output");
		}
	}
	send_exec(&p, 1000, 0, 1000, "true");
	peer_expect(&p, TP_WIRE_EXIT);
}

/* Which says whether what it writes is still read, once it is told to look. */
static void send_detached(struct peer *p, uint32_t stream)
{
	char script[200];
	char name[16];

	snprintf(name, sizeof(name), "go%u", stream);
	make_fifo(name);
	snprintf(name, sizeof(name), "is%u", stream);
	make_fifo(name);
	snprintf(script, sizeof(script),
		"trap '' PIPE; read -r go <go%u; echo x && echo y >is%u || echo n >is%u", stream,
		stream, stream);
	send_exec(p, stream, 0, 1000, script);
	peer_expect(p, TP_WIRE_STARTED);
}

static char ask_detached(uint32_t stream)
{
	char path[PATH_MAX];
	char name[16];
	char answer = 0;

	snprintf(name, sizeof(name), "go%u", stream);
	meet_at(name, O_WRONLY);
	snprintf(path, sizeof(path), "%s/is%u", dir, stream);
	TP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_eq(read(fd, &answer, 1), 1);
	return answer;
}

HELPER_TEST(those_that_are_detached_make_room_the_oldest_first)
{
	static struct peer p;

	peer_init(&p, host_fd);
	for (uint32_t i = 0; i < TP_GUEST_COMMANDS; i++) {
		if (i < 3)
			send_detached(&p, i);
		else
			send_exec(&p, i, TP_WIRE_EXEC_STDIN, 1000, "read -r line");
	}
	static const uint32_t order[] = {1, 2, 0};
	for (size_t i = 0; i < TP_ARRAY_LEN(order); i++) {
		tp_wire_begin(&p.out, TP_WIRE_DETACH, order[i]);
		peer_send(&p);
	}
	for (uint32_t i = 0; i < 2; i++) {
		send_exec(&p, 100 + i, TP_WIRE_EXEC_STDIN, 1000, "read -r line; exit 3");
		do {
			peer_expect(&p, TP_WIRE_STARTED);
		} while (p.frame.stream != 100 + i);
	}
	cr_assert_eq(ask_detached(1), 'n');
	cr_assert_eq(ask_detached(2), 'n');
	cr_assert_eq(ask_detached(0), 'y');
	/* The slots are those of others by now. */
	for (uint32_t i = 0; i < 2; i++) {
		peer_send_data(&p, TP_WIRE_STDIN, 100 + i, "\n", 1);
		peer_expect(&p, TP_WIRE_EXIT);
		cr_assert_eq(p.frame.stream, 100 + i);
	}
}

HELPER_TEST(signals_reach_the_group)
{
	static struct peer p;
	struct tp_wire_exit ex;

	peer_init(&p, host_fd);
	send_exec(&p, 5, 0, 1000, "echo up; sleep 1000; true");
	peer_expect(&p, TP_WIRE_STDOUT);
	peer_send_u32(&p, TP_WIRE_SIGNAL, 5, 0);
	peer_send_u32(&p, TP_WIRE_SIGNAL, 5, 4711);
	peer_send_u32(&p, TP_WIRE_SIGNAL, 6, SIGKILL);
	peer_send_u32(&p, TP_WIRE_SIGNAL, 5, SIGTERM);
	peer_expect(&p, TP_WIRE_EXIT);
	cr_assert(tp_wire_get_exit(&p.frame, &ex));
	cr_assert_eq(ex.kind, TP_WIRE_SIGNALED);
	cr_assert_eq(ex.value, SIGTERM);
}

HELPER_TEST(a_new_host_hears_nothing_of_the_old_one)
{
	static struct peer p;
	OUTPUT struct output o = {0};
	struct tp_exec_result result;

	peer_init(&p, host_fd);
	send_exec(&p, 5, TP_WIRE_EXEC_STDIN, 100000000, "echo $$ >pid; exec yes");
	peer_expect(&p, TP_WIRE_STDOUT);
	/* It goes away in the middle of a frame. */
	tp_wire_begin(&p.out, TP_WIRE_PING, 0);
	peer_send_bytes(&p, "\x20\x01\x02", 3);
	HOST_CLIENT;
	CHECK_OK(run_shell(h, "echo mine", &o, &result));
	cr_assert_str_eq(text_of(&o, 1), "mine\n");
	CHECK_OK(run_shell(h, "kill -9 $(cat pid)", &o, &result));
}

static void send_fresh_frame(struct peer *p, uint64_t nonce, uint32_t steps)
{
	struct tp_wire_fresh fresh = {.nonce = nonce, .steps = steps, .realtime_ns = -5000000};

	tp_wire_begin(&p->out, TP_WIRE_FRESH, 0);
	tp_wire_put_fresh(&p->out, &fresh);
	peer_send(p);
}

HELPER_TEST(fresh_leaves_commands_attached_if_that_is_asked)
{
	static struct peer p;
	struct tp_wire_fresh_done done;

	peer_init(&p, host_fd);
	/* Its first output is due, but not granted; the second is granted and due when asked for.
	 */
	send_exec(&p, 5, TP_WIRE_EXEC_STDIN, 0, "echo first; read -r line; echo $line");
	peer_expect(&p, TP_WIRE_STARTED);
	send_fresh_frame(&p, 1, TP_WIRE_STEP_CLOCK_SHIFT | TP_WIRE_STEP_KEEP);
	peer_expect(&p, TP_WIRE_FRESH_DONE);
	cr_assert(tp_wire_get_fresh_done(&p.frame, &done));
	cr_assert_eq(done.done, TP_WIRE_STEP_CLOCK_SHIFT | TP_WIRE_STEP_KEEP);
	peer_send_u32(&p, TP_WIRE_CREDIT, 5, 1000);
	peer_expect(&p, TP_WIRE_STDOUT);
	cr_assert_eq(memcmp(p.frame.payload, "first\n", 6), 0);
	peer_send_data(&p, TP_WIRE_STDIN, 5, "second\n", 7);
	peer_expect(&p, TP_WIRE_STDOUT);
	cr_assert_eq(memcmp(p.frame.payload, "second\n", 7), 0);
	peer_expect(&p, TP_WIRE_EXIT);
}

HELPER_TEST(fresh_detaches_commands_otherwise)
{
	static struct peer p;

	peer_init(&p, host_fd);
	send_exec(&p, 5, TP_WIRE_EXEC_STDIN, 1000, "read -r line; echo $line");
	peer_expect(&p, TP_WIRE_STARTED);
	send_fresh_frame(&p, 1, TP_WIRE_STEP_CLOCK_SHIFT);
	peer_expect(&p, TP_WIRE_FRESH_DONE);
	peer_send_data(&p, TP_WIRE_STDIN, 5, "second\n", 7);
	send_ping(&p, 2);
	peer_expect(&p, TP_WIRE_PONG);
	cr_assert(peer_is_quiet(&p));
}

HELPER_TEST(garbage_is_passed_over)
{
	static uint8_t garbage[100000];
	static struct peer p;

	peer_init(&p, host_fd);
	for (size_t i = 0; i < sizeof(garbage); i++)
		garbage[i] = (uint8_t)rand();
	for (int i = 0; i < 20; i++)
		peer_send_bytes(&p, garbage, sizeof(garbage));
	peer_send_bytes(&p, "", 1);
	/* Sound frames that make no sense. */
	for (unsigned int type = 0; type < 256; type++)
		peer_send_data(&p, (enum tp_wire_type)type, 9, garbage, type % 13);
	HOST_CLIENT;
	check_fresh_works(h);
}

HELPER_TEST(a_host_that_asks_without_listening_is_answered_later)
{
	static struct peer p;
	int flags = fcntl(host_fd, F_GETFL);
	struct tp_helper_pong pong;

	/* Until both directions are full. */
	peer_init(&p, host_fd);
	fcntl(host_fd, F_SETFL, flags | O_NONBLOCK);
	for (struct pollfd one = {.fd = host_fd, .events = POLLOUT}; poll(&one, 1, 100) > 0;)
		send_ping(&p, 1);
	HOST_CLIENT;
	CHECK_OK(tp_helper_ping(h, &call, &pong));
}

HELPER_TEST(without_a_host_commands_are_not_held_up)
{
	static struct peer p;

	make_fifo("done");
	peer_init(&p, host_fd);
	send_exec(&p, 5, 0, 10, "head -c 1000000 /dev/zero; echo >done");
	peer_expect(&p, TP_WIRE_STDOUT);
	close(host_fd);
	meet_at("done", O_RDONLY);
}
