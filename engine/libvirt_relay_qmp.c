/* SPDX-License-Identifier: Apache-2.0 */
/* QMP's side of a relay: each line is a call of virDomainQemuMonitorCommandWithFiles. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/mem.h"
#include "engine/libvirt_relay_priv.h"

#define END_PATIENCE_NS (2 * TP_NSEC_PER_SEC)

struct qmp {
	struct tp_relay *relay;
	struct tp_relay_lines in;
	struct tp_relay_handle handle;
};

/* Passes on what was heard; before a reply, since QEMU tells of things in that order. */
static bool flush_events(struct qmp *q)
{
	struct tp_relay *relay = q->relay;

	pthread_mutex_lock(&relay->lock);
	TP_BUF struct tp_buf events = relay->events;
	relay->events = (struct tp_buf){0};
	pthread_mutex_unlock(&relay->lock);
	return events.len == 0 || tp_relay_write(q->in.fd, events.data, events.len);
}

/*
 * What QEMU refuses is in its answer; a call fails in such a way when the monitor is gone, a moment
 * before libvirt says that the domain is.
 */
static void await_end(struct qmp *q)
{
	struct tp_call soon = tp_call_within(END_PATIENCE_NS);
	eventfd_t count;

	while (!tp_relay_has_ended(q->relay)) {
		struct torpor_error *err = tp_wait_fd(q->relay->qmp_wake_fd, POLLIN, &soon,
			"wait for the end of", q->relay->name);
		if (err) {
			torpor_error_free(err);
			return;
		}
		(void)!eventfd_read(q->relay->qmp_wake_fd, &count);
	}
}

/* libvirt's answer to COMMAND; NULL with *WHY_OUT (the caller's) if there is none. */
static json_t *call_monitor(struct qmp *q, const char *command, int fd, char **why_out)
{
	char *text = NULL;
	int fds[1] = {fd};

	struct torpor_error *err = tp_relay_domain(q->relay, &q->handle);
	if (err) {
		*why_out = tp_strdup(torpor_error_message(err));
		if (torpor_error_code(err) == TORPOR_E_NOT_FOUND)
			tp_relay_ended(q->relay, "");
		torpor_error_free(err);
		return NULL;
	}
	if (tp_vir.virDomainQemuMonitorCommandWithFiles(
		    q->handle.domain, command, fd >= 0, fds, NULL, NULL, &text, 0) < 0) {
		int code = tp_vir.virGetLastErrorCode();
		*why_out = tp_strdup(tp_vir.virGetLastErrorMessage());
		if (!tp_relay_look_for_end(q->relay, &q->handle, *why_out) &&
			(code == VIR_ERR_INTERNAL_ERROR || code == VIR_ERR_SYSTEM_ERROR ||
				code == VIR_ERR_OPERATION_FAILED))
			await_end(q);
		return NULL;
	}
	json_t *answer = json_loads(text, 0, NULL);
	free(text);
	if (!answer)
		*why_out = tp_strdup("libvirt's answer is no JSON");
	return answer;
}

static json_t *failure(const char *why)
{
	return json_pack("{s:{s:s, s:s}}", "error", "class", "GenericError", "desc", why);
}

/* Says hello as QEMU does on a monitor of its own. */
static bool greet(struct qmp *q)
{
	TP_FREE char *why = NULL;
	json_t *answer = call_monitor(q, "{\"execute\":\"query-version\"}", -1, &why);
	json_t *version = json_object_get(answer, "return");

	if (!version) {
		json_decref(answer);
		tp_relay_ended(q->relay, why ? why : "QEMU doesn't tell its version");
		return false;
	}
	json_t *greeting = json_pack("{s:{s:O, s:[]}}", "QMP", "version", version, "capabilities");
	json_decref(answer);
	return tp_relay_write_json(q->in.fd, greeting);
}

/* The answer to one line. libvirtd numbers commands itself, so the number is kept here. */
static json_t *answer_to(struct qmp *q, const char *line, int fd)
{
	TP_FREE char *why = NULL;
	json_t *request = json_loads(line, 0, NULL);
	json_t *id = json_incref(json_object_get(request, "id"));
	const char *command = json_string_value(json_object_get(request, "execute"));
	json_t *answer;

	if (command && strcmp(command, "qmp_capabilities") == 0) {
		/* libvirtd has left negotiation long ago. */
		answer = json_pack("{s:{}}", "return");
	} else {
		json_object_del(request, "id");
		TP_FREE char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
		answer = text ? call_monitor(q, text, fd, &why) : NULL;
	}
	if (!answer)
		answer = failure(why ? why : "a line that is no command");
	json_object_del(answer, "id");
	if (id)
		json_object_set_new(answer, "id", id);
	json_decref(request);
	return answer;
}

/* All complete lines; false once there is nobody to answer, or nobody who does. */
static bool answer_lines(struct qmp *q)
{
	for (;;) {
		TP_FREE char *line = tp_relay_next_line(&q->in);
		if (!line)
			return true;
		TP_FD int fd = TP_TAKE_FD(q->in.passed_fd);
		json_t *answer = answer_to(q, line, fd);
		/* Of a QEMU that has gone, the end of the connection tells. */
		bool ended = tp_relay_has_ended(q->relay);
		if (!flush_events(q) || ended) {
			json_decref(answer);
			return false;
		}
		if (!tp_relay_write_json(q->in.fd, answer))
			return false;
	}
}

static bool serve(struct qmp *q)
{
	struct pollfd fds[] = {
		{.fd = q->in.fd, .events = POLLIN},
		{.fd = q->relay->qmp_wake_fd, .events = POLLIN},
	};
	eventfd_t count;

	if (poll(fds, TP_ARRAY_LEN(fds), -1) < 0)
		return errno == EINTR;
	if (fds[1].revents) {
		(void)!eventfd_read(q->relay->qmp_wake_fd, &count);
		if (!flush_events(q) || tp_relay_has_ended(q->relay))
			return false;
	}
	if (!fds[0].revents)
		return true;
	return tp_relay_read(&q->in) && answer_lines(q);
}

void tp_relay_serve_qmp(struct tp_relay *relay, int fd)
{
	struct qmp q = {.relay = relay, .in = {.fd = fd, .passed_fd = -1}};

	if (greet(&q)) {
		while (serve(&q))
			;
	}
	tp_relay_handle_deinit(&q.handle);
	tp_relay_lines_deinit(&q.in);
}
