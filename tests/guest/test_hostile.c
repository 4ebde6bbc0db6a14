/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's client against guests that lie, flood, stall and mumble: every call ends with a
 * clear error, in bounded memory, and the next one works if the guest lets it.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/helper.h"
#include "failure.h"
#include "peer.h"

/* --- the guest: a script on a thread --- */

static struct peer guest;
static pthread_t guest_thread;
static struct tp_helper *h;
static struct tp_call call;

typedef void guest_script(void);

static void *run_script(void *script)
{
	((guest_script *)(uintptr_t)script)();
	shutdown(guest.fd, SHUT_WR);
	while (peer_receive(&guest))
		continue;
	return NULL;
}

static void start_guest(guest_script *script)
{
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	peer_init(&guest, fds[1]);
	h = tp_helper_new(fds[0]);
	call = tp_call_within(20 * TP_NSEC_PER_SEC);
	cr_assert_eq(pthread_create(&guest_thread, NULL, run_script, (void *)(uintptr_t)script), 0);
}

static void end_guest(void)
{
	h = tp_helper_free(h);
	pthread_join(guest_thread, NULL);
	close(guest.fd);
}

static void send_hello(uint32_t protocol)
{
	struct tp_wire_hello hello = {.protocol = protocol, .build = "test"};

	tp_wire_begin(&guest.out, TP_WIRE_HELLO, 0);
	tp_wire_put_hello(&guest.out, &hello);
	peer_send(&guest);
}

static void send_pong(uint64_t nonce)
{
	struct tp_wire_pong pong = {.nonce = nonce, .boot_id = {7}};

	tp_wire_begin(&guest.out, TP_WIRE_PONG, 0);
	tp_wire_put_pong(&guest.out, &pong);
	peer_send(&guest);
}

static uint64_t receive_ping(void)
{
	struct tp_wire_ping ping = {0};

	peer_expect(&guest, TP_WIRE_PING);
	tp_wire_get_ping(&guest.frame, &ping);
	return ping.nonce;
}

static void answer_ping(void)
{
	uint64_t nonce = receive_ping();

	send_hello(TP_WIRE_VERSION);
	send_pong(nonce);
}

/* Answers the ping that comes before the first command, and takes the command. */
static uint32_t accept_exec(void)
{
	answer_ping();
	peer_expect(&guest, TP_WIRE_EXEC);
	return guest.frame.stream;
}

static uint32_t start_exec(void)
{
	uint32_t stream = accept_exec();

	peer_send_u32(&guest, TP_WIRE_STARTED, stream, 100);
	return stream;
}

static void send_exit(uint32_t stream, uint8_t kind, int32_t value)
{
	struct tp_wire_exit ex = {.kind = kind, .value = value};

	tp_wire_begin(&guest.out, TP_WIRE_EXIT, stream);
	tp_wire_put_exit(&guest.out, &ex);
	peer_send(&guest);
}

static void send_failed(uint32_t stream, int32_t error, const char *text)
{
	struct tp_wire_failed failed = {.error = error};

	strncpy(failed.text, text, sizeof(failed.text) - 1);
	tp_wire_begin(&guest.out, TP_WIRE_FAILED, stream);
	tp_wire_put_failed(&guest.out, &failed);
	peer_send(&guest);
}

/* --- the host --- */

static struct torpor_error *ping(void)
{
	struct tp_helper_pong pong;

	return tp_helper_ping(h, &call, &pong);
}

static size_t output_len;

static struct torpor_error *count_output(void *data, int stream, const void *bytes, size_t len)
{
	(void)data, (void)stream, (void)bytes;
	output_len += len;
	return NULL;
}

static struct torpor_error *give_all(void *data, void *bytes, size_t room, size_t *len_out)
{
	(void)data;
	memset(bytes, 'x', room);
	*len_out = room;
	return NULL;
}

static struct torpor_error *exec_into(tp_exec_sink *sink)
{
	const char *argv[] = {"true", NULL};
	struct tp_exec spec = {.argv = argv, .sink = sink, .source = give_all, .window = 1000};
	struct tp_exec_result result;

	return tp_helper_exec(h, &spec, &call, &result);
}

static struct torpor_error *exec(void)
{
	return exec_into(count_output);
}

