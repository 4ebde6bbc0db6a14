/* SPDX-License-Identifier: Apache-2.0 */
/* The helper's loop: the port, the frames on it, and whom they are for. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "guest/helper.h"

/* Names in epoll_event.data; the commands' pipes have the numbers below (index * 4 + which). */
#define PORT_KEY    UINT32_MAX
#define SIGNALS_KEY (UINT32_MAX - 1)

/*
 * A host that is gone so long leaves its commands' output to nobody. Not at once: a new host's
 * requests can arrive before the news that the old one left.
 */
#define GONE_AFTER_MS 1000

/* --- to the host --- */

size_t tp_guest_tx_room(const struct tp_guest *g)
{
	return sizeof(g->tx) - (g->tx_len - g->tx_at);
}

/* Makes the free room one piece, behind what waits. */
static void compact_tx(struct tp_guest *g)
{
	if (g->tx_at == 0)
		return;
	memmove(g->tx, g->tx + g->tx_at, g->tx_len - g->tx_at);
	g->tx_len -= g->tx_at;
	g->tx_at = 0;
}

void tp_guest_send(struct tp_guest *g)
{
	size_t most = TP_WIRE_ENCODED(TP_WIRE_HEADER + g->out.len + TP_WIRE_CHECK);

	if (most > sizeof(g->tx) - g->tx_len)
		compact_tx(g);
	if (g->out.full || most > sizeof(g->tx) - g->tx_len)
		return; /* callers ask for the room before */
	g->tx_len += (uint32_t)tp_wire_encode(&g->out, g->tx + g->tx_len);
}

/* Forgets what was for another host; its last frame may have gone out in part. */
static void start_tx_anew(struct tp_guest *g)
{
	g->tx[0] = 0;
	g->tx_at = 0;
	g->tx_len = 1;
}

static bool pump_tx(struct tp_guest *g)
{
	if (!g->writable || g->tx_at == g->tx_len)
		return false;

	ssize_t n = write(g->port, g->tx + g->tx_at, g->tx_len - g->tx_at);
	if (n > 0)
		g->tx_at += (uint32_t)n;
	else if (errno != EINTR)
		g->writable = false; /* a port without a host says EAGAIN too */
	if (g->tx_at == g->tx_len)
		g->tx_at = g->tx_len = 0;
	return true;
}

static void send_hello(struct tp_guest *g)
{
	struct tp_wire_hello hello = {.protocol = TP_WIRE_VERSION, .build = "torpor-helper 1"};

	memcpy(hello.boot_id, g->boot_id, sizeof(hello.boot_id));
	tp_wire_begin(&g->out, TP_WIRE_HELLO, 0);
	tp_wire_put_hello(&g->out, &hello);
	tp_guest_send(g);
}

/* --- from the host --- */

/* A host that is new here knows nothing of what its predecessor had started. */
static void attach(struct tp_guest *g)
{
	tp_guest_detach_all(g);
	start_tx_anew(g);
}

static void handle_ping(struct tp_guest *g, const struct tp_wire_frame *frame)
{
	struct tp_wire_ping ping;
	struct tp_wire_pong pong;
	struct timespec now;

	if (!tp_wire_get_ping(frame, &ping))
		return;
	if (ping.flags & TP_WIRE_PING_ATTACH) {
		attach(g);
		send_hello(g);
	}
	clock_gettime(CLOCK_REALTIME, &now);
	pong.nonce = ping.nonce;
	pong.realtime_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	memcpy(pong.boot_id, g->boot_id, sizeof(pong.boot_id));
	tp_wire_begin(&g->out, TP_WIRE_PONG, 0);
	tp_wire_put_pong(&g->out, &pong);
	tp_guest_send(g);
}

static void handle_fresh(struct tp_guest *g, const struct tp_wire_frame *frame)
{
	struct tp_wire_fresh fresh;
	struct tp_wire_fresh_done done;

	if (!tp_wire_get_fresh(frame, &fresh))
		return;
	if (!(fresh.steps & TP_WIRE_STEP_KEEP))
		attach(g);
	tp_guest_fresh(g->world, &fresh, &done);
	done.count = ++g->fresh_count;
	tp_wire_begin(&g->out, TP_WIRE_FRESH_DONE, 0);
	tp_wire_put_fresh_done(&g->out, &done);
	tp_guest_send(g);
}

static void handle_frame(struct tp_guest *g, const struct tp_wire_frame *frame)
{
	uint32_t value;

	switch (frame->type) {
	case TP_WIRE_PING:
		handle_ping(g, frame);
		break;
	case TP_WIRE_FRESH:
		handle_fresh(g, frame);
		break;
	case TP_WIRE_EXEC:
		tp_guest_exec(g, frame);
		break;
	case TP_WIRE_STDIN:
		tp_guest_stdin(g, frame);
		break;
	case TP_WIRE_STDIN_EOF:
		tp_guest_stdin_eof(g, frame->stream);
		break;
	case TP_WIRE_SIGNAL:
		if (tp_wire_get_u32(frame, &value))
			tp_guest_signal(g, frame->stream, value);
		break;
	case TP_WIRE_CREDIT:
		if (tp_wire_get_u32(frame, &value))
			tp_guest_credit(g, frame->stream, value);
		break;
	case TP_WIRE_DETACH:
		tp_guest_detach(g, frame->stream);
		break;
	default:
		break; /* a newer host's */
	}
}

