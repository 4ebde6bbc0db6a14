/* SPDX-License-Identifier: Apache-2.0 */
/* Several commands on one connection, beside each other. */
#include <criterion/criterion.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#include "follower.h"

static struct torpor_error *give(void *data, void *bytes, size_t room, size_t *len_out)
{
	struct follower *f = data;

	*len_out = TP_MIN(f->to_give, room);
	memset(bytes, 'i', *len_out);
	f->to_give -= *len_out;
	return NULL;
}

COMMANDS_TEST(frames_in_any_order_go_to_their_commands)
{
	static struct follower f[3];

	for (int i = 0; i < 3; i++)
		start(&f[i]);
	print(&f[2], TP_WIRE_STDOUT, "c1");
	print(&f[0], TP_WIRE_STDOUT, "a1");
	print(&f[1], TP_WIRE_STDERR, "b1");
	print(&f[0], TP_WIRE_STDERR, "a2");
	print(&f[2], TP_WIRE_STDOUT, "c2");
	finish(&f[1], 1);
	print(&f[0], TP_WIRE_STDOUT, "a3");
	check_ping();
	finish(&f[0], 0);
	print(&f[2], TP_WIRE_STDERR, "c3");
	finish(&f[2], 2);
	check_text(&f[0].out, "a1a3");
	check_text(&f[0].err, "a2");
	check_text(&f[1].out, "");
	check_text(&f[1].err, "b1");
	check_text(&f[2].out, "c1c2");
	check_text(&f[2].err, "c3");
	for (int i = 0; i < 3; i++)
		forget(&f[i]);
}

/* All but one stall, each of them in turn the one that is left: one of them was reading. */
COMMANDS_TEST(those_whose_output_nobody_takes_hold_up_no_other)
{
	for (int left = 0; left < 3; left++) {
		struct follower f[3] = {0};
		for (int i = 0; i < 3; i++) {
			f[i].stalls = i != left;
			start(&f[i]);
		}
		for (int i = 0; i < 3; i++) {
			if (i == left)
				continue;
			print_much(&f[i], WINDOW);
			sem_wait(&f[i].stalled);
		}
		/* Four windows pass through, each granted as it is taken. */
		for (size_t passed = 0; passed < 4 * WINDOW; passed += WINDOW / 2) {
			print_much(&f[left], WINDOW / 2);
			peer_expect(&guest, TP_WIRE_CREDIT);
			cr_assert_eq(guest.frame.stream, f[left].stream, "of what wasn't taken");
		}
		check_ping();
		finish(&f[left], 0);
		cr_assert_eq(f[left].out.len, 4 * WINDOW);
		for (int i = 0; i < 3; i++) {
			if (i == left)
				continue;
			cr_assert_eq(f[i].out.len, 0);
			f[i].stalls = false;
			sem_post(&f[i].go);
			peer_expect(&guest, TP_WIRE_CREDIT);
			cr_assert_eq(guest.frame.stream, f[i].stream);
			finish(&f[i], 7);
			cr_assert_eq(f[i].out.len, WINDOW);
		}
		for (int i = 0; i < 3; i++)
			forget(&f[i]);
	}
}

COMMANDS_TEST(what_came_before_the_end_is_taken_before_the_end)
{
	struct follower f = {.stalls = true};
	struct follower other = {0};

	start(&f);
	start(&other);
	print(&f, TP_WIRE_STDOUT, "first ");
	sem_wait(&f.stalled);
	print(&f, TP_WIRE_STDOUT, "second");
	send_exit(&f, 3);
	finish(&other, 0); /* which was behind it */
	f.stalls = false;
	sem_post(&f.go);
	join(&f, 0, NULL);
	check_text(&f.out, "first second");
	cr_assert_eq(f.result.value, 3);
	forget(&f);
	forget(&other);
}

