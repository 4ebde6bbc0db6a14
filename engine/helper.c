/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's end of the resident helper in the guest. */
#include "engine/helper.h"

#include <errno.h>
#include <linux/sockios.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"

#define PEER "the helper in the guest"

#define DEFAULT_WINDOW (64 * TP_KIB)

/*
 * What a guest may send on end that has nothing to do with the call: more than all commands of
 * earlier hosts can have left behind.
 */
#define MAX_STRAY (8 * TP_MIB)

struct tp_helper {
	int fd;	       /* owned */
	bool attached; /* the guest has answered us, so earlier hosts' commands are detached */
	bool opened;   /* something was sent */
	uint32_t next_stream;

	struct tp_buf out; /* encoded; [out_at, out.len) is still to be written */
	size_t out_at;

	struct tp_wire_decoder dec;
	uint8_t rx[16384];
	size_t rx_at; /* [rx_at, rx_len) is still to be decoded */
	size_t rx_len;
	uint64_t stray; /* bytes received since something was received that was waited for */
};

/* Starts from anywhere, so that frames for an earlier host's streams aren't taken for ours. */
static uint64_t random_u64(void)
{
	uint64_t v = 0;

	if (getrandom(&v, sizeof(v), 0) != (ssize_t)sizeof(v))
		v = tp_now_ns();
	return v;
}

struct tp_helper *tp_helper_new(int fd)
{
	struct tp_helper *h = tp_calloc(1, sizeof(*h));

	h->fd = fd;
	h->next_stream = (uint32_t)random_u64();
	tp_wire_decoder_init(&h->dec);
	return h;
}

int tp_helper_fd(const struct tp_helper *h)
{
	return h->fd;
}

struct tp_helper *tp_helper_free(struct tp_helper *h)
{
	if (h) {
		tp_close(h->fd);
		tp_buf_deinit(&h->out);
		free(h);
	}
	return NULL;
}

/* --- bytes --- */

static struct torpor_error *connection_lost(void)
{
	return tp_error(TORPOR_E_QEMU, "talk to", PEER, "QEMU closed the connection");
}

