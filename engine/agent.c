/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest agent's client.
 *
 * The port is a byte stream that outlives both ends: it may hold half a command of somebody
 * before us, or answers that nobody took. guest-sync-delimited clears it: 0xff makes the agent
 * forget an unfinished command, and it puts 0xff before its answer, a byte that no JSON holds.
 */
#include "engine/agent.h"

#include <string.h>

#include "base/base64.h"
#include "base/fd.h"
#include "base/mem.h"
#include "engine/lines.h"

#define DELIMITER	0xff
#define VERSION_MAX	64
#define ASK_FIRST_NS	TP_NSEC_PER_MSEC
#define ASK_AT_LEAST_NS (50 * TP_NSEC_PER_MSEC)

struct tp_agent {
	int fd;
	char *name;
	struct tp_lines in;
	bool in_step; /* the next line will answer the next command */
	json_int_t last_id;
};

struct tp_agent *tp_agent_open(int fd, const char *name)
{
	struct tp_agent *agent = tp_calloc(1, sizeof(*agent));

	agent->fd = fd;
	agent->name = tp_strdup(name);
	agent->in = tp_lines_over(fd, TP_AGENT_LINE_MAX);
	/* Unlikely to be the id of whoever used the port before. */
	agent->last_id = (json_int_t)(tp_now_ns() & 0xffffffffffff);
	return agent;
}

struct tp_agent *tp_agent_close(struct tp_agent *agent)
{
	if (!agent)
		return NULL;
	tp_lines_deinit(&agent->in);
	tp_close(agent->fd);
	free(agent->name);
	free(agent);
	return NULL;
}

static struct torpor_error *nonsense(struct tp_agent *agent, const char *step, const char *why)
{
	return tp_error(TORPOR_E_GUEST, step, agent->name, "the guest agent sent %s", why);
}

/* ---- lines ---- */

static struct torpor_error *read_line(struct tp_agent *agent, const char *step,
	const struct tp_call *call, char **line_out, size_t *len_out)
{
	struct torpor_error *err =
		tp_lines_next(&agent->in, call, step, agent->name, line_out, len_out);

	if (err && torpor_error_code(err) == TORPOR_E_LIMIT)
		return tp_error_recode(err, TORPOR_E_GUEST);
	if (!err && !*line_out)
		return tp_error(TORPOR_E_GUEST, step, agent->name,
			"the connection to the guest agent closed");
	return err;
}

/* One command as the agent reads it, behind PREFIX_LEN delimiters. Takes ARGS. */
static struct torpor_error *send_command(struct tp_agent *agent, size_t prefix_len,
	const char *command, json_t *args, const struct tp_call *call)
{
	TP_BUF struct tp_buf line = {0};
	json_t *request = json_pack("{s:s, s:o*}", "execute", command, "arguments", args);

	/* Only strings that aren't UTF-8 fail, and those can only be the caller's. */
	if (!request)
		return tp_error(TORPOR_E_INVALID, command, agent->name, "arguments aren't UTF-8");
	TP_FREE char *text = json_dumps(request, JSON_COMPACT);
	json_decref(request);
	assert(text);
	memset(tp_buf_extend(&line, prefix_len), DELIMITER, prefix_len);
	tp_buf_put(&line, text, strlen(text));
	tp_buf_put_u8(&line, '\n');
	return tp_write_stream(agent->fd, line.data, line.len, call, agent->name);
}

/* Whether LINE, behind its last delimiter, is the answer to the synchronisation with this id. */
static bool answers_sync(const char *line, size_t len, json_int_t id)
{
	const char *delimiter = memrchr(line, DELIMITER, len);

	if (!delimiter)
		return false;
	const char *text = delimiter + 1;
	json_t *answer = json_loadb(text, len - (size_t)(text - line), 0, NULL);
	json_t *result = json_object_get(answer, "return");
	bool is_it = json_is_integer(result) && json_integer_value(result) == id;
	json_decref(answer);
	return is_it;
}

static struct torpor_error *synchronise(struct tp_agent *agent, const struct tp_call *call)
{
	static const char step[] = "synchronise with the agent of";
	json_t *args = json_pack("{s:I}", "id", ++agent->last_id);
	size_t dropped = 0;

