/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands in a guest.
 *
 * Always as a stream, and in base64 both ways: output comes as it is made, and no byte is lost to
 * an encoding.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/fd.h"
#include "base/mem.h"
#include "client/client_priv.h"

/* As base64 that is 960 KiB, which leaves the rest of the request's bound to the arguments. */
#define STDIN_MAX (720 * TP_KIB)

/* --- the request --- */

static struct torpor_error *words_json(const char *const *words, json_t **json_out)
{
	TP_JSON json_t *json = json_array();

	for (; words && *words; words++) {
		if (json_array_append_new(json, json_string(*words)) != 0)
			return tp_error(
				TORPOR_E_INVALID, "run", "command", "an argument isn't UTF-8");
	}
	if (json_array_size(json) == 0)
		return tp_error(TORPOR_E_INVALID, "run", "command", "it has no words");
	*json_out = TP_TAKE(json);
	return NULL;
}

static struct torpor_error *too_much_stdin(void)
{
	return tp_error_hint(tp_error(TORPOR_E_LIMIT, "run", "command",
				     "its standard input has more than %ju KiB",
				     (uintmax_t)(STDIN_MAX / TP_KIB)),
		"Bring it into the guest in pieces.");
}

/* Reads FD to its end. */
static struct torpor_error *read_stdin(int fd, const struct tp_call *call, struct tp_buf *buf)
{
	for (;;) {
		TP_TRY(tp_wait_fd(fd, POLLIN, call, "read", "standard input"));
		void *to = tp_buf_extend(buf, 64 * TP_KIB);
		ssize_t n = read(fd, to, 64 * TP_KIB);
		int errnum = errno;
		buf->len -= n > 0 ? 64 * TP_KIB - (size_t)n : 64 * TP_KIB;
		if (n < 0 && errnum != EINTR && errnum != EAGAIN)
			return tp_error_errno(errnum, "read", "standard input");
		if (n == 0)
			return NULL;
		if (buf->len > STDIN_MAX)
			return too_much_stdin();
	}
}

static struct torpor_error *put_stdin(
	json_t *body, const struct torpor_client_exec *exec, const struct tp_call *call)
{
	TP_BUF struct tp_buf buf = {0};
	TP_BUF struct tp_buf text = {0};

	if (exec->stdin_len > STDIN_MAX)
		return too_much_stdin();
	tp_buf_put(&buf, exec->stdin_bytes, exec->stdin_len);
	if (exec->has_stdin_fd)
		TP_TRY(read_stdin(exec->stdin_fd, call, &buf));
	tp_base64_put(&text, buf.data, buf.len);
	tp_buf_put_u8(&text, '\0');
	json_object_set_new(body, "stdin", json_string((char *)text.data));
	return NULL;
}

static struct torpor_error *exec_json(
	const struct torpor_client_exec *exec, const struct tp_call *call, json_t **json_out)
{
	TP_JSON json_t *body = json_object();
	json_t *value;

	TP_TRY(words_json(exec->argv, &value));
	json_object_set_new(body, "argv", value);
	if (exec->env) {
		TP_TRY(tp_pairs_json(exec->env, "environment", &value));
		json_object_set_new(body, "env", value);
	}
	if (exec->cwd && json_object_set_new(body, "cwd", json_string(exec->cwd)) != 0)
		return tp_error(TORPOR_E_INVALID, "run", "command", "its directory isn't UTF-8");
	if (exec->has_stdin_fd || exec->stdin_len > 0)
		TP_TRY(put_stdin(body, exec, call));
	json_object_set_new(body, "encoding", json_string("base64"));
	if (exec->timeout_s)
		json_object_set_new(body, "timeout_s", json_integer(exec->timeout_s));
	if (exec->wake)
		json_object_set_new(body, "wake", json_true());
	if (exec->kill_on_disconnect)
		json_object_set_new(body, "kill_on_disconnect", json_true());
	*json_out = TP_TAKE(body);
	return NULL;
}

/* --- the answer --- */

struct running {
	const struct torpor_client_exec *exec;
	struct torpor_client_exec_result result;
	bool finished;
	const char *nonsense; /* what torpord told that can't be, or NULL */
};

static const char *take_output(struct running *running, int stream, const json_t *json)
{
	const json_t *data = json_object_get(json, "data");
	TP_BUF struct tp_buf bytes = {0};

	if (!json_is_string(data) ||
		!tp_base64_get(&bytes, json_string_value(data), json_string_length(data)))
		return "output that isn't base64";
	if (running->exec->output && bytes.len > 0)
		running->exec->output(running->exec->output_data, stream, bytes.data, bytes.len);
	return NULL;
}

static const char *take_exit(struct running *running, const json_t *json)
{
	const json_t *status = json_object_get(json, "exit_status");
	const json_t *number = json_object_get(json, "signal");
	bool exited = json_is_integer(status);
	json_int_t value = json_integer_value(exited ? status : number);

	if ((!exited && !json_is_integer(number)) || value < 0 || value > 255)
		return "an end that is none";
	running->result =
		(struct torpor_client_exec_result){.exited = exited, .status = (int)value};
	running->finished = true;
	return NULL;
}

static bool on_event(void *data, const struct torpor_client_event *event)
{
	struct running *running = data;
	TP_JSON json_t *json = json_loadb(event->data, event->data_len, 0, NULL);

	if (!json)
		running->nonsense = "an event that isn't JSON";
	else if (strcmp(event->type, "stdout") == 0)
		running->nonsense = take_output(running, 1, json);
	else if (strcmp(event->type, "stderr") == 0)
		running->nonsense = take_output(running, 2, json);
	else if (strcmp(event->type, "exit") == 0)
		running->nonsense = take_exit(running, json);
	return !running->nonsense && !running->finished;
}

struct torpor_error *torpor_client_exec(struct torpor_client *client, const char *id,
	const struct torpor_client_exec *exec, const struct torpor_call *public_call,
	struct torpor_client_exec_result *result_out)
{
	struct tp_call call = tp_call_from(public_call, TP_NO_DEADLINE);
	struct running running = {.exec = exec};
	TP_FREE char *path = tp_session_path(id, "/exec");
	TP_JSON json_t *body = NULL;
	struct tp_http_fate fate;
	bool ended;

	TP_TRY(exec_json(exec, &call, &body));
	TP_FREE char *text = json_dumps(body, JSON_COMPACT);
	struct tp_event_stream stream = {
		.method = "POST",
		.path = path,
		.body = text,
		.fn = on_event,
		.data = &running,
	};
	TP_TRY(tp_event_stream(client, &stream, &call, &fate, &ended));
	if (running.nonsense)
		return tp_error(TORPOR_E_CORRUPT, "run command in", id, "torpord told %s",
			running.nonsense);
	if (!running.finished)
		return tp_error(TORPOR_E_IO, "run command in", id,
			"torpord closed the connection before it told how the command ended");
	*result_out = running.result;
	return NULL;
}
