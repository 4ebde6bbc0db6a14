/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Relays. Each has two threads: one for QMP, and one beside it for the agent and for what is
 * written down about the domain, since those may take their time.
 */
#include "engine/libvirt_relay.h"

#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/libvirt_relay_priv.h"

#define CLOSE_PATIENCE_NS   (10 * TP_NSEC_PER_SEC)
#define CONNECT_PATIENCE_NS (10 * TP_NSEC_PER_SEC)

struct tp_relays {
	struct tp_link *link;
	tp_stir_fn *stir; /* or NULL */
	void *stir_data;
	pthread_mutex_t lock;
	pthread_cond_t gone; /* a relay is; on CLOCK_MONOTONIC */
	unsigned int count;
};

/* ---- all of them ---- */

struct torpor_error *tp_relays_open(const char *uri, struct tp_relays **relays_out)
{
	struct tp_relays *relays = tp_calloc(1, sizeof(*relays));
	pthread_condattr_t attr;

	struct torpor_error *err = tp_link_open(uri, &relays->link);
	if (err) {
		free(relays);
		return err;
	}
	pthread_mutex_init(&relays->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&relays->gone, &attr);
	pthread_condattr_destroy(&attr);
	*relays_out = relays;
	return NULL;
}

static bool all_gone(struct tp_relays *relays)
{
	uint64_t until = tp_now_ns() + CLOSE_PATIENCE_NS;
	struct timespec at = {
		.tv_sec = (time_t)(until / TP_NSEC_PER_SEC),
		.tv_nsec = (long)(until % TP_NSEC_PER_SEC),
	};

	pthread_mutex_lock(&relays->lock);
	while (relays->count > 0 && tp_now_ns() < until)
		pthread_cond_timedwait(&relays->gone, &relays->lock, &at);
	bool gone = relays->count == 0;
	pthread_mutex_unlock(&relays->lock);
	return gone;
}

struct tp_relays *tp_relays_close(struct tp_relays *relays)
{
	if (!relays)
		return NULL;
	if (!all_gone(relays)) {
		/* A call to libvirt that doesn't come back uses them. */
		tp_log(TP_LOG_WARNING, "libvirt still owes an answer; its connection stays open");
		return NULL;
	}
	tp_link_close(relays->link);
	pthread_cond_destroy(&relays->gone);
	pthread_mutex_destroy(&relays->lock);
	free(relays);
	return NULL;
}

struct tp_link *tp_relays_link(struct tp_relays *relays)
{
	return relays->link;
}

void tp_relays_on_stir(struct tp_relays *relays, tp_stir_fn *stir, void *data)
{
	relays->stir = stir;
	relays->stir_data = data;
}

/* ---- references ---- */

void tp_relay_unref(struct tp_relay *relay)
{
	struct tp_relays *relays = relay->relays;

	pthread_mutex_lock(&relay->lock);
	bool last = --relay->refs == 0;
	pthread_mutex_unlock(&relay->lock);
	if (!last)
		return;
	pthread_mutex_destroy(&relay->lock);
	tp_close(relay->qmp_wake_fd);
	tp_close(relay->side_wake_fd);
	tp_buf_deinit(&relay->events);
	free(relay->why);
	free(relay->title);
	free(relay->metadata);
	free(relay->name);
	free(relay);
	pthread_mutex_lock(&relays->lock);
	relays->count--;
	pthread_cond_broadcast(&relays->gone);
	pthread_mutex_unlock(&relays->lock);
}

/* ---- what is heard ---- */

static void wake(int fd)
{
	/* EAGAIN: it is awake anyway. */
	(void)!eventfd_write(fd, 1);
}

static struct tp_relay *relay_of(struct tp_link_client *client)
{
	return (struct tp_relay *)client; /* its first member */
}

static void on_monitor_event(struct tp_link_client *client, const char *event, long long seconds,
	unsigned int micros, const char *details)
{
	struct tp_relay *relay = relay_of(client);
	json_t *data = details ? json_loads(details, JSON_DECODE_ANY, NULL) : NULL;
	json_t *message = json_pack("{s:s, s:{s:I, s:I}, s:o*}", "event", event, "timestamp",
		"seconds", (json_int_t)seconds, "microseconds",
		seconds < 0 ? (json_int_t)-1 : (json_int_t)micros, "data", data);
	TP_FREE char *line = message ? json_dumps(message, JSON_COMPACT) : NULL;

	json_decref(message);
	if (!line)
		return;
	pthread_mutex_lock(&relay->lock);
	if (relay->events.len < TP_RELAY_EVENTS_MAX) {
		tp_buf_put(&relay->events, line, strlen(line));
		tp_buf_put_u8(&relay->events, '\n');
	}
	pthread_mutex_unlock(&relay->lock);
	wake(relay->qmp_wake_fd);
}