static struct tp_fresh fresh(void)
{
	return (struct tp_fresh){
		.nonce = 5,
		.steps = TP_WIRE_STEP_CLOCK | TP_WIRE_STEP_MACHINE_ID,
		.optional = TP_WIRE_STEP_MACHINE_ID,
	};
}

static struct torpor_error *make_fresh(void)
{
	struct tp_fresh wanted = fresh();
	struct tp_fresh_done done;

	TP_TRY(tp_helper_send_fresh(h, &wanted, &call));
	return tp_helper_wait_fresh(h, &wanted, &call, &done);
}

#define HOSTILE(name, script, host_call, expected, why)                                            \
	Test(hostile, name, .timeout = 60)                                                         \
	{                                                                                          \
		start_guest(script);                                                               \
		check(host_call, expected, why);                                                   \
		end_guest();                                                                       \
	}

/* --- ping --- */

static void answers_with_wrong_nonces_first(void)
{
	uint64_t nonce = receive_ping();

	send_pong(0);
	send_pong(nonce + 1);
	send_pong(~nonce);
	send_pong(nonce);
}
HOSTILE(wrong_nonces_are_no_answers, answers_with_wrong_nonces_first, ping(), 0, NULL)

static void floods_with_pongs(void)
{
	receive_ping();
	for (int i = 0; i < 1000000; i++)
		send_pong(1);
}
HOSTILE(a_flood_of_wrong_answers_ends, floods_with_pongs, ping(), TORPOR_E_GUEST, "floods")

static void floods_with_garbage(void)
{
	static uint8_t garbage[65536];

	for (size_t i = 0; i < sizeof(garbage); i++)
		garbage[i] = (uint8_t)rand();
	for (int i = 0; i < 1000; i++)
		peer_send_bytes(&guest, garbage, sizeof(garbage));
}
HOSTILE(a_flood_of_garbage_ends, floods_with_garbage, ping(), TORPOR_E_GUEST, "floods")

static void floods_without_a_zero(void)
{
	static uint8_t ones[65536];

	memset(ones, 0xff, sizeof(ones));
	for (int i = 0; i < 1000; i++)
		peer_send_bytes(&guest, ones, sizeof(ones));
}
HOSTILE(an_endless_frame_ends, floods_without_a_zero, exec(), TORPOR_E_GUEST, "floods")

static void sends_a_malformed_pong(void)
{
	receive_ping();
	peer_send_data(&guest, TP_WIRE_PONG, 0, "short", 5);
}
HOSTILE(a_malformed_pong, sends_a_malformed_pong, ping(), TORPOR_E_GUEST, "malformed PONG")

static void speaks_another_protocol(void)
{
	receive_ping();
	send_hello(99);
}
HOSTILE(another_protocol, speaks_another_protocol, ping(), TORPOR_E_MISMATCH, "protocol 99")

static void says_nothing(void)
{
	while (peer_receive(&guest))
		continue;
}

Test(hostile, silence_ends_with_the_deadline, .timeout = 60)
{
	start_guest(says_nothing);
	call = tp_call_within(20 * TP_NSEC_PER_MSEC);
	check(ping(), TORPOR_E_TIMEOUT, NULL);
	check(exec(), TORPOR_E_TIMEOUT, NULL);
	check(make_fresh(), TORPOR_E_TIMEOUT, NULL);
	end_guest();
}

static void closes(void)
{
	receive_ping();
}
HOSTILE(a_closed_connection, closes, ping(), TORPOR_E_QEMU, "closed")

/* --- fresh --- */

static void answer_fresh(uint64_t nonce, uint32_t done_steps, uint32_t failed_steps)
{
	struct tp_wire_fresh_done done = {
		.nonce = nonce, .done = done_steps, .failed = failed_steps, .error = 1};

	tp_wire_begin(&guest.out, TP_WIRE_FRESH_DONE, 0);
	tp_wire_put_fresh_done(&guest.out, &done);
	peer_send(&guest);
}

static void answers_an_older_fresh_first(void)
{
	peer_expect(&guest, TP_WIRE_FRESH);
	answer_fresh(4, 0, 0);
	answer_fresh(5, TP_WIRE_STEP_CLOCK | TP_WIRE_STEP_MACHINE_ID, 0);
}
HOSTILE(an_older_fresh_is_no_answer, answers_an_older_fresh_first, make_fresh(), 0, NULL)