	TP_TRY(send_command(agent, 1, "guest-sync-delimited", args, call));
	while (dropped <= TP_AGENT_GARBAGE_MAX) {
		char *line;
		size_t len;
		TP_TRY(read_line(agent, step, call, &line, &len));
		agent->in_step = answers_sync(line, len, agent->last_id);
		tp_lines_give_back(&agent->in);
		if (agent->in_step)
			return NULL;
		dropped += len + 1;
	}
	return nonsense(agent, step, "only garbage");
}

struct torpor_error *tp_agent_knock(struct tp_agent *agent, const struct tp_call *call)
{
	agent->in_step = false; /* its answer is passed over by the next synchronisation */
	return send_command(
		agent, 1, "guest-sync-delimited", json_pack("{s:I}", "id", ++agent->last_id), call);
}

int tp_agent_fd(const struct tp_agent *agent)
{
	return agent->fd;
}

/* ---- commands ---- */

static struct torpor_error *refusal(struct tp_agent *agent, const char *command, json_t *error)
{
	const char *class = json_string_value(json_object_get(error, "class"));
	const char *desc = json_string_value(json_object_get(error, "desc"));

	if (!class || !desc)
		return nonsense(agent, command, "an error without class or words");
	bool unknown = strcmp(class, "CommandNotFound") == 0;
	return tp_error(unknown ? TORPOR_E_UNSUPPORTED : TORPOR_E_GUEST, command, agent->name,
		"the guest agent: %.200s", desc);
}

static struct torpor_error *read_answer(struct tp_agent *agent, const char *command,
	const struct tp_call *call, json_t **return_out)
{
	char *line;
	size_t len;
	struct torpor_error *err = NULL;

	TP_TRY(read_line(agent, command, call, &line, &len));
	json_t *answer = json_loadb(line, len, 0, NULL);
	tp_lines_give_back(&agent->in);
	json_t *error = json_object_get(answer, "error");
	json_t *result = json_object_get(answer, "return");
	agent->in_step = error || result;
	if (error)
		err = refusal(agent, command, error);
	else if (!result)
		err = nonsense(agent, command, "no answer to a command");
	else if (return_out)
		*return_out = json_incref(result);
	json_decref(answer);
	return err;
}

struct torpor_error *tp_agent_execute(struct tp_agent *agent, const char *command, json_t *args,
	const struct tp_call *call, json_t **return_out)
{
	struct torpor_error *err = agent->in_step ? NULL : synchronise(agent, call);

	if (err) {
		json_decref(args);
		return tp_error_in(err, command, agent->name);
	}
	/* Until the answer is here. */
	agent->in_step = false;
	TP_TRY(send_command(agent, 0, command, args, call));
	return read_answer(agent, command, call, return_out);
}

struct torpor_error *tp_agent_ping(struct tp_agent *agent, const struct tp_call *call)
{
	return tp_agent_execute(agent, "guest-ping", NULL, call, NULL);
}

struct torpor_error *tp_agent_set_time(
	struct tp_agent *agent, uint64_t realtime_ns, const struct tp_call *call)
{
	if (realtime_ns > INT64_MAX)
		return tp_error(TORPOR_E_INVALID, "guest-set-time", agent->name, "out of range");
	json_t *args = json_pack("{s:I}", "time", (json_int_t)realtime_ns);
	return tp_agent_execute(agent, "guest-set-time", args, call, NULL);
}

static bool printable(const char *s, size_t max)
{
	size_t len = strlen(s);

	for (size_t i = 0; i < len; i++) {
		if (s[i] < ' ' || s[i] > '~')
			return false;
	}
	return len >= 1 && len <= max;
}

struct torpor_error *tp_agent_version(
	struct tp_agent *agent, const struct tp_call *call, char **version_out)
{
	json_t *info;

	TP_TRY(tp_agent_execute(agent, "guest-info", NULL, call, &info));
	const char *version = json_string_value(json_object_get(info, "version"));
	struct torpor_error *err = NULL;
	if (version && printable(version, VERSION_MAX))
		*version_out = tp_strdup(version);
	else
		err = nonsense(agent, "guest-info", "no version");
	json_decref(info);
	return err;
}

/* ---- programs ---- */

void tp_agent_exit_deinit(struct tp_agent_exit *how)
{
	free(how->out);
	free(how->err);
	*how = (struct tp_agent_exit){0};
}

