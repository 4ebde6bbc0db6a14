/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several commands on one connection, each followed by a thread of its own. The guest is this
 * thread, frame by frame, so that what comes in which order is the test's to say.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "engine/helper.h"
#include "peer.h"

#define WINDOW 1000

static struct peer guest;
static int host_fd; /* the helper's */
static struct tp_helper *h;
static struct tp_call call;

/* --- the host: commands, and the threads that follow them --- */

struct follower {
	struct tp_exec spec;
	struct tp_command *command;
	uint32_t stream;
	pthread_t thread;
	struct tp_buf out, err; /* what was printed */
	int cancel_fd;
	bool asks;   /* for what became of the guest */
	bool stalls; /* its sink waits: tells `stalled`, and waits for `go` */
	sem_t stalled, go;
	size_t to_give; /* of input */
	struct torpor_error *failure;
	struct tp_exec_result result;
};

static struct torpor_error *keep(void *data, int stream, const void *bytes, size_t len)
{
	struct follower *f = data;

	if (f->stalls) {
		sem_post(&f->stalled);
		sem_wait(&f->go);
	}
	tp_buf_put(stream == 1 ? &f->out : &f->err, bytes, len);
	return NULL;
}

static struct torpor_error *give(void *data, void *bytes, size_t room, size_t *len_out)
{
	struct follower *f = data;

	*len_out = TP_MIN(f->to_give, room);
	memset(bytes, 'i', *len_out);
	f->to_give -= *len_out;
	return NULL;
}

static void *follow(void *data)
{
	struct follower *f = data;
	struct tp_call own = {.deadline_ns = call.deadline_ns, .cancel_fd = f->cancel_fd};

	f->failure = tp_command_explain(f->command, tp_command_follow(f->command, &own, &f->result),
		"run a command in", &own);
	return NULL;
}

static void check(struct torpor_error *taken, int expected, const char *why)
{
	TP_ERROR struct torpor_error *err = taken;

	if (!expected) {
		cr_assert_null(err, "%s", torpor_error_message(err));
		return;
	}
	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), (enum torpor_errc)expected, "%s",
		torpor_error_message(err));
	if (why)
		cr_assert(strstr(torpor_error_message(err), why), "%s", torpor_error_message(err));
}

static void make(struct follower *f)
{
	static const char *const argv[] = {"true", NULL};

	f->spec.argv = argv;
	f->spec.data = f;
	f->spec.window = WINDOW;
	if (!f->spec.sink)
		f->spec.sink = keep;
	sem_init(&f->stalled, 0, 0);
	sem_init(&f->go, 0, 0);
	f->cancel_fd = eventfd(0, EFD_CLOEXEC);
	check(tp_command_new(h, &f->spec, &call, &f->command), 0, NULL);
}

/* Makes it and follows it; the guest has got it, and has started it. */
static void start(struct follower *f)
{
	make(f);
	cr_assert_eq(pthread_create(&f->thread, NULL, follow, f), 0);
	peer_expect(&guest, TP_WIRE_EXEC);
	f->stream = guest.frame.stream;
	peer_send_u32(&guest, TP_WIRE_STARTED, f->stream, 100);
}

static void print(struct follower *f, enum tp_wire_type type, const char *text)
{
	peer_send_data(&guest, type, f->stream, text, strlen(text));
}

static void print_much(struct follower *f, size_t len)
{
	static const char bytes[WINDOW];

	peer_send_data(&guest, TP_WIRE_STDOUT, f->stream, bytes, len);
}

static void send_exit(struct follower *f, int32_t value)
{
	struct tp_wire_exit ex = {.kind = TP_WIRE_EXITED, .value = value};

	tp_wire_begin(&guest.out, TP_WIRE_EXIT, f->stream);
	tp_wire_put_exit(&guest.out, &ex);
	peer_send(&guest);
}

/* Its thread has come back, with EXPECTED (0: success). */
static void join(struct follower *f, int expected, const char *why)
{
	pthread_join(f->thread, NULL);
	check(f->failure, expected, why);
	f->failure = NULL;
}

static void forget(struct follower *f)
{
	f->command = tp_command_free(f->command);
	tp_buf_deinit(&f->out);
	tp_buf_deinit(&f->err);
	sem_destroy(&f->stalled);
	sem_destroy(&f->go);
	tp_close(f->cancel_fd);
}

/* The guest has ended it with VALUE: its thread comes back with that. */
static void end(struct follower *f, int32_t value)
{
	send_exit(f, value);
	join(f, 0, NULL);
	cr_assert_not(f->result.signaled);
	cr_assert_eq(f->result.value, value);
}

