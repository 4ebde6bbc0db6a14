/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A relay's other side: the guest agent, each line a call of virDomainQemuAgentCommand, and what is
 * written down about the domain.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/libvirt_relay_priv.h"

#define DELIMITER 0xff

/* Seconds that libvirt waits for the agent: for a sign of life, and for an answer. */
#define PING_S	  5
#define COMMAND_S 60

/* An agent that isn't there yet is asked again when libvirt says that it has come, and now and then
 * all the same: one that was there before is not announced. */
#define ASK_AGAIN_MS 500

struct side {
	struct tp_relay *relay;
	struct tp_relay_lines in;
	struct tp_relay_handle handle;
};

/* ---- writing down ---- */

static void label(struct side *s)
{
	struct tp_relay *relay = s->relay;

	pthread_mutex_lock(&relay->lock);
	TP_FREE char *title = TP_TAKE(relay->title);
	TP_FREE char *metadata = TP_TAKE(relay->metadata);
	pthread_mutex_unlock(&relay->lock);
	if (!metadata)
		return;
	struct torpor_error *err = tp_relay_domain(relay, &s->handle);
	if (!err &&
		tp_vir.virDomainSetMetadata(s->handle.domain, VIR_DOMAIN_METADATA_ELEMENT, metadata,
			TP_RELAY_METADATA_KEY, TP_RELAY_METADATA_URI, VIR_DOMAIN_AFFECT_LIVE) < 0)
		err = tp_vir_error("label", relay->name);
	if (!err && tp_vir.virDomainSetMetadata(s->handle.domain, VIR_DOMAIN_METADATA_TITLE, title,
			    NULL, NULL, VIR_DOMAIN_AFFECT_LIVE) < 0)
		err = tp_vir_error("label", relay->name);
	/* One that is gone needs none. */
	if (err && torpor_error_code(err) == TORPOR_E_NOT_FOUND)
		torpor_error_free(err);
	else
		tp_error_log(err);
}

/* ---- the agent ---- */

/* The agent's answer, or NULL with *WHY_OUT, the caller's. */
static char *call_agent(struct side *s, const char *command, int timeout_s, char **why_out)
{
	struct torpor_error *err = tp_relay_domain(s->relay, &s->handle);

	if (err) {
		*why_out = tp_strdup(torpor_error_message(err));
		if (torpor_error_code(err) == TORPOR_E_NOT_FOUND)
			tp_relay_ended(s->relay, "");
		torpor_error_free(err);
		return NULL;
	}
	char *answer = tp_vir.virDomainQemuAgentCommand(s->handle.domain, command, timeout_s, 0);
	if (!answer) {
		*why_out = tp_strdup(tp_vir.virGetLastErrorMessage());
		tp_relay_look_for_end(s->relay, &s->handle, *why_out);
	}
	return answer;
}

static bool is_over(struct side *s)
{
	pthread_mutex_lock(&s->relay->lock);
	bool over = s->relay->ended || s->relay->closed;
	pthread_mutex_unlock(&s->relay->lock);
	return over;
}

/* Until something is there to be read (true), or to be done (false); or a while has passed. */
static bool wait_a_while(struct side *s)
{
	struct pollfd fds[] = {
		{.fd = s->in.fd, .events = POLLIN},
		{.fd = s->relay->side_wake_fd, .events = POLLIN},
	};
	eventfd_t count;

	if (poll(fds, TP_ARRAY_LEN(fds), ASK_AGAIN_MS) <= 0)
		return false;
	if (fds[1].revents) {
		(void)!eventfd_read(s->relay->side_wake_fd, &count);
		label(s);
	}
	return fds[0].revents;
}

/*
 * The caller wants to know that the agent listens, and is in step: libvirt sees to the latter by
 * itself. False once there is nobody who asks. Whoever asks anew has given this up.
 */
static bool answer_sync(struct side *s, json_int_t id)
{
	while (!is_over(s)) {
		TP_FREE char *why = NULL;
		TP_FREE char *answer = call_agent(s, "{\"execute\":\"guest-ping\"}", PING_S, &why);
		if (answer) {
			TP_FREE char *text =
				tp_asprintf("%c{\"return\": %lld}\n", DELIMITER, (long long)id);
			return tp_relay_write(s->in.fd, text, strlen(text));
		}
		if (wait_a_while(s))
			return true;
	}
	return false;
}

/* libvirt has an error's words, and not its class. */
static json_t *failure(const char *why)
{
	bool unknown = strstr(why, "has not been found") || strstr(why, "has been disabled") ||
		       strstr(why, "not been allowed");

	return json_pack("{s:{s:s, s:s}}", "error", "class",
		unknown ? "CommandNotFound" : "GenericError", "desc", why);
}

static bool answer_command(struct side *s, const char *line)
{
	TP_FREE char *why = NULL;
	TP_FREE char *answer = call_agent(s, line, COMMAND_S, &why);

	if (!answer)
		return tp_relay_write_json(s->in.fd, failure(why));
	return tp_relay_write(s->in.fd, answer, strlen(answer)) &&
	       tp_relay_write(s->in.fd, "\n", 1);
}

static bool answer(struct side *s, const char *line)
{
	while ((unsigned char)*line == DELIMITER)
		line++;
	json_t *request = json_loads(line, 0, NULL);
	const char *command = json_string_value(json_object_get(request, "execute"));
	bool sync = command && strcmp(command, "guest-sync-delimited") == 0;
	json_int_t id =
		json_integer_value(json_object_get(json_object_get(request, "arguments"), "id"));
	json_decref(request);
	return sync ? answer_sync(s, id) : answer_command(s, line);
}

/* ---- the thread ---- */

static bool serve(struct side *s)
{
	struct pollfd fds[] = {
		{.fd = s->in.fd, .events = POLLIN}, /* -1, without an agent, is passed over */
		{.fd = s->relay->side_wake_fd, .events = POLLIN},
	};
	eventfd_t count;

	if (poll(fds, TP_ARRAY_LEN(fds), -1) < 0)
		return errno == EINTR;
	if (fds[1].revents) {
		(void)!eventfd_read(s->relay->side_wake_fd, &count);
		label(s);
		if (is_over(s))
			return false;
	}
	if (!fds[0].revents)
		return true;
	if (!tp_relay_read(&s->in)) {
		/* Nobody asks any more; labels still come. */
		s->in.fd = tp_close(s->in.fd);
		return true;
	}
	for (;;) {
		TP_FREE char *line = tp_relay_next_line(&s->in);
		if (!line)
			return true;
		if (!answer(s, line))
			return !is_over(s);
	}
}

void tp_relay_serve_side(struct tp_relay *relay, int fd)
{
	struct side s = {.relay = relay, .in = {.fd = fd, .passed_fd = -1}};

	while (serve(&s))
		;
	tp_relay_handle_deinit(&s.handle);
	tp_relay_lines_deinit(&s.in);
}