/* A stream of the program's output; the agent leaves the member out where there was none. */
static bool take_output(json_t *status, const char *member, char **data_out, size_t *len_out)
{
	json_t *text = json_object_get(status, member);
	TP_BUF struct tp_buf data = {0};

	if (text && !json_is_string(text))
		return false;
	if (text && !tp_base64_get(&data, json_string_value(text), json_string_length(text)))
		return false;
	*len_out = data.len;
	tp_buf_put_u8(&data, '\0');
	*data_out = (char *)TP_TAKE(data.data);
	return true;
}

/* Whether the program has ended, and how. */
static struct torpor_error *ask_status(struct tp_agent *agent, json_int_t pid,
	const struct tp_call *call, bool *ended_out, struct tp_agent_exit *how_out)
{
	json_t *status;
	TP_AGENT_EXIT struct tp_agent_exit how = {.status = -1};

	TP_TRY(tp_agent_execute(
		agent, "guest-exec-status", json_pack("{s:I}", "pid", pid), call, &status));
	json_t *exited = json_object_get(status, "exited");
	json_t *code = json_object_get(status, "exitcode");
	json_t *sig = json_object_get(status, "signal");
	bool sound = json_is_boolean(exited);
	bool ended = json_is_true(exited);
	if (ended) {
		if (json_is_integer(code))
			how.status = (int)(json_integer_value(code) & 0xff);
		if (json_is_integer(sig))
			how.signal = (int)(json_integer_value(sig) & 0x7f);
		how.truncated = json_is_true(json_object_get(status, "out-truncated")) ||
				json_is_true(json_object_get(status, "err-truncated"));
		sound = (json_is_integer(code) || json_is_integer(sig)) &&
			take_output(status, "out-data", &how.out, &how.out_len) &&
			take_output(status, "err-data", &how.err, &how.err_len);
	}
	json_decref(status);
	if (!sound)
		return nonsense(agent, "guest-exec-status", "a malformed status");
	*ended_out = ended;
	if (ended) {
		*how_out = how;
		how = (struct tp_agent_exit){0};
	}
	return NULL;
}

/* Lets WAIT_NS pass. */
static struct torpor_error *pass_time(
	struct tp_agent *agent, uint64_t wait_ns, const struct tp_call *call)
{
	struct tp_call until = tp_call_bounded(call, wait_ns);
	struct torpor_error *err = tp_wait_fd(-1, 0, &until, "run a program in", agent->name);

	if (torpor_error_code(err) != TORPOR_E_TIMEOUT)
		return err;
	torpor_error_free(err);
	return tp_call_check(call, "run a program in", agent->name);
}

/* The arguments of guest-exec; NULL if one isn't UTF-8: it can't be said, and must not be missing.
 */
static json_t *exec_args(const char *const *argv)
{
	json_t *arguments = json_array();

	for (const char *const *arg = argv + 1; *arg; arg++) {
		if (json_array_append_new(arguments, json_string(*arg)) < 0) {
			json_decref(arguments);
			return NULL;
		}
	}
	return json_pack("{s:s, s:o, s:b}", "path", argv[0], "arg", arguments, "capture-output", 1);
}

struct torpor_error *tp_agent_run(struct tp_agent *agent, const char *const *argv,
	const struct tp_call *call, struct tp_agent_exit *how_out)
{
	json_t *args = exec_args(argv);
	json_t *result;
	bool ended = false;

	if (!args)
		return tp_error(TORPOR_E_INVALID, "guest-exec", agent->name, "not UTF-8");
	TP_TRY(tp_agent_execute(agent, "guest-exec", args, call, &result));
	json_t *pid = json_object_get(result, "pid");
	json_int_t number = json_is_integer(pid) ? json_integer_value(pid) : -1;
	json_decref(result);
	if (number < 0)
		return nonsense(agent, "guest-exec", "no pid");

	for (uint64_t wait_ns = ASK_FIRST_NS;; wait_ns = TP_MIN(wait_ns * 2, ASK_AT_LEAST_NS)) {
		TP_TRY(ask_status(agent, number, call, &ended, how_out));
		if (ended)
			return NULL;
		TP_TRY(pass_time(agent, wait_ns, call));
	}
}