static void check_text(const struct tp_buf *printed, const char *text)
{
	cr_assert_eq(printed->len, strlen(text), "%.*s", (int)printed->len, printed->data);
	/* Nothing printed is no memory at all. */
	cr_assert(printed->len == 0 || memcmp(printed->data, text, printed->len) == 0);
}

/* --- the connection --- */

static struct tp_wire_fresh receive_fresh(void)
{
	struct tp_wire_fresh fresh;

	peer_expect(&guest, TP_WIRE_FRESH);
	cr_assert(tp_wire_get_fresh(&guest.frame, &fresh));
	return fresh;
}

static void answer_fresh(uint64_t nonce, uint32_t done_steps, uint32_t failed_steps)
{
	struct tp_wire_fresh_done done = {.nonce = nonce,
		.done = done_steps,
		.failed = failed_steps,
		.error = failed_steps ? ENOSYS : 0};

	tp_wire_begin(&guest.out, TP_WIRE_FRESH_DONE, 0);
	tp_wire_put_fresh_done(&guest.out, &done);
	peer_send(&guest);
}

static struct tp_fresh clock_alone(uint64_t nonce)
{
	return (struct tp_fresh){.nonce = nonce, .steps = TP_WIRE_STEP_CLOCK};
}

/* With a small socket buffer, so that it is soon full; and introduced, as after a resume. */
static void setup(void)
{
	struct tp_fresh fresh = clock_alone(1);
	struct tp_fresh_done done;
	int fds[2];
	int small = 4096;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	cr_assert_eq(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	peer_init(&guest, fds[1]);
	host_fd = fds[0];
	h = tp_helper_new(host_fd);
	call = tp_call_within(20 * TP_NSEC_PER_SEC);
	check(tp_helper_send_fresh(h, &fresh, &call), 0, NULL);
	cr_assert_eq(receive_fresh().steps, TP_WIRE_STEP_CLOCK, "there is nothing to keep");
	answer_fresh(1, TP_WIRE_STEP_CLOCK, 0);
	check(tp_helper_wait_fresh(h, &fresh, &call, &done), 0, NULL);
}

static void teardown(void)
{
	h = tp_helper_free(h);
	close(guest.fd);
}

#define COMMANDS_TEST(name) Test(commands, name, .init = setup, .fini = teardown, .timeout = 60)

static void *ping(void *data)
{
	struct tp_helper_pong pong;

	*(struct torpor_error **)data = tp_helper_ping(h, &call, &pong);
	return NULL;
}

/* The host asks, beside all that it does, and gets the answer. */
static void check_ping(void)
{
	struct torpor_error *err = NULL;
	struct tp_wire_ping question;
	struct tp_wire_pong pong = {0};
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, ping, &err), 0);
	peer_expect(&guest, TP_WIRE_PING);
	cr_assert(tp_wire_get_ping(&guest.frame, &question));
	cr_assert_eq(question.flags, 0);
	pong.nonce = question.nonce;
	tp_wire_begin(&guest.out, TP_WIRE_PONG, 0);
	tp_wire_put_pong(&guest.out, &pong);
	peer_send(&guest);
	pthread_join(thread, NULL);
	check(err, 0, NULL);
}

/* --- beside each other --- */

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
	end(&f[1], 1);
	print(&f[0], TP_WIRE_STDOUT, "a3");
	check_ping();
	end(&f[0], 0);
	print(&f[2], TP_WIRE_STDERR, "c3");
	end(&f[2], 2);
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
		end(&f[left], 0);
		cr_assert_eq(f[left].out.len, 4 * WINDOW);
		for (int i = 0; i < 3; i++) {
			if (i == left)
				continue;
			cr_assert_eq(f[i].out.len, 0);
			f[i].stalls = false;
			sem_post(&f[i].go);
			peer_expect(&guest, TP_WIRE_CREDIT);
			cr_assert_eq(guest.frame.stream, f[i].stream);
			end(&f[i], 7);
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
	end(&other, 0); /* which was behind it */
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
	end(&f[1], 0);
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
	end(&f[2], 0);
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
	end(&f[1], 0);
	peer_send_u32(&guest, TP_WIRE_CREDIT, f[0].stream, TP_WIRE_STDIN_WINDOW);
	expect_input(&f[0], TP_WIRE_STDIN_WINDOW - 1);
	peer_expect(&guest, TP_WIRE_STDIN_EOF);
	end(&f[0], 0);
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
	end(&full, 0);
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
	end(&full, 0);
	end(&quiet, 0);
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
	end(&full, 0);
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
	end(&f[7], 0);
	start(&more);
	end(&more, 0);
	forget(&more);
	for (size_t i = 0; i < TP_ARRAY_LEN(f); i++) {
		if (i != 7)
			end(&f[i], 0);
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
		end(&f[i], 0);
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
