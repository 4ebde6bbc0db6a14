/* SPDX-License-Identifier: Apache-2.0 */
/* Several commands on one connection: requests beside them, and its end. */
#include <criterion/criterion.h>
#include <sys/socket.h>

#include "follower.h"

/* --- requests beside them --- */

/* The answer comes while nobody waits for it, and is read by a command's thread. */
COMMANDS_TEST(fresh_keeps_them_and_its_answer_is_not_lost)
{
	struct follower f[2] = {{.stalls = true}, {.stalls = true}};
	struct tp_fresh fresh = clock_alone(2);
	struct tp_fresh_done done;

	start(&f[0]);
	start(&f[1]);
	check(tp_helper_send_fresh(h, &fresh, &call), 0, NULL);
	cr_assert_eq(receive_fresh().steps, TP_WIRE_STEP_CLOCK | TP_WIRE_STEP_KEEP);
	answer_fresh(1, TP_WIRE_STEP_CLOCK, 0);
	answer_fresh(2, TP_WIRE_STEP_CLOCK | TP_WIRE_STEP_KEEP, 0);
	for (int i = 0; i < 2; i++) {
		print(&f[i], TP_WIRE_STDOUT, "x");
		sem_wait(&f[i].stalled);
	}
	check(tp_helper_wait_fresh(h, &fresh, &call, &done), 0, NULL);
	cr_assert_eq(done.done, TP_WIRE_STEP_CLOCK);
	cr_assert_eq(done.failed, 0);
	for (int i = 0; i < 2; i++) {
		f[i].stalls = false;
		sem_post(&f[i].go);
		finish(&f[i], 0);
		forget(&f[i]);
	}
}

COMMANDS_TEST(a_helper_that_cannot_keep_them_ends_them)
{
	struct follower f[2] = {0};
	struct follower later = {0};
	struct tp_fresh fresh = clock_alone(2);
	struct tp_fresh_done done;

	start(&f[0]);
	start(&f[1]);
	check(tp_helper_send_fresh(h, &fresh, &call), 0, NULL);
	cr_assert_eq(receive_fresh().steps, TP_WIRE_STEP_CLOCK | TP_WIRE_STEP_KEEP);
	answer_fresh(2, TP_WIRE_STEP_CLOCK, TP_WIRE_STEP_KEEP);
	check(tp_helper_wait_fresh(h, &fresh, &call, &done), 0, NULL);
	cr_assert_eq(done.error, 0);
	for (int i = 0; i < 2; i++) {
		join(&f[i], TORPOR_E_GUEST, "earlier version");
		forget(&f[i]);
	}
	/* It isn't asked again; a clock shift with a step that it doesn't know would be nonsense.
	 */
	start(&later);
	fresh = clock_alone(3);
	check(tp_helper_send_fresh(h, &fresh, &call), 0, NULL);
	cr_assert_eq(receive_fresh().steps, TP_WIRE_STEP_CLOCK);
	answer_fresh(3, TP_WIRE_STEP_CLOCK, 0);
	check(tp_helper_wait_fresh(h, &fresh, &call, &done), 0, NULL);
	join(&later, TORPOR_E_GUEST, "lets go of its commands");
	forget(&later);
}

/* --- the end of the connection --- */

COMMANDS_TEST(cut_all_come_back_with_what_came_before)
{
	static struct follower f[3];

	f[2].stalls = true;
	for (int i = 0; i < 3; i++)
		start(&f[i]);
	print(&f[2], TP_WIRE_STDOUT, "x");
	sem_wait(&f[2].stalled);
	print(&f[0], TP_WIRE_STDOUT, "last");
	print(&f[2], TP_WIRE_STDOUT, "y");
	peer_send_bytes(&guest, "\x20\x01", 2); /* half a frame */
	shutdown(guest.fd, SHUT_RDWR);
	join(&f[0], TORPOR_E_QEMU, "closed");
	join(&f[1], TORPOR_E_QEMU, "closed");
	f[2].stalls = false;
	sem_post(&f[2].go);
	join(&f[2], TORPOR_E_QEMU, "closed");
	check_text(&f[0].out, "last");
	check_text(&f[2].out, "xy");
	for (int i = 0; i < 3; i++)
		forget(&f[i]);
}