/* Writes as much as fits without blocking. */
static struct torpor_error *write_some(struct tp_helper *h)
{
	while (h->out_at < h->out.len) {
		ssize_t n = send(h->fd, h->out.data + h->out_at, h->out.len - h->out_at,
			MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return NULL;
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return connection_lost();
		if (n < 0)
			return tp_error_errno(errno, "write to", PEER);
		h->out_at += (size_t)n;
	}
	h->out.len = h->out_at = 0;
	return NULL;
}

/* Reads what is there; only to be called when all that was read before is decoded. */
static struct torpor_error *read_some(struct tp_helper *h)
{
	assert(h->rx_at == h->rx_len);
	ssize_t n = recv(h->fd, h->rx, sizeof(h->rx), MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return connection_lost();
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return tp_error_errno(errno, "read from", PEER);
	h->rx_at = 0;
	h->rx_len = n > 0 ? (size_t)n : 0;
	h->stray += h->rx_len;
	if (h->stray > MAX_STRAY)
		return tp_error(TORPOR_E_GUEST, "read from", PEER,
			"it floods the connection with what wasn't asked for");
	return NULL;
}

static bool has_output(const struct tp_helper *h)
{
	return h->out_at < h->out.len;
}

/*
 * Waits until something can be read or what is due can be written, and does it. ALSO_FD (or -1)
 * is waited for too; *ALSO_OUT says whether it is ready.
 */
static struct torpor_error *exchange(struct tp_helper *h, const struct tp_call *call,
	const char *step, int also_fd, bool *also_out)
{
	struct pollfd fds[2] = {
		{.fd = h->fd, .events = POLLIN | (has_output(h) ? POLLOUT : 0)},
		{.fd = also_fd, .events = POLLIN},
	};

	/* Waiting reports a deadline only if nothing is ready, and a flood is always ready. */
	TP_TRY(tp_call_check(call, step, PEER));
	TP_TRY(tp_wait_fds(fds, 2, call, step, PEER));
	*also_out = fds[1].revents != 0;
	if (fds[0].revents & (POLLOUT | POLLERR))
		TP_TRY(write_some(h));
	if (fds[0].revents & ~POLLOUT)
		TP_TRY(read_some(h));
	return NULL;
}

/* The next sound frame of what was read. */
static bool next_frame(struct tp_helper *h, struct tp_wire_frame *frame)
{
	bool found = false;

	while (!found && h->rx_at < h->rx_len)
		h->rx_at += tp_wire_decode(
			&h->dec, h->rx + h->rx_at, h->rx_len - h->rx_at, frame, &found);
	return found;
}

static struct torpor_error *wait_frame(struct tp_helper *h, const struct tp_call *call,
	const char *step, struct tp_wire_frame *frame)
{
	bool ready;

	while (!next_frame(h, frame))
		TP_TRY(exchange(h, call, step, -1, &ready));
	return NULL;
}

/* --- frames --- */

static void queue_frame(struct tp_helper *h, struct tp_wire_out *frame)
{
	size_t most = TP_WIRE_ENCODED(TP_WIRE_HEADER + frame->len + TP_WIRE_CHECK);

	assert(!frame->full);
	/* Ends what an earlier host may have left unfinished. */
	if (!h->opened)
		tp_buf_put_u8(&h->out, 0);
	h->opened = true;
	uint8_t *to = tp_buf_extend(&h->out, most);
	h->out.len -= most - tp_wire_encode(frame, to);
}

static void queue_u32(struct tp_helper *h, enum tp_wire_type type, uint32_t stream, uint32_t value)
{
	struct tp_wire_out frame;

	tp_wire_begin(&frame, type, stream);
	tp_wire_put_u32(&frame, value);
	queue_frame(h, &frame);
}

static void queue_empty(struct tp_helper *h, enum tp_wire_type type, uint32_t stream)
{
	struct tp_wire_out frame;

	tp_wire_begin(&frame, type, stream);
	queue_frame(h, &frame);
}

/*
 * Writes all that is due. Frames are read meanwhile and dropped: the guest must not wait for us to
 * read while we wait for it, and what came before the last byte of a request is no answer to it.
 * What is read last may be one, so it stays.
 */
static struct torpor_error *flush(struct tp_helper *h, const struct tp_call *call, const char *step)
{
	struct tp_wire_frame stale;
	bool ready;

	TP_TRY(write_some(h));
	while (has_output(h)) {
		while (next_frame(h, &stale))
			continue;
		TP_TRY(exchange(h, call, step, -1, &ready));
	}
	return NULL;
}

/* Every call begins here: what an earlier one left unwritten goes first, so it can't pile up. */
static struct torpor_error *begin_call(
	struct tp_helper *h, const struct tp_call *call, const char *step)
{
	h->stray = 0;
	return flush(h, call, step);
}

static struct torpor_error *malformed(const char *step, const char *what)
{
	return tp_error(TORPOR_E_GUEST, step, PEER, "it sent a malformed %s", what);
}

/* A HELLO of another protocol is the only thing that such a helper could tell us. */
static struct torpor_error *check_hello(const struct tp_wire_frame *frame, const char *step)
{
	struct tp_wire_hello hello;

	if (!tp_wire_get_hello(frame, &hello))
		return malformed(step, "HELLO");
	if (hello.protocol != TP_WIRE_VERSION)
		return tp_error_hint(tp_error(TORPOR_E_MISMATCH, step, PEER,
					     "it speaks protocol %u (%s), this is %u",
					     hello.protocol, hello.build, TP_WIRE_VERSION),
			"build the guest again with this version's scripts/build-guest");
	return NULL;
}

/* --- ping --- */

struct torpor_error *tp_helper_ping(
	struct tp_helper *h, const struct tp_call *call, struct tp_helper_pong *pong_out)
{
	static const char step[] = "ping";
	struct tp_wire_ping ping = {
		.nonce = random_u64(),
		.flags = h->attached ? 0 : TP_WIRE_PING_ATTACH,
	};
	struct tp_wire_out out;
	struct tp_wire_frame frame;
	struct tp_wire_pong pong;

