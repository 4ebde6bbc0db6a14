/* SPDX-License-Identifier: Apache-2.0 */
/* QMP, the client's side. */
#include "engine/qmp.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/lines.h"

struct tp_qmp {
	int fd;
	char *name;
	char *version;
	struct tp_lines in;
	bool closed; /* by QEMU, or because the stream is no longer in step */
	json_int_t last_id;
	json_int_t answered_id; /* the highest that a reply was read to */
	bool greeted_again;	/* see execute_again */
	char *shutdown_reason;
	/* A ring: the oldest at [first], all indices modulo TP_QMP_EVENTS_MAX. */
	struct tp_qmp_event events[TP_QMP_EVENTS_MAX];
	size_t first;
	size_t n_events;
};

void tp_qmp_event_deinit(struct tp_qmp_event *event)
{
	free(event->name);
	json_decref(event->data);
	*event = (struct tp_qmp_event){0};
}

uint64_t tp_qmp_event_time(const struct tp_qmp_event *event)
{
	uint64_t age = tp_realtime_ns() - event->realtime_ns;
	uint64_t now = tp_now_ns();

	if (event->realtime_ns == 0 || age > now)
		return event->received_ns;
	return TP_MIN(now - age, event->received_ns);
}

bool tp_qmp_closed(const struct tp_qmp *qmp)
{
	return qmp->closed;
}

const char *tp_qmp_shutdown_reason(const struct tp_qmp *qmp)
{
	return qmp->shutdown_reason;
}

const char *tp_qmp_version(const struct tp_qmp *qmp)
{
	return qmp->version;
}

/* ---- events ---- */

static struct tp_qmp_event *event_at(struct tp_qmp *qmp, size_t i)
{
	return &qmp->events[(qmp->first + i) % TP_QMP_EVENTS_MAX];
}

/* Takes the event at I out of the ring, closing the gap. */
static struct tp_qmp_event take_event(struct tp_qmp *qmp, size_t i)
{
	struct tp_qmp_event event = *event_at(qmp, i);

	for (; i > 0; i--)
		*event_at(qmp, i) = *event_at(qmp, i - 1);
	qmp->first = (qmp->first + 1) % TP_QMP_EVENTS_MAX;
	qmp->n_events--;
	return event;
}

static void drop_oldest_event(struct tp_qmp *qmp)
{
	struct tp_qmp_event oldest = take_event(qmp, 0);

	tp_log(TP_LOG_DEBUG, "qmp %s: dropped event %s", qmp->name, oldest.name);
	tp_qmp_event_deinit(&oldest);
}

static void remember_shutdown(struct tp_qmp *qmp, json_t *data)
{
	const char *reason = json_string_value(json_object_get(data, "reason"));

	/* Who ends QEMU because the guest has shut down, as libvirt does, isn't the reason. */
	if (qmp->shutdown_reason && strncmp(qmp->shutdown_reason, "guest-", 6) == 0)
		return;
	free(qmp->shutdown_reason);
	qmp->shutdown_reason = tp_strdup(reason ? reason : "unknown");
}

static uint64_t event_time(json_t *message)
{
	json_t *stamp = json_object_get(message, "timestamp");
	json_int_t seconds = json_integer_value(json_object_get(stamp, "seconds"));
	json_int_t micros = json_integer_value(json_object_get(stamp, "microseconds"));

	/* QEMU gives -1 where its own clock failed. */
	if (seconds < 0 || micros < 0)
		return 0;
	return (uint64_t)seconds * TP_NSEC_PER_SEC + (uint64_t)micros * TP_NSEC_PER_USEC;
}

static void queue_event(struct tp_qmp *qmp, const char *name, json_t *message)
{
	json_t *data = json_object_get(message, "data");

	if (strcmp(name, "SHUTDOWN") == 0)
		remember_shutdown(qmp, data);
	if (qmp->n_events == TP_QMP_EVENTS_MAX)
		drop_oldest_event(qmp);
	*event_at(qmp, qmp->n_events++) = (struct tp_qmp_event){
		.name = tp_strdup(name),
		.data = json_incref(data),
		.realtime_ns = event_time(message),
		.received_ns = tp_now_ns(),
	};
}