static void does_less_than_asked(void)
{
	peer_expect(&guest, TP_WIRE_FRESH);
	answer_fresh(5, TP_WIRE_STEP_MACHINE_ID, 0);
}
HOSTILE(a_step_left_out, does_less_than_asked, make_fresh(), TORPOR_E_GUEST, "asked for steps")

static void does_more_than_asked(void)
{
	peer_expect(&guest, TP_WIRE_FRESH);
	answer_fresh(5, TP_WIRE_ALL_STEPS, 0);
}
HOSTILE(a_step_too_many, does_more_than_asked, make_fresh(), TORPOR_E_GUEST, "asked for steps")

static void fails_at_the_clock(void)
{
	peer_expect(&guest, TP_WIRE_FRESH);
	answer_fresh(5, TP_WIRE_STEP_MACHINE_ID, TP_WIRE_STEP_CLOCK);
}
HOSTILE(a_failed_step, fails_at_the_clock, make_fresh(), TORPOR_E_GUEST, "set the clock")

static void both_did_and_failed(void)
{
	peer_expect(&guest, TP_WIRE_FRESH);
	answer_fresh(5, 3, 3);
}
HOSTILE(a_step_done_and_failed, both_did_and_failed, make_fresh(), TORPOR_E_GUEST, "malformed")

/* --- commands --- */

static void sends_more_than_the_window(void)
{
	static uint8_t bytes[1001];

	peer_send_data(&guest, TP_WIRE_STDOUT, start_exec(), bytes, sizeof(bytes));
}
HOSTILE(output_that_was_not_granted, sends_more_than_the_window, exec(), TORPOR_E_GUEST, "granted")

static void floods_with_empty_output(void)
{
	uint32_t stream = start_exec();

	for (int i = 0; i < 1000000; i++)
		peer_send_data(&guest, TP_WIRE_STDOUT, stream, NULL, 0);
}
HOSTILE(a_flood_of_empty_output, floods_with_empty_output, exec(), TORPOR_E_GUEST, "floods")

static void floods_with_output_of_others(void)
{
	static uint8_t bytes[16384];
	uint32_t stream = start_exec();

	for (int i = 0; i < 10000; i++)
		peer_send_data(&guest, TP_WIRE_STDOUT, stream + 1, bytes, sizeof(bytes));
}
HOSTILE(a_flood_for_nobody, floods_with_output_of_others, exec(), TORPOR_E_GUEST, "floods")

static void outputs_before_it_starts(void)
{
	peer_send_data(&guest, TP_WIRE_STDOUT, accept_exec(), "x", 1);
}
HOSTILE(output_too_early, outputs_before_it_starts, exec(), TORPOR_E_GUEST, "hasn't started")

static void ends_before_it_starts(void)
{
	send_exit(accept_exec(), TP_WIRE_EXITED, 0);
}
HOSTILE(an_end_too_early, ends_before_it_starts, exec(), TORPOR_E_GUEST, "hasn't started")

static void starts_twice(void)
{
	peer_send_u32(&guest, TP_WIRE_STARTED, start_exec(), 100);
}
HOSTILE(started_twice, starts_twice, exec(), TORPOR_E_GUEST, "twice")

static void fails_after_the_start(void)
{
	send_failed(start_exec(), 2, "execute");
}
HOSTILE(failed_after_the_start, fails_after_the_start, exec(), TORPOR_E_GUEST, "had started")

static void grants_too_much(void)
{
	peer_send_u32(&guest, TP_WIRE_CREDIT, start_exec(), UINT32_MAX);
}
HOSTILE(a_huge_credit, grants_too_much, exec(), TORPOR_E_GUEST, "granted more input")

static void grants_nothing(void)
{
	peer_send_u32(&guest, TP_WIRE_CREDIT, start_exec(), 0);
}
HOSTILE(an_empty_credit, grants_nothing, exec(), TORPOR_E_GUEST, "granted more input")

static void exits_impossibly(void)
{
	send_exit(start_exec(), TP_WIRE_EXITED, 256);
}
HOSTILE(an_impossible_exit, exits_impossibly, exec(), TORPOR_E_GUEST, "malformed EXIT")