static void tell_stir(struct tp_relay *relay, enum tp_stir how)
{
	if (relay->relays->stir)
		relay->relays->stir(relay->relays->stir_data, relay->name, how);
}

static void on_stirred(struct tp_link_client *client, bool continued)
{
	tell_stir(relay_of(client), continued ? TP_STIR_CONTINUED : TP_STIR_STOPPED);
}

void tp_relay_ended(struct tp_relay *relay, const char *why)
{
	pthread_mutex_lock(&relay->lock);
	relay->ended = true;
	if (!relay->why)
		relay->why = tp_strdup(why);
	pthread_mutex_unlock(&relay->lock);
	wake(relay->qmp_wake_fd);
	wake(relay->side_wake_fd);
}

static void on_stopped(struct tp_link_client *client, const char *why)
{
	tp_relay_ended(relay_of(client), why);
}

static void on_agent(struct tp_link_client *client, bool connected)
{
	if (connected)
		wake(relay_of(client)->side_wake_fd);
}

static void on_reconnected(struct tp_link_client *client)
{
	wake(relay_of(client)->side_wake_fd);
	tell_stir(relay_of(client), TP_STIR_UNKNOWN);
}

static const struct tp_link_client_ops client_ops = {
	.monitor_event = on_monitor_event,
	.stirred = on_stirred,
	.stopped = on_stopped,
	.agent = on_agent,
	.reconnected = on_reconnected,
};

bool tp_relay_has_ended(struct tp_relay *relay)
{
	pthread_mutex_lock(&relay->lock);
	bool ended = relay->ended;
	pthread_mutex_unlock(&relay->lock);
	return ended;
}

char *tp_relay_last_words(struct tp_relay *relay)
{
	pthread_mutex_lock(&relay->lock);
	char *words = tp_strdup(relay->why ? relay->why : "");
	pthread_mutex_unlock(&relay->lock);
	for (char *at = words; *at; at++) {
		if ((unsigned char)*at < ' ')
			*at = ' ';
	}
	return words;
}

/* ---- its domain ---- */

struct torpor_error *tp_relay_domain(struct tp_relay *relay, struct tp_relay_handle *handle)
{
	struct tp_call call = tp_call_within(CONNECT_PATIENCE_NS);
	TP_VIR_CONN virConnectPtr conn = NULL;
	uint64_t generation;

	TP_TRY(tp_link_get(relay->relays->link, &call, &conn, &generation));
	if (handle->domain && handle->generation == generation)
		return NULL;
	tp_relay_handle_deinit(handle);
	handle->domain = tp_vir.virDomainLookupByUUIDString(conn, relay->client.uuid);
	if (!handle->domain)
		return tp_vir_error("look up domain", relay->name);
	handle->generation = generation;
	return NULL;
}

void tp_relay_handle_deinit(struct tp_relay_handle *handle)
{
	if (handle->domain)
		tp_vir.virDomainFree(handle->domain);
	handle->domain = NULL;
}

bool tp_relay_look_for_end(struct tp_relay *relay, struct tp_relay_handle *handle, const char *why)
{
	/* Looked up anew: the handle would serve a domain that is gone. */
	tp_relay_handle_deinit(handle);
	struct torpor_error *err = tp_relay_domain(relay, handle);
	bool gone = err && torpor_error_code(err) == TORPOR_E_NOT_FOUND;
	torpor_error_free(err);
	if (gone)
		tp_relay_ended(relay, why);
	return gone;
}

/* ---- lines ---- */