COMMANDS_TEST(a_guest_that_breaks_the_rules_for_one_breaks_them_for_one)
{
	struct follower f[2] = {0};

	start(&f[0]);
	start(&f[1]);
	print_much(&f[0], WINDOW);
	peer_expect(&guest, TP_WIRE_CREDIT);
	print_much(&f[0], WINDOW);
	peer_expect(&guest, TP_WIRE_CREDIT);
	peer_send_u32(&guest, TP_WIRE_STARTED, f[0].stream, 100);
	join(&f[0], TORPOR_E_GUEST, "started a command twice");
	peer_expect(&guest, TP_WIRE_DETACH);
	cr_assert_eq(guest.frame.stream, f[0].stream);
	print(&f[1], TP_WIRE_STDOUT, "well");
	finish(&f[1], 0);
	check_text(&f[1].out, "well");
	forget(&f[0]);
	forget(&f[1]);
}

COMMANDS_TEST(each_is_cancelled_by_itself)
{
	struct follower f[3] = {{.spec.kill_on_cancel = true}};
	uint32_t signal;

	for (int i = 0; i < 3; i++)
		start(&f[i]);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(eventfd_write(f[i].cancel_fd, 1), 0);
		join(&f[i], TORPOR_E_CANCELLED, NULL);
		cr_assert(peer_receive(&guest));
		if (i == 0) {
			cr_assert_eq(guest.frame.type, TP_WIRE_SIGNAL);
			cr_assert(tp_wire_get_u32(&guest.frame, &signal));
			cr_assert_eq(signal, SIGKILL);
			cr_assert_eq(guest.frame.stream, f[i].stream);
			cr_assert(peer_receive(&guest));
		}
		cr_assert_eq(guest.frame.type, TP_WIRE_DETACH);
		cr_assert_eq(guest.frame.stream, f[i].stream);
	}
	/* What is on the way to those is nobody's. */
	print(&f[0], TP_WIRE_STDOUT, "late");
	print(&f[2], TP_WIRE_STDOUT, "on");
	finish(&f[2], 0);
	check_text(&f[0].out, "");
	check_text(&f[2].out, "on");
	for (int i = 0; i < 3; i++)
		forget(&f[i]);
}

/* Receives its input up to LEN bytes; nothing else may come. */
static void expect_input(struct follower *f, size_t len)
{
	for (size_t got = 0; got < len; got += guest.frame.len) {
		cr_assert(peer_receive(&guest));
		cr_assert_eq(guest.frame.type, TP_WIRE_STDIN);
		cr_assert_eq(guest.frame.stream, f->stream);
	}
}

COMMANDS_TEST(each_has_the_input_that_was_granted_to_it)
{
	struct follower f[2] = {
		{.spec.source = give, .to_give = 2 * TP_WIRE_STDIN_WINDOW - 1},
		{.spec.source = give, .to_give = 10},
	};

	start(&f[0]);
	expect_input(&f[0], TP_WIRE_STDIN_WINDOW);
	start(&f[1]);
	expect_input(&f[1], 10);
	peer_expect(&guest, TP_WIRE_STDIN_EOF);
	cr_assert_eq(guest.frame.stream, f[1].stream);
	cr_assert(peer_is_quiet(&guest));
	finish(&f[1], 0);
	peer_send_u32(&guest, TP_WIRE_CREDIT, f[0].stream, TP_WIRE_STDIN_WINDOW);
	expect_input(&f[0], TP_WIRE_STDIN_WINDOW - 1);
	peer_expect(&guest, TP_WIRE_STDIN_EOF);
	finish(&f[0], 0);
	forget(&f[0]);
	forget(&f[1]);
}

