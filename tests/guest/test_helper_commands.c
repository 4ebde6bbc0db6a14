/* SPDX-License-Identifier: Apache-2.0 */
/* The real helper against the engine's client: commands, their input, output and end. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "real_helper.h"

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