/* ---- messages ---- */

static struct torpor_error *out_of_step(struct tp_qmp *qmp, const char *step, const char *why)
{
	qmp->closed = true;
	return tp_error(TORPOR_E_QEMU, step, qmp->name, "QEMU broke its control protocol: %s", why);
}

static struct torpor_error *socket_closed(struct tp_qmp *qmp, const char *step)
{
	qmp->closed = true;
	if (qmp->shutdown_reason)
		return tp_error(TORPOR_E_QEMU, step, qmp->name,
			"QEMU closed its control socket (shutdown by %s)", qmp->shutdown_reason);
	return tp_error(TORPOR_E_QEMU, step, qmp->name, "QEMU closed its control socket");
}

/* The next message of any kind; a new reference. */
static struct torpor_error *read_any(
	struct tp_qmp *qmp, const struct tp_call *call, const char *step, json_t **message_out)
{
	char *line;
	size_t len;
	json_error_t why;

	if (qmp->closed)
		return socket_closed(qmp, step);
	struct torpor_error *err = tp_lines_next(&qmp->in, call, step, qmp->name, &line, &len);
	if (err && torpor_error_code(err) == TORPOR_E_LIMIT) {
		torpor_error_free(err);
		return out_of_step(qmp, step, "a line is too long");
	}
	if (err)
		return err;
	if (!line)
		return socket_closed(qmp, step);
	json_t *message = json_loadb(line, len, 0, &why);
	tp_lines_give_back(&qmp->in);
	if (!message)
		return out_of_step(qmp, step, why.text);
	if (!json_is_object(message)) {
		json_decref(message);
		return out_of_step(qmp, step, "no JSON object");
	}
	*message_out = message;
	return NULL;
}

static void note_reply(struct tp_qmp *qmp, json_t *message)
{
	json_int_t id = json_integer_value(json_object_get(message, "id"));

	if (id > qmp->answered_id && id <= qmp->last_id)
		qmp->answered_id = id;
}

/* The next message; a second greeting is only noted. */
static struct torpor_error *read_message(
	struct tp_qmp *qmp, const struct tp_call *call, const char *step, json_t **message_out)
{
	for (;;) {
		json_t *message;
		TP_TRY(read_any(qmp, call, step, &message));
		if (!qmp->version || !json_object_get(message, "QMP")) {
			note_reply(qmp, message);
			*message_out = message;
			return NULL;
		}
		qmp->greeted_again = true;
		json_decref(message);
	}
}

/* The next message that is no event; events are queued. */
static struct torpor_error *read_reply(
	struct tp_qmp *qmp, const struct tp_call *call, const char *step, json_t **reply_out)
{
	for (;;) {
		json_t *message;
		TP_TRY(read_message(qmp, call, step, &message));
		const char *event = json_string_value(json_object_get(message, "event"));
		if (!event) {
			*reply_out = message;
			return NULL;
		}
		queue_event(qmp, event, message);
		json_decref(message);
	}
}

/* ---- commands ---- */

#define SEND_PATIENCE (5 * TP_NSEC_PER_SEC)

/* The first bytes of a line, with a descriptor; how many were sent, or -1. */
static ssize_t send_with_fd(int fd, const char *text, size_t len, int pass_fd)
{
	struct iovec iov = {.iov_base = (char *)text, .iov_len = len};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control.room),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &pass_fd, sizeof(int));
	return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static struct torpor_error *write_line(
	struct tp_qmp *qmp, const char *text, size_t len, int pass_fd, const struct tp_call *call)
{
	size_t sent = 0;