	TP_TRY(begin_call(h, call, step));
	tp_wire_begin(&out, TP_WIRE_PING, 0);
	tp_wire_put_ping(&out, &ping);
	queue_frame(h, &out);
	for (;;) {
		TP_TRY(wait_frame(h, call, step, &frame));
		if (frame.type == TP_WIRE_HELLO)
			TP_TRY(check_hello(&frame, step));
		if (frame.type != TP_WIRE_PONG)
			continue;
		if (!tp_wire_get_pong(&frame, &pong))
			return malformed(step, "PONG");
		if (pong.nonce == ping.nonce)
			break;
	}
	h->attached = true;
	memcpy(pong_out->boot_id, pong.boot_id, sizeof(pong.boot_id));
	pong_out->realtime_ns = pong.realtime_ns;
	return NULL;
}

/* --- fresh --- */

static struct torpor_error *check_fresh(const struct tp_fresh *fresh)
{
	static const char step[] = "make the clone fresh";

	if (fresh->steps == TP_WIRE_STEP_CLOCK_SHIFT)
		return NULL;
	if (fresh->steps & ~TP_WIRE_ALL_STEPS)
		return tp_error(TORPOR_E_INVALID, step, NULL, "unknown steps %#x",
			fresh->steps & ~TP_WIRE_ALL_STEPS);
	if ((fresh->steps & TP_WIRE_STEP_CLOCK) && fresh->realtime_ns < 0)
		return tp_error(TORPOR_E_INVALID, step, NULL, "a time before 1970");
	if ((fresh->steps & TP_WIRE_STEP_SEED) &&
		(fresh->seed_len < TP_WIRE_MIN_SEED || fresh->seed_len > TP_WIRE_MAX_SEED))
		return tp_error(TORPOR_E_INVALID, step, NULL, "a seed of %zu bytes, not %u to %u",
			fresh->seed_len, TP_WIRE_MIN_SEED, TP_WIRE_MAX_SEED);
	if ((fresh->steps & TP_WIRE_STEP_HOSTNAME) &&
		!tp_wire_hostname_is_sound(fresh->hostname, strlen(fresh->hostname)))
		return tp_error(
			TORPOR_E_INVALID, step, NULL, "%s is no host name", fresh->hostname);
	return NULL;
}

struct torpor_error *tp_helper_send_fresh(
	struct tp_helper *h, const struct tp_fresh *fresh, const struct tp_call *call)
{
	static const char step[] = "send the clone's identity to";
	struct tp_wire_fresh wire = {
		.nonce = fresh->nonce,
		.steps = fresh->steps,
		.realtime_ns = fresh->realtime_ns,
	};
	struct tp_wire_out out;