/* The guest doesn't read for a while: what is due waits, with those who have more to send. */
COMMANDS_TEST(one_that_is_made_while_the_connection_is_full_starts_when_it_is_not)
{
	struct follower full = {.spec.source = give, .to_give = TP_WIRE_STDIN_WINDOW};
	struct follower late[2] = {0};
	size_t got = 0;

	start(&full);
	for (int i = 0; i < 2; i++) {
		make(&late[i]);
		cr_assert_eq(pthread_create(&late[i].thread, NULL, follow, &late[i]), 0);
	}
	/* Both ways: the host goes on reading. */
	print(&full, TP_WIRE_STDOUT, "heard");
	for (int started = 0; started < 2 || got < TP_WIRE_STDIN_WINDOW;) {
		cr_assert(peer_receive(&guest));
		if (guest.frame.type == TP_WIRE_STDIN)
			got += guest.frame.len;
		if (guest.frame.type != TP_WIRE_EXEC)
			continue;
		late[started].stream = guest.frame.stream; /* whichever it is */
		peer_send_u32(&guest, TP_WIRE_STARTED, late[started++].stream, 100);
	}
	for (int i = 0; i < 2; i++)
		send_exit(&late[i], 5);
	for (int i = 0; i < 2; i++) {
		join(&late[i], 0, NULL);
		cr_assert_eq(late[i].result.value, 5);
		forget(&late[i]);
	}
	finish(&full, 0);
	check_text(&full.out, "heard");
	forget(&full);
}

/* Until the guest, which doesn't read, has as much before it as the socket takes. */
static void wait_until_full(void)
{
	struct pollfd host = {.fd = host_fd, .events = POLLOUT};

	while (poll(&host, 1, 0) > 0)
		sched_yield();
}

COMMANDS_TEST(who_reads_also_writes_what_others_have_left)
{
	struct follower quiet = {0};
	struct follower full = {.spec.source = give, .to_give = TP_WIRE_STDIN_WINDOW};

	start(&quiet);
	cr_assert(peer_is_quiet(&guest));
	start(&full);
	wait_until_full();
	expect_input(&full, TP_WIRE_STDIN_WINDOW);
	finish(&full, 0);
	finish(&quiet, 0);
	forget(&full);
	forget(&quiet);
}

COMMANDS_TEST(a_guest_that_reads_nothing_costs_no_memory)
{
	struct follower full = {.spec.source = give, .to_give = TP_WIRE_STDIN_WINDOW};
	const struct tp_call over = {.deadline_ns = 0, .cancel_fd = -1};
	struct tp_exec_result result;

	start(&full);
	wait_until_full();
	for (int i = 0; i < 100; i++) {
		struct follower late = {0};
		make(&late);
		check(tp_command_follow(late.command, &over, &result), TORPOR_E_TIMEOUT, NULL);
		forget(&late);
	}
	expect_input(&full, TP_WIRE_STDIN_WINDOW); /* and nothing of those */
	finish(&full, 0);
	forget(&full);
}

COMMANDS_TEST(no_more_are_made_than_can_run)
{
	static struct follower f[TP_WIRE_MAX_COMMANDS];
	struct follower more = {0};
	struct tp_command *command;

	for (size_t i = 0; i < TP_ARRAY_LEN(f); i++)
		start(&f[i]);
	struct torpor_error *err = tp_command_new(h, &f[0].spec, &call, &command);
	cr_assert_not_null(err);
	cr_assert_str_eq(torpor_error_reason(err), "session-commands");
	cr_assert_neq(torpor_error_retry_after(err), 0);
	cr_assert(strstr(torpor_error_hint(err), "32"));
	check(err, TORPOR_E_LIMIT, "32 commands run already");
	/* One that has ended makes room, also while it isn't forgotten. */
	finish(&f[7], 0);
	start(&more);
	finish(&more, 0);
	forget(&more);
	for (size_t i = 0; i < TP_ARRAY_LEN(f); i++) {
		if (i != 7)
			finish(&f[i], 0);
		forget(&f[i]);
	}
}

COMMANDS_TEST(one_that_is_made_and_not_followed_is_nothing_to_the_guest)
{
	struct follower f = {0};

	make(&f);
	forget(&f);
	check_ping();
	cr_assert(peer_is_quiet(&guest));
}