/* Handles what was read, as long as there is room for answers. */
static bool pump_frames(struct tp_guest *g)
{
	bool moved = false;

	while (g->rx_at < g->rx_len && tp_guest_tx_room(g) >= 2 * TP_GUEST_REPLY_ROOM) {
		struct tp_wire_frame frame;
		bool found;
		g->rx_at += (uint32_t)tp_wire_decode(
			&g->dec, g->rx + g->rx_at, g->rx_len - g->rx_at, &frame, &found);
		if (found)
			handle_frame(g, &frame);
		moved = true;
	}
	return moved;
}

/* Reads once. 0 is a port without a host (the edge tells when one comes), EAGAIN one that is quiet.
 */
static bool pump_rx(struct tp_guest *g)
{
	if (!g->readable || g->rx_at < g->rx_len)
		return false;

	ssize_t n = read(g->port, g->rx, sizeof(g->rx));
	if (n <= 0 && !(n < 0 && errno == EINTR))
		g->readable = false;
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		g->error = errno; /* unplugged */
	g->rx_at = 0;
	g->rx_len = n > 0 ? (uint32_t)n : 0;
	return n > 0;
}

/* --- the loop --- */

static void note_event(struct tp_guest *g, const struct epoll_event *ev)
{
	uint32_t key = ev->data.u32;

	if (key == PORT_KEY) {
		g->readable = g->readable || (ev->events & (EPOLLIN | EPOLLHUP));
		g->writable = g->writable || (ev->events & EPOLLOUT);
		g->hung_up = ev->events & EPOLLHUP;
	} else if (key == SIGNALS_KEY) {
		g->child_ended = true;
	} else {
		tp_guest_pipe_ready(g, key / 4, key % 4);
	}
}

static void drain_signals(struct tp_guest *g)
{
	struct signalfd_siginfo info;

	while (read(g->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
		continue;
}

/* Waits for edges; with NOW only looks. */
static void wait_events(struct tp_guest *g, bool now)
{
	struct epoll_event evs[16];
	bool deserted = g->hung_up && tp_guest_any_attached(g);
	int timeout = now ? 0 : deserted ? GONE_AFTER_MS : -1;
	int n = epoll_wait(g->epoll, evs, sizeof(evs) / sizeof(*evs), timeout);

	if (n < 0 && errno != EINTR)
		g->error = errno;
	for (int i = 0; i < n; i++)
		note_event(g, &evs[i]);
	if (n == 0 && deserted && !now)
		tp_guest_detach_all(g);
}

/* One turn for everybody; says whether anything moved, so that nobody's readiness is slept over. */
static bool pump(struct tp_guest *g)
{
	bool moved = false;

	if (g->child_ended) {
		g->child_ended = false;
		drain_signals(g);
		tp_guest_reap(g);
		moved = true;
	}
	moved |= pump_rx(g);
	moved |= pump_frames(g);
	moved |= tp_guest_pump_commands(g);
	moved |= pump_tx(g);
	return moved;
}

static int watch(struct tp_guest *g, int fd, uint32_t key, uint32_t events)
{
	struct epoll_event ev = {.events = events | EPOLLET, .data.u32 = key};

	return epoll_ctl(g->epoll, EPOLL_CTL_ADD, fd, &ev) < 0 ? errno : 0;
}

static void read_boot_id(uint8_t id[TP_WIRE_ID_SIZE])
{
	char text[37] = "";
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	unsigned int digits = 0;

	if (fd < 0)
		return;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	for (const char *c = text; *c && digits < 2 * TP_WIRE_ID_SIZE; c++) {
		const char *hex = strchr("0123456789abcdef", *c);
		if (!hex)
			continue;
		uint8_t nibble = (uint8_t)(hex - "0123456789abcdef");
		id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | nibble);
		digits++;
	}
}

static int start(struct tp_guest *g)
{
	sigset_t signals;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	g->signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (g->signals < 0)
		return errno;
	g->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (g->epoll < 0)
		return errno;
	int error = watch(g, g->signals, SIGNALS_KEY, EPOLLIN);
	return error ? error : watch(g, g->port, PORT_KEY, EPOLLIN | EPOLLOUT);
}

/*
 * Handles a request as if it had come, so that what waking up takes (pages of this program, the
 * buffers) is there in the template and needn't be found by each clone.
 */
static void warm_up(struct tp_guest *g)
{
	struct tp_wire_fresh fresh = {0};

	tp_wire_begin(&g->out, TP_WIRE_FRESH, 0);
	tp_wire_put_fresh(&g->out, &fresh);
	g->rx_len = (uint32_t)tp_wire_encode(&g->out, g->rx);
	while (pump_frames(g))
		continue;
	g->fresh_count = 0;
	start_tx_anew(g);
}

int tp_guest_serve(struct tp_guest *g, int port, const struct tp_guest_world *world)
{
	g->world = world;
	g->port = port;
	g->epoll = g->signals = -1;
	tp_wire_decoder_init(&g->dec);
	tp_guest_commands_init(g);
	read_boot_id(g->boot_id);
	g->error = start(g);
	warm_up(g);
	send_hello(g);
	for (bool moved = true; !g->error;) {
		wait_events(g, moved);
		moved = pump(g);
	}
	close(g->epoll);
	close(g->signals);
	return g->error;
}