	TP_TRY(check_fresh(fresh));
	TP_TRY(begin_call(h, call, step));
	memcpy(wire.machine_id, fresh->machine_id, sizeof(wire.machine_id));
	if (fresh->steps & TP_WIRE_STEP_SEED) {
		wire.seed = fresh->seed;
		wire.seed_len = (uint8_t)fresh->seed_len;
	}
	if (fresh->steps & TP_WIRE_STEP_HOSTNAME) {
		wire.hostname = fresh->hostname;
		wire.hostname_len = (uint8_t)strlen(fresh->hostname);
	}
	tp_wire_begin(&out, TP_WIRE_FRESH, 0);
	tp_wire_put_fresh(&out, &wire);
	queue_frame(h, &out);
	explicit_bzero(&out, sizeof(out));
	return flush(h, call, step);
}

static const char *step_name(uint32_t steps)
{
	if (steps & TP_WIRE_STEP_SEED)
		return "reseed the random generator";
	if (steps & (TP_WIRE_STEP_CLOCK | TP_WIRE_STEP_CLOCK_SHIFT))
		return "set the clock";
	if (steps & TP_WIRE_STEP_HOSTNAME)
		return "set the host name";
	return "set the machine id";
}

/* Judges an answer that belongs to FRESH. */
static struct torpor_error *check_fresh_done(
	const struct tp_fresh *fresh, const struct tp_wire_fresh_done *done)
{
	uint32_t failed = done->failed & ~fresh->optional;

	if ((done->done | done->failed) != fresh->steps)
		return tp_error(TORPOR_E_GUEST, "make the clone fresh", PEER,
			"it was asked for steps %#x and answered %#x", fresh->steps,
			done->done | done->failed);
	if (failed)
		return tp_error(TORPOR_E_GUEST, "make the clone fresh", PEER,
			"it could not %s (errno %d)", step_name(failed), done->error);
	return NULL;
}

struct torpor_error *tp_helper_wait_fresh(struct tp_helper *h, const struct tp_fresh *fresh,
	const struct tp_call *call, struct tp_fresh_done *done_out)
{
	static const char step[] = "wait for a fresh clone from";
	struct tp_wire_fresh_done done;
	struct tp_wire_frame frame;

	h->stray = 0;
	do {
		TP_TRY(wait_frame(h, call, step, &frame));
		if (frame.type == TP_WIRE_FRESH_DONE && !tp_wire_get_fresh_done(&frame, &done))
			return malformed(step, "FRESH_DONE");
	} while (frame.type != TP_WIRE_FRESH_DONE || done.nonce != fresh->nonce);
	h->attached = true;
	TP_TRY(check_fresh_done(fresh, &done));
	*done_out = (struct tp_fresh_done){
		.done = done.done,
		.failed = done.failed,
		.error = done.error,
		.count = done.count,
		.realtime_ns = done.realtime_ns,
		.boottime_ns = done.boottime_ns,
	};
	return NULL;
}

/* --- commands --- */

/* A command being run. */
struct run {
	struct tp_helper *h;
	const struct tp_exec *spec;
	uint32_t stream;
	bool started;
	bool ended;
	uint32_t window;   /* the whole of it */
	uint32_t granted;  /* output that may still come */
	uint32_t consumed; /* output that the sink has, and for which nothing new was granted yet */
	uint32_t in_room;  /* input that may still be sent */
	bool in_ended;
	struct tp_exec_result result;
};

static const char run_step[] = "run a command through";

static struct torpor_error *misbehaves(const char *how)
{
	return tp_error(TORPOR_E_GUEST, run_step, PEER, "%s", how);
}

static struct torpor_error *take_output(
	struct run *run, const struct tp_wire_frame *frame, int stream)
{
	const struct tp_exec *spec = run->spec;

	if (!run->started)
		return misbehaves("it sent output of a command that hasn't started");
	if (frame->len > run->granted)
		return misbehaves("it sent more output than was granted");
	if (frame->len == 0)
		return NULL;
	run->h->stray = 0;
	run->granted -= frame->len;
	run->consumed += frame->len;
	if (spec->sink)
		TP_TRY(spec->sink(spec->data, stream, frame->payload, frame->len));
	if (run->consumed >= run->window / 2) {
		queue_u32(run->h, TP_WIRE_CREDIT, run->stream, run->consumed);
		run->granted += run->consumed;
		run->consumed = 0;
	}
	return NULL;
}

static struct torpor_error *take_credit(struct run *run, const struct tp_wire_frame *frame)
{
	uint32_t bytes;

	if (!tp_wire_get_u32(frame, &bytes))
		return malformed(run_step, "CREDIT");
	if (!run->started || bytes == 0 || bytes > TP_WIRE_STDIN_WINDOW - run->in_room)
		return misbehaves("it granted more input than it had room for");
	run->h->stray = 0;
	run->in_room += bytes;
	return NULL;
}

static struct torpor_error *take_exit(struct run *run, const struct tp_wire_frame *frame)
{
	struct tp_wire_exit ex;