	while (pass_fd >= 0 && sent == 0) {
		TP_TRY(tp_wait_fd(qmp->fd, POLLOUT, call, "write", qmp->name));
		ssize_t n = send_with_fd(qmp->fd, text, len, pass_fd);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return tp_error_errno(errno, "write", qmp->name);
		sent = n > 0 ? (size_t)n : 0;
	}
	return tp_write_stream(qmp->fd, text + sent, len - sent, call, qmp->name);
}

/*
 * Sends one command: whole, whatever becomes of the call meanwhile, since half of one would cost
 * the connection, and with it all control of the guest. There is always room for one, so that this
 * doesn't block with a QEMU that is well. A peer that has closed is not reported here: what it said
 * before is still to be read, and its end is found there.
 */
static struct torpor_error *send_command(
	struct tp_qmp *qmp, const char *command, json_t *args, int pass_fd)
{
	struct tp_call whole = tp_call_within(SEND_PATIENCE);
	json_t *request = json_pack(
		"{s:s, s:I, s:o*}", "execute", command, "id", ++qmp->last_id, "arguments", args);
	assert(request);
	TP_FREE char *text = json_dumps(request, JSON_COMPACT);
	json_decref(request);
	assert(text);
	size_t len = strlen(text);
	text[len] = '\n'; /* in the NUL's place: the length is passed along */

	struct torpor_error *err = write_line(qmp, text, len + 1, pass_fd, &whole);
	if (!err)
		return NULL;
	if (torpor_error_errno(err) == EPIPE || torpor_error_errno(err) == ECONNRESET) {
		torpor_error_free(err);
		return NULL;
	}
	qmp->closed = true;
	return tp_error_in(err, command, qmp->name);
}

/* What QEMU's refusal says. */
static struct torpor_error *refusal(struct tp_qmp *qmp, const char *command, json_t *error)
{
	const char *class = json_string_value(json_object_get(error, "class"));
	const char *desc = json_string_value(json_object_get(error, "desc"));

	if (!class || !desc)
		return out_of_step(qmp, command, "an error without class or words");
	bool unknown = strcmp(class, "CommandNotFound") == 0;
	return tp_error(unknown ? TORPOR_E_UNSUPPORTED : TORPOR_E_QEMU, command, qmp->name,
		"%s (%s)", desc, class);
}

/* Takes the reply with the last id; earlier ones belong to commands that were given up. */
static struct torpor_error *await_reply(
	struct tp_qmp *qmp, const char *command, const struct tp_call *call, json_t **reply_out)
{
	for (;;) {
		json_t *reply;
		TP_TRY(read_reply(qmp, call, command, &reply));
		json_t *id = json_object_get(reply, "id");
		json_int_t number = json_integer_value(id);
		if (json_is_integer(id) && number == qmp->last_id) {
			*reply_out = reply;
			return NULL;
		}
		bool given_up = json_is_integer(id) && number > 0 && number < qmp->last_id;
		json_t *error = json_object_get(reply, "error");
		if (!id && error) {
			/* QEMU couldn't read what it was sent. */
			struct torpor_error *err = refusal(qmp, command, error);
			json_decref(reply);
			return err;
		}
		json_decref(reply);
		if (!given_up)
			return out_of_step(qmp, command, "a reply to no command");
	}
}

static struct torpor_error *execute(struct tp_qmp *qmp, const char *command, json_t *args,
	int pass_fd, const struct tp_call *call, json_t **return_out)
{
	json_t *reply = NULL;
	struct torpor_error *err = NULL;

	/* Before anything is sent, so that a call that is over already costs no connection. */
	err = qmp->closed ? socket_closed(qmp, command) : tp_call_check(call, command, qmp->name);
	if (err) {
		json_decref(args);
		return err;
	}
	TP_TRY(send_command(qmp, command, args, pass_fd));
	TP_TRY(await_reply(qmp, command, call, &reply));
	json_t *error = json_object_get(reply, "error");
	json_t *result = json_object_get(reply, "return");
	if (error)
		err = refusal(qmp, command, error);
	else if (!result)
		err = out_of_step(qmp, command, "a reply without a result");
	else if (return_out)
		*return_out = json_incref(result);
	json_decref(reply);
	return err;
}