/* A descriptor that came along, if any; more than one never does. */
static int take_fd(struct msghdr *msg)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
	int fd;

	if (!cmsg || cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
		return -1;
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

bool tp_relay_read(struct tp_relay_lines *in)
{
	char bytes[4096];
	struct iovec iov = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	ssize_t n = recvmsg(in->fd, &msg, MSG_CMSG_CLOEXEC);
	if (n <= 0)
		return false;
	int fd = take_fd(&msg);
	if (fd >= 0) {
		tp_close(in->passed_fd);
		in->passed_fd = fd;
	}
	tp_buf_put(&in->buf, bytes, (size_t)n);
	return true;
}

char *tp_relay_next_line(struct tp_relay_lines *in)
{
	const char *end = in->buf.len ? memchr(in->buf.data, '\n', in->buf.len) : NULL;

	if (!end)
		return NULL;
	size_t len = (size_t)(end - (const char *)in->buf.data);
	char *line = tp_strndup((const char *)in->buf.data, len);
	memmove(in->buf.data, end + 1, in->buf.len - len - 1);
	in->buf.len -= len + 1;
	return line;
}

void tp_relay_lines_deinit(struct tp_relay_lines *in)
{
	in->passed_fd = tp_close(in->passed_fd);
	in->fd = tp_close(in->fd);
	tp_buf_deinit(&in->buf);
}

bool tp_relay_write(int fd, const void *data, size_t len)
{
	struct tp_call call = {.deadline_ns = TP_NO_DEADLINE, .cancel_fd = -1};
	struct torpor_error *err = tp_write_stream(fd, data, len, &call, "relay");
	bool ok = !err;

	/* The other end has closed: that is how it says that it has no more use for this. */
	torpor_error_free(err);
	return ok;
}

bool tp_relay_write_json(int fd, json_t *message)
{
	char *text = json_dumps(message, JSON_COMPACT);

	json_decref(message);
	assert(text);
	size_t len = strlen(text);
	text[len] = '\n'; /* in the NUL's place: the length is passed along */
	bool ok = tp_relay_write(fd, text, len + 1);
	free(text);
	return ok;
}

/* ---- making and ending ---- */

struct tp_relay *tp_relay_new(struct tp_relays *relays, const char *name, const char *uuid)
{
	struct tp_relay *relay = tp_calloc(1, sizeof(*relay));

	relay->client.ops = &client_ops;
	strncpy(relay->client.uuid, uuid, sizeof(relay->client.uuid) - 1);
	relay->relays = relays;
	relay->name = tp_strdup(name);
	relay->refs = 1;
	relay->qmp_wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	relay->side_wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&relay->lock, NULL);
	pthread_mutex_lock(&relays->lock);
	relays->count++;
	pthread_mutex_unlock(&relays->lock);
	tp_link_add(relays->link, &relay->client);
	return relay;
}

struct start {
	struct tp_relay *relay;
	int fd; /* the thread's, or -1 */
};

static void *run_qmp(void *data)
{
	struct start *start = data;
	struct tp_relay *relay = start->relay;

	tp_relay_serve_qmp(relay, start->fd);
	free(start);
	tp_relay_unref(relay);
	return NULL;
}

static void *run_side(void *data)
{
	struct start *start = data;
	struct tp_relay *relay = start->relay;

	tp_relay_serve_side(relay, start->fd);
	free(start);
	tp_relay_unref(relay);
	return NULL;
}

/* A thread that has FD (taken) and a reference. */
static struct torpor_error *start_thread(struct tp_relay *relay, void *(*fn)(void *), int fd)
{
	struct start *start = tp_calloc(1, sizeof(*start));
	pthread_t thread;

	*start = (struct start){.relay = relay, .fd = fd};
	pthread_mutex_lock(&relay->lock);
	relay->refs++;
	pthread_mutex_unlock(&relay->lock);
	int errnum = pthread_create(&thread, NULL, fn, start);
	if (errnum) {
		free(start);
		tp_close(fd);
		tp_relay_unref(relay);
		return tp_error_errno(errnum, "start thread for", relay->name);
	}
	pthread_detach(thread);
	return NULL;
}

struct torpor_error *tp_relay_start(struct tp_relay *relay, int *qmp_fd_out, int *agent_fd_out)
{
	int qmp[2] = {-1, -1};
	int agent[2] = {-1, -1};

	if (relay->qmp_wake_fd < 0 || relay->side_wake_fd < 0 ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, qmp) < 0 ||
		(agent_fd_out && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, agent) < 0)) {
		struct torpor_error *err = tp_error_errno(errno, "make sockets of", relay->name);
		tp_close(qmp[0]);
		tp_close(qmp[1]);
		return err;
	}
	struct torpor_error *err = start_thread(relay, run_qmp, qmp[1]);
	if (!err)
		err = start_thread(relay, run_side, agent[1]);
	else
		tp_close(agent[1]);
	if (err) {
		tp_close(qmp[0]); /* which ends the thread that was started */
		tp_close(agent[0]);
		return err;
	}
	*qmp_fd_out = qmp[0];
	if (agent_fd_out)
		*agent_fd_out = agent[0];
	return NULL;
}

void tp_relay_label(struct tp_relay *relay, char *title, char *metadata)
{
	pthread_mutex_lock(&relay->lock);
	free(relay->title);
	free(relay->metadata);
	relay->title = title;
	relay->metadata = metadata;
	pthread_mutex_unlock(&relay->lock);
	wake(relay->side_wake_fd);
}

struct tp_relay *tp_relay_close(struct tp_relay *relay)
{
	if (!relay)
		return NULL;
	tp_link_remove(relay->relays->link, &relay->client);
	pthread_mutex_lock(&relay->lock);
	relay->closed = true;
	pthread_mutex_unlock(&relay->lock);
	wake(relay->side_wake_fd);
	wake(relay->qmp_wake_fd);
	tp_relay_unref(relay);
	return NULL;
}
