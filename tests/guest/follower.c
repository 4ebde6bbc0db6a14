/* SPDX-License-Identifier: Apache-2.0 */
/* Commands on one connection, and the threads that follow them. */
#include "follower.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

struct peer guest;
int host_fd;
struct tp_helper *h;
struct tp_call call;

/* --- the host: commands, and the threads that follow them --- */

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

void *follow(void *data)
{
	struct follower *f = data;
	struct tp_call own = {.deadline_ns = call.deadline_ns, .cancel_fd = f->cancel_fd};

	f->failure = tp_command_explain(f->command, tp_command_follow(f->command, &own, &f->result),
		"run a command in", &own);
	return NULL;
}

void make(struct follower *f)
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

void start(struct follower *f)
{
	make(f);
	cr_assert_eq(pthread_create(&f->thread, NULL, follow, f), 0);
	peer_expect(&guest, TP_WIRE_EXEC);
	f->stream = guest.frame.stream;
	peer_send_u32(&guest, TP_WIRE_STARTED, f->stream, 100);
}

void print(struct follower *f, enum tp_wire_type type, const char *text)
{
	peer_send_data(&guest, type, f->stream, text, strlen(text));
}

void print_much(struct follower *f, size_t len)
{
	static const char bytes[WINDOW];

	peer_send_data(&guest, TP_WIRE_STDOUT, f->stream, bytes, len);
}

void send_exit(struct follower *f, int32_t value)
{
	struct tp_wire_exit ex = {.kind = TP_WIRE_EXITED, .value = value};

	tp_wire_begin(&guest.out, TP_WIRE_EXIT, f->stream);
	tp_wire_put_exit(&guest.out, &ex);
	peer_send(&guest);
}

void join(struct follower *f, int expected, const char *why)
{
	pthread_join(f->thread, NULL);
	check(f->failure, expected, why);
	f->failure = NULL;
}

void forget(struct follower *f)
{
	f->command = tp_command_free(f->command);
	tp_buf_deinit(&f->out);
	tp_buf_deinit(&f->err);
	sem_destroy(&f->stalled);
	sem_destroy(&f->go);
	tp_close(f->cancel_fd);
}

void finish(struct follower *f, int32_t value)
{
	send_exit(f, value);
	join(f, 0, NULL);
	cr_assert_not(f->result.signaled);
	cr_assert_eq(f->result.value, value);
}

void check_text(const struct tp_buf *printed, const char *text)
{
	cr_assert_eq(printed->len, strlen(text), "%.*s", (int)printed->len, printed->data);
	/* Nothing printed is no memory at all. */
	cr_assert(printed->len == 0 || memcmp(printed->data, text, printed->len) == 0);
}

/* --- the connection --- */

struct tp_wire_fresh receive_fresh(void)
{
	struct tp_wire_fresh fresh;

	peer_expect(&guest, TP_WIRE_FRESH);
	cr_assert(tp_wire_get_fresh(&guest.frame, &fresh));
	return fresh;
}

void answer_fresh(uint64_t nonce, uint32_t done_steps, uint32_t failed_steps)
{
	struct tp_wire_fresh_done done = {.nonce = nonce,
		.done = done_steps,
		.failed = failed_steps,
		.error = failed_steps ? ENOSYS : 0};

	tp_wire_begin(&guest.out, TP_WIRE_FRESH_DONE, 0);
	tp_wire_put_fresh_done(&guest.out, &done);
	peer_send(&guest);
}

struct tp_fresh clock_alone(uint64_t nonce)
{
	return (struct tp_fresh){.nonce = nonce, .steps = TP_WIRE_STEP_CLOCK};
}

void commands_setup(void)
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

void commands_teardown(void)
{
	h = tp_helper_free(h);
	close(guest.fd);
}

static void *ping(void *data)
{
	struct tp_helper_pong pong;

	*(struct torpor_error **)data = tp_helper_ping(h, &call, &pong);
	return NULL;
}

void check_ping(void)
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
