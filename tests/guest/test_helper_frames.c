/* SPDX-License-Identifier: Apache-2.0 */
/* The real helper against single frames, in and out of order. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "guest/helper.h"
#include "peer.h"
#include "real_helper.h"

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