/*
 * A QEMU that finds our connection waiting as it starts can greet twice: one thread accepts it
 * while another one sets the monitor up, and each takes the connection for new (chardev/char-fe.c,
 * qemu_chr_fe_set_handlers_full). The second greeting puts the monitor back into negotiation, where
 * it knows no commands. ERR is that of such a command; ARGS is taken.
 */
static struct torpor_error *execute_again(struct tp_qmp *qmp, struct torpor_error *err,
	const char *command, json_t *args, int pass_fd, const struct tp_call *call,
	json_t **return_out)
{
	qmp->greeted_again = false;
	struct torpor_error *refused = execute(qmp, "qmp_capabilities", NULL, -1, call, NULL);
	if (refused) {
		/* It wasn't in negotiation: the command was refused for itself. */
		torpor_error_free(refused);
		json_decref(args);
		return err;
	}
	torpor_error_free(err);
	return execute(qmp, command, args, pass_fd, call, return_out);
}

struct torpor_error *tp_qmp_execute(struct tp_qmp *qmp, const char *command, json_t *args,
	int pass_fd, const struct tp_call *call, json_t **return_out)
{
	json_t *kept = json_incref(args);
	struct torpor_error *err = execute(qmp, command, args, pass_fd, call, return_out);

	if (err && qmp->greeted_again && torpor_error_code(err) == TORPOR_E_UNSUPPORTED)
		return execute_again(qmp, err, command, kept, pass_fd, call, return_out);
	json_decref(kept);
	return err;
}

struct torpor_error *tp_qmp_hmp(
	struct tp_qmp *qmp, const char *command_line, const struct tp_call *call, char **text_out)
{
	json_t *result;
	json_t *args = json_pack("{s:s}", "command-line", command_line);

	TP_TRY(tp_qmp_execute(qmp, "human-monitor-command", args, -1, call, &result));
	const char *text = json_string_value(result);
	struct torpor_error *err =
		text ? NULL : out_of_step(qmp, "human-monitor-command", "no text came back");
	if (!err && text_out)
		*text_out = tp_strdup(text);
	json_decref(result);
	return err;
}

/* ---- waiting for events ---- */

static bool is_one_of(const char *name, const char *const *names)
{
	for (; *names; names++) {
		if (strcmp(name, *names) == 0)
			return true;
	}
	return false;
}

/* Queues one message, which must be an event or a reply to a command that was given up. */
static struct torpor_error *pump(struct tp_qmp *qmp, const char *step, const struct tp_call *call)
{
	json_t *message;

	TP_TRY(read_message(qmp, call, step, &message));
	const char *event = json_string_value(json_object_get(message, "event"));
	bool late_reply = !event && json_object_get(message, "id");
	if (event)
		queue_event(qmp, event, message);
	json_decref(message);
	if (!event && !late_reply)
		return out_of_step(qmp, step, "neither event nor reply");
	return NULL;
}

bool tp_qmp_take_event(struct tp_qmp *qmp, const char *const *names, struct tp_qmp_event *event_out)
{
	for (size_t i = 0; i < qmp->n_events; i++) {
		if (is_one_of(event_at(qmp, i)->name, names)) {
			*event_out = take_event(qmp, i);
			return true;
		}
	}
	return false;
}

struct torpor_error *tp_qmp_wait_event(struct tp_qmp *qmp, const char *const *names,
	const struct tp_call *call, struct tp_qmp_event *event_out)
{
	TP_FREE char *step = tp_asprintf("wait for %s of", names[0]);

	while (!tp_qmp_take_event(qmp, names, event_out))
		TP_TRY(pump(qmp, step, call));
	return NULL;
}