static void fails_with_no_errno(void)
{
	send_failed(accept_exec(), 4000, "execute");
}
HOSTILE(an_unknown_errno, fails_with_no_errno, exec(), TORPOR_E_GUEST, "no known errno")

static void fails_with_escapes(void)
{
	send_failed(accept_exec(), 2, "\033]0;owned\007");
}
HOSTILE(escapes_in_text, fails_with_escapes, exec(), TORPOR_E_GUEST, "malformed FAILED")

static void is_full(void)
{
	send_failed(accept_exec(), 11, "find a free place");
}
HOSTILE(a_full_guest, is_full, exec(), TORPOR_E_LIMIT, "find a free place")

static void starts_anew(void)
{
	start_exec();
	send_hello(TP_WIRE_VERSION);
}
HOSTILE(a_helper_started_anew, starts_anew, exec(), TORPOR_E_GUEST, "started anew")

static void closes_in_the_middle(void)
{
	start_exec();
}
HOSTILE(a_connection_closed_while_running, closes_in_the_middle, exec(), TORPOR_E_QEMU, "closed")

static void keeps_sending_after_the_end(void)
{
	uint32_t stream = start_exec();

	send_exit(stream, TP_WIRE_EXITED, 0);
	send_exit(stream, TP_WIRE_EXITED, 1);
	peer_send_data(&guest, TP_WIRE_STDOUT, stream, "late", 4);
	peer_send_u32(&guest, TP_WIRE_CREDIT, stream, UINT32_MAX);
	peer_expect(&guest, TP_WIRE_EXEC);
	peer_send_data(&guest, TP_WIRE_STDERR, stream, "later", 5);
	stream = guest.frame.stream;
	peer_send_u32(&guest, TP_WIRE_STARTED, stream, 101);
	send_exit(stream, TP_WIRE_EXITED, 0);
}

Test(hostile, what_comes_after_the_end_is_passed_over, .timeout = 60)
{
	start_guest(keeps_sending_after_the_end);
	check(exec(), 0, NULL);
	check(exec(), 0, NULL);
	cr_assert_eq(output_len, 0);
	end_guest();
}

/* Output without end, always within what was granted: only the deadline ends it. */
static void prints_for_ever(void)
{
	static uint8_t bytes[100];
	uint32_t stream = start_exec();
	uint32_t room = 1000;
	uint32_t more = 0;

	for (;;) {
		for (; room >= sizeof(bytes); room -= sizeof(bytes))
			peer_send_data(&guest, TP_WIRE_STDOUT, stream, bytes, sizeof(bytes));
		do {
			if (!peer_receive(&guest) || guest.frame.type == TP_WIRE_DETACH)
				return;
		} while (guest.frame.type != TP_WIRE_CREDIT);
		tp_wire_get_u32(&guest.frame, &more);
		room += more;
	}
}

/* The time that is left counts from the first output on: it could be over before the command runs.
 */
static struct torpor_error *hurry(void *data, int stream, const void *bytes, size_t len)
{
	if (output_len == 0)
		call = tp_call_within(200 * TP_NSEC_PER_MSEC);
	return count_output(data, stream, bytes, len);
}

Test(hostile, output_without_end_ends_with_the_deadline, .timeout = 60)
{
	start_guest(prints_for_ever);
	check(exec_into(hurry), TORPOR_E_TIMEOUT, NULL);
	cr_assert_gt(output_len, 0);
	end_guest();
}

static int deaf_fd; /* readable: the guest reads nothing any more */

/* The guest answers once and then never reads again. */
static void stops_reading(void)
{
	start_exec();
	eventfd_write(deaf_fd, 1);
	pthread_exit(NULL);
}

Test(hostile, a_guest_that_does_not_read_costs_no_memory, .timeout = 60)
{
	deaf_fd = eventfd(0, EFD_CLOEXEC);
	start_guest(stops_reading);
	call.cancel_fd = deaf_fd;
	check(exec(), TORPOR_E_CANCELLED, NULL);
	for (int i = 0; i < 2000; i++) {
		call = tp_call_within(TP_NSEC_PER_USEC);
		check(exec(), TORPOR_E_TIMEOUT, NULL);
	}
	cr_assert_not(tp_helper_drained(h));
	end_guest();
	close(deaf_fd);
}