	if (!tp_wire_get_exit(frame, &ex))
		return malformed(run_step, "EXIT");
	if (!run->started)
		return misbehaves("it ended a command that hasn't started");
	run->ended = true;
	run->result = (struct tp_exec_result){
		.signaled = ex.kind == TP_WIRE_SIGNALED,
		.value = ex.value,
	};
	return NULL;
}

static struct torpor_error *take_failed(struct run *run, const struct tp_wire_frame *frame)
{
	struct tp_wire_failed failed;

	if (!tp_wire_get_failed(frame, &failed))
		return malformed(run_step, "FAILED");
	if (run->started)
		return misbehaves("it could not start a command that had started");
	run->ended = true;
	if (!strerrordesc_np(failed.error))
		return misbehaves("it could not start the command, and names no known errno");
	struct torpor_error *err = tp_error_errno(failed.error, failed.text, run->spec->argv[0]);
	if (failed.error == EAGAIN)
		err = tp_error_recode(err, TORPOR_E_LIMIT);
	return tp_error_in(err, run_step, PEER);
}

static struct torpor_error *take_frame(struct run *run, const struct tp_wire_frame *frame)
{
	uint32_t pid;

	/* We were attached before, so it isn't its first. */
	if (frame->type == TP_WIRE_HELLO)
		return misbehaves("it was started anew while the command ran");
	if (frame->stream != run->stream)
		return NULL;
	switch (frame->type) {
	case TP_WIRE_STARTED:
		if (!tp_wire_get_u32(frame, &pid))
			return malformed(run_step, "STARTED");
		if (run->started)
			return misbehaves("it started a command twice");
		run->started = true;
		return NULL;
	case TP_WIRE_STDOUT:
		return take_output(run, frame, STDOUT_FILENO);
	case TP_WIRE_STDERR:
		return take_output(run, frame, STDERR_FILENO);
	case TP_WIRE_CREDIT:
		return take_credit(run, frame);
	case TP_WIRE_EXIT:
		return take_exit(run, frame);
	case TP_WIRE_FAILED:
		return take_failed(run, frame);
	default:
		return NULL;
	}
}

static bool has_stdin(const struct tp_exec *spec)
{
	return spec->source || spec->has_stdin_fd;
}

/* Whether standard input can be sent now: there is room at the other end, and none due here. */
static bool wants_stdin(const struct run *run)
{
	return run->started && !run->in_ended && run->in_room > 0 && !has_output(run->h);
}

static struct torpor_error *read_stdin(struct run *run, void *bytes, size_t room, ssize_t *n_out)
{
	const struct tp_exec *spec = run->spec;
	size_t len = 0;

	if (spec->source) {
		TP_TRY(spec->source(spec->data, bytes, room, &len));
		assert(len <= room);
		*n_out = (ssize_t)len;
		return NULL;
	}
	*n_out = read(spec->stdin_fd, bytes, room);
	if (*n_out < 0 && errno != EAGAIN && errno != EINTR)
		return tp_error_errno(errno, "read", "standard input");
	return NULL;
}

static struct torpor_error *send_stdin(struct run *run)
{
	size_t room = TP_MIN(run->in_room, TP_WIRE_MAX_PAYLOAD);
	struct tp_wire_out out;
	ssize_t n;