void tp_qmp_drain(struct tp_qmp *qmp)
{
	/* Nothing is waited for; the deadline is for a QEMU that never stops talking. */
	struct tp_call soon = tp_call_within(TP_NSEC_PER_SEC);
	struct torpor_error *err = NULL;

	while (!err && !qmp->closed && tp_lines_ready(&qmp->in)) {
		err = pump(qmp, "drain", &soon);
		if (!err)
			err = tp_call_check(&soon, "drain", qmp->name);
	}
	torpor_error_free(err);
}

struct torpor_error *tp_qmp_drain_to_end(struct tp_qmp *qmp, const struct tp_call *call)
{
	while (!qmp->closed) {
		struct torpor_error *err = pump(qmp, "drain", call);
		/* The end is an error of QEMU's to whoever waits for something else. */
		if (err && !qmp->closed)
			return err;
		torpor_error_free(err);
	}
	return NULL;
}

struct torpor_error *tp_qmp_ask(struct tp_qmp *qmp)
{
	if (qmp->closed)
		return socket_closed(qmp, "ask");
	return send_command(qmp, "query-status", NULL, -1);
}

bool tp_qmp_answered(struct tp_qmp *qmp)
{
	/* What has come is there already; the deadline is for nothing. */
	struct tp_call soon = tp_call_within(TP_NSEC_PER_SEC);
	struct torpor_error *err = NULL;

	/* Bounded, for a QEMU that never stops talking. */
	for (unsigned int i = 0; i < TP_QMP_EVENTS_MAX && !err && !qmp->closed &&
				 qmp->answered_id < qmp->last_id && tp_lines_ready(&qmp->in);
		i++)
		err = pump(qmp, "ask", &soon);
	torpor_error_free(err);
	return !qmp->closed && qmp->answered_id == qmp->last_id;
}

static void forget_queued(struct tp_qmp *qmp, const char *const *names)
{
	for (size_t i = qmp->n_events; i-- > 0;) {
		if (!names || is_one_of(event_at(qmp, i)->name, names)) {
			struct tp_qmp_event event = take_event(qmp, i);
			tp_qmp_event_deinit(&event);
		}
	}
}

void tp_qmp_forget_events(struct tp_qmp *qmp, const char *const *names)
{
	tp_qmp_drain(qmp);
	forget_queued(qmp, names);
}

/* ---- opening ---- */

static struct torpor_error *take_greeting(struct tp_qmp *qmp, const struct tp_call *call)
{
	json_t *greeting;
	int major;
	int minor;
	int micro;

	TP_TRY(read_reply(qmp, call, "greet", &greeting));
	int rc = json_unpack(greeting, "{s:{s:{s:{s:i, s:i, s:i}}}}", "QMP", "version", "qemu",
		"major", &major, "minor", &minor, "micro", &micro);
	json_decref(greeting);
	if (rc < 0)
		return out_of_step(qmp, "greet", "its greeting has no version");
	qmp->version = tp_asprintf("%d.%d.%d", major, minor, micro);
	return NULL;
}

struct torpor_error *tp_qmp_open(
	int fd, const char *name, const struct tp_call *call, struct tp_qmp **qmp_out)
{
	TP_CLEANUP(tp_qmp_close) struct tp_qmp *qmp = tp_calloc(1, sizeof(*qmp));

	qmp->fd = fd;
	qmp->name = tp_strdup(name);
	qmp->in = tp_lines_over(fd, TP_QMP_LINE_MAX);
	TP_TRY(take_greeting(qmp, call));
	TP_TRY(tp_qmp_execute(qmp, "qmp_capabilities", NULL, -1, call, NULL));
	*qmp_out = TP_TAKE(qmp);
	return NULL;
}

struct tp_qmp *tp_qmp_close(struct tp_qmp *qmp)
{
	if (!qmp)
		return NULL;
	forget_queued(qmp, NULL);
	tp_lines_deinit(&qmp->in);
	tp_close(qmp->fd);
	free(qmp->name);
	free(qmp->version);
	free(qmp->shutdown_reason);
	free(qmp);
	return NULL;
}