COMMANDS_TEST(cut_in_silence_all_come_back)
{
	static struct follower f[3];

	for (int i = 0; i < 3; i++)
		start(&f[i]);
	cr_assert(peer_is_quiet(&guest));
	shutdown(guest.fd, SHUT_RDWR);
	for (int i = 0; i < 3; i++) {
		join(&f[i], TORPOR_E_QEMU, "closed");
		forget(&f[i]);
	}
}

/* It learns that its grant reaches nobody before it has read all. */
COMMANDS_TEST(what_a_guest_sent_before_it_went_is_read_to_the_end)
{
	struct follower f = {.stalls = true};

	start(&f);
	print_much(&f, WINDOW / 2);
	sem_wait(&f.stalled);
	print_much(&f, WINDOW / 2);
	shutdown(guest.fd, SHUT_RDWR);
	f.stalls = false;
	sem_post(&f.go);
	join(&f, TORPOR_E_QEMU, "closed");
	cr_assert_eq(f.out.len, WINDOW);
	forget(&f);
}

COMMANDS_TEST(what_becomes_of_the_guest_is_told_to_all)
{
	static struct follower f[3];

	f[2].stalls = true;
	for (int i = 0; i < 3; i++) {
		f[i].asks = true;
		start(&f[i]);
	}
	print(&f[2], TP_WIRE_STDOUT, "x");
	sem_wait(&f[2].stalled);
	print(&f[0], TP_WIRE_STDOUT, "last");
	tp_helper_retire(h, TORPOR_E_BUSY, "s1", "the session was parked");
	tp_helper_retire(h, TORPOR_E_QEMU, "s1", "it was killed");
	join(&f[0], TORPOR_E_BUSY, "run a command in s1: the session was parked");
	join(&f[1], TORPOR_E_BUSY, "was parked");
	/* The one that stalls holds on to it by itself. */
	h = tp_helper_free(h);
	f[2].stalls = false;
	sem_post(&f[2].go);
	join(&f[2], TORPOR_E_BUSY, "was parked");
	check_text(&f[0].out, "last");
	check_text(&f[2].out, "x");
	for (int i = 0; i < 3; i++)
		forget(&f[i]);
}

COMMANDS_TEST(what_became_of_the_guest_is_waited_for)
{
	struct follower f[2] = {{.asks = true}, {.asks = true}};
	struct tp_helper_pong pong;

	start(&f[0]);
	start(&f[1]);
	shutdown(guest.fd, SHUT_RDWR);
	/* That this thread sees the end, too, says that theirs may have. */
	check(tp_helper_ping(h, &call, &pong), TORPOR_E_QEMU, "closed");
	tp_helper_retire(h, TORPOR_E_QEMU, "s1", "QEMU was killed");
	join(&f[0], TORPOR_E_QEMU, "run a command in s1: QEMU was killed");
	join(&f[1], TORPOR_E_QEMU, "QEMU was killed");
	forget(&f[0]);
	forget(&f[1]);
}

COMMANDS_TEST(a_helper_started_anew_knows_none_of_them)
{
	struct follower f[2] = {0};
	struct tp_wire_hello hello = {.protocol = TP_WIRE_VERSION, .build = "test"};

	start(&f[0]);
	start(&f[1]);
	tp_wire_begin(&guest.out, TP_WIRE_HELLO, 0);
	tp_wire_put_hello(&guest.out, &hello);
	peer_send(&guest);
	for (int i = 0; i < 2; i++) {
		join(&f[i], TORPOR_E_GUEST, "started anew");
		forget(&f[i]);
	}
	check_ping();
}

COMMANDS_TEST(a_flood_ends_all_of_them)
{
	static uint8_t bytes[16384];
	struct follower f[2] = {0};

	start(&f[0]);
	start(&f[1]);
	/* 8 MiB, and less on top than the socket holds. */
	for (int i = 0; i < 520; i++)
		peer_send_data(&guest, TP_WIRE_STDOUT, f[0].stream + f[1].stream + 1, bytes,
			sizeof(bytes));
	for (int i = 0; i < 2; i++) {
		join(&f[i], TORPOR_E_GUEST, "floods");
		forget(&f[i]);
	}
}