	tp_wire_begin(&out, TP_WIRE_STDIN, run->stream);
	TP_TRY(read_stdin(run, tp_wire_payload(&out), room, &n));
	if (n > 0) {
		out.len = (uint32_t)n;
		run->in_room -= out.len;
		queue_frame(run->h, &out);
	} else if (n == 0) {
		run->in_ended = true;
		queue_empty(run->h, TP_WIRE_STDIN_EOF, run->stream);
	}
	return write_some(run->h);
}

/* Until the command has ended. */
static struct torpor_error *follow(struct run *run, const struct tp_call *call)
{
	for (;;) {
		struct tp_wire_frame frame;
		bool stdin_ready = false;

		while (!run->ended && next_frame(run->h, &frame))
			TP_TRY(take_frame(run, &frame));
		if (run->ended)
			return NULL;
		TP_TRY(write_some(run->h));
		while (run->spec->source && wants_stdin(run))
			TP_TRY(send_stdin(run));
		int stdin_fd = wants_stdin(run) ? run->spec->stdin_fd : -1;
		TP_TRY(exchange(run->h, call, run_step, stdin_fd, &stdin_ready));
		if (stdin_ready)
			TP_TRY(send_stdin(run));
	}
}

/* Tells the guest, as far as that goes without waiting, that nobody follows the command. */
static void abandon(struct run *run)
{
	if (run->ended)
		return;
	if (run->spec->kill_on_cancel)
		queue_u32(run->h, TP_WIRE_SIGNAL, run->stream, SIGKILL);
	queue_empty(run->h, TP_WIRE_DETACH, run->stream);
	torpor_error_free(write_some(run->h)); /* the next call meets the same and says so */
}

static size_t count_strings(const char *const *strings)
{
	size_t n = 0;

	while (strings && strings[n])
		n++;
	return n;
}

static struct torpor_error *queue_exec(struct run *run)
{
	const struct tp_exec *spec = run->spec;
	size_t argc = count_strings(spec->argv);
	size_t envc = count_strings(spec->env);
	const char *cwd = spec->cwd ? spec->cwd : "";
	struct tp_wire_out out;

	if (argc == 0)
		return tp_error(TORPOR_E_INVALID, run_step, PEER, "no command was given");
	if (argc + envc > TP_WIRE_MAX_STRINGS || strlen(cwd) > TP_WIRE_MAX_CWD)
		return tp_error(TORPOR_E_LIMIT, run_step, PEER,
			"more than %u arguments and variables, or a working directory of over %u "
			"bytes",
			TP_WIRE_MAX_STRINGS, TP_WIRE_MAX_CWD);
	struct tp_wire_exec exec = {
		.flags = (has_stdin(spec) ? TP_WIRE_EXEC_STDIN : 0) |
			 (spec->merge_stderr ? TP_WIRE_EXEC_MERGE_STDERR : 0),
		.window = run->window,
		.argc = (uint16_t)argc,
		.envc = (uint16_t)envc,
		.cwd = cwd,
	};
	tp_wire_begin(&out, TP_WIRE_EXEC, run->stream);
	tp_wire_put_exec(&out, &exec, spec->argv, spec->env);
	if (out.full)
		return tp_error(TORPOR_E_LIMIT, run_step, PEER,
			"arguments and environment take more than %u bytes", TP_WIRE_MAX_PAYLOAD);
	queue_frame(run->h, &out);
	return write_some(run->h);
}

struct torpor_error *tp_helper_exec(struct tp_helper *h, const struct tp_exec *spec,
	const struct tp_call *call, struct tp_exec_result *result_out)
{
	uint32_t window = spec->window ? spec->window : DEFAULT_WINDOW;
	struct run run = {
		.h = h,
		.spec = spec,
		.stream = h->next_stream++,
		.window = window,
		.granted = window,
		.in_room = has_stdin(spec) ? TP_WIRE_STDIN_WINDOW : 0,
		.in_ended = !has_stdin(spec),
	};
	struct tp_helper_pong pong;

	if (!h->attached)
		TP_TRY(tp_error_in(tp_helper_ping(h, call, &pong), "reach", PEER));
	TP_TRY(begin_call(h, call, run_step));
	TP_TRY(queue_exec(&run));
	struct torpor_error *err = follow(&run, call);
	if (err) {
		abandon(&run);
		return err;
	}
	*result_out = run.result;
	return NULL;
}

bool tp_helper_drained(const struct tp_helper *h)
{
	int unread = 0;

	return !has_output(h) && ioctl(h->fd, SIOCOUTQ, &unread) == 0 && unread == 0;
}
