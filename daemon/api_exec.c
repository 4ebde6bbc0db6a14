/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands in guests: POST /v1/sessions/{id}/exec.
 *
 * Whole, the handler runs the command and answers with what it wrote. Streamed, a producer thread
 * runs it, and its output becomes events as it comes. Either way a client that goes away cancels
 * the call, which ends the command only if kill_on_disconnect says so.
 */
#include <string.h>

#include "base/base64.h"
#include "base/fd.h"
#include "base/mem.h"
#include "daemon/api.h"
#include "daemon/utf8.h"

#define EVENT_BYTES 32768 /* of output in one event at most */

/* One of stdout and stderr. */
struct output {
	struct utf8 utf8;
	struct tp_buf text; /* whole: what is answered */
	size_t bytes;	    /* whole: that were taken of it */
	bool truncated;
};

struct exec_job {
	struct tp_service *service;
	struct tp_actor actor;
	char id[TP_ID_LEN + 1];
	struct tp_call call;
	json_t *body;	   /* what the next ones point into */
	const char **argv; /* the array is the job's own */
	const json_t *env;
	const char *cwd;
	int stdin_fd; /* or -1 */
	bool base64;
	bool wake;
	bool kill_on_disconnect;
	struct output outputs[2]; /* stdout, stderr */
	struct http_stream *stream;
};

static void job_free(void *data)
{
	struct exec_job *job = data;

	if (!job)
		return;
	json_decref(job->body);
	free(job->argv);
	tp_close(job->stdin_fd);
	for (size_t i = 0; i < TP_ARRAY_LEN(job->outputs); i++)
		tp_buf_deinit(&job->outputs[i].text);
	free(job);
}

static inline void job_free_at_(struct exec_job **job)
{
	job_free(*job);
}

/* --- what is asked for --- */

static const char **argv_of(const json_t *array)
{
	const char **argv = tp_calloc(json_array_size(array) + 1, sizeof(*argv));
	size_t i;
	json_t *word;

	json_array_foreach (array, i, word)
		argv[i] = json_string_value(word);
	return argv;
}

/* A memfd with what TEXT stands for. */
static struct torpor_error *make_stdin(const char *text, bool base64, int *fd_out)
{
	TP_BUF struct tp_buf bytes = {0};
	TP_FD int fd = -1;

	if (!base64)
		tp_buf_put(&bytes, text, strlen(text));
	else if (!tp_base64_get(&bytes, text, strlen(text)))
		return tp_error(TORPOR_E_INVALID, "run command", NULL,
			"\"stdin\" must be base64, as \"encoding\" says");
	TP_TRY(tp_memfd("torpor-stdin", bytes.len, &fd));
	TP_TRY(tp_pwrite_full(fd, bytes.data, bytes.len, 0, "stdin"));
	*fd_out = TP_TAKE_FD(fd);
	return NULL;
}

static struct torpor_error *read_job(const struct http_request *req, struct exec_job *job)
{
	static const char *const encodings[] = {"utf-8", "base64", NULL};
	struct json_in in = json_in_over(req->body, "run command");
	const json_t *argv =
		json_in_strings(&in, "argv", JSON_IN_REQUIRED, 1, API_ARGV_MAX, API_ARGV_TOTAL_MAX);
	const char *input = json_in_text(&in, "stdin", JSON_IN_OPTIONAL, 0, API_STDIN_MAX);
	const char *encoding = json_in_choice(&in, "encoding", JSON_IN_OPTIONAL, encodings);
	int64_t timeout_s = json_in_number(&in, "timeout_s", 1, API_EXEC_TIMEOUT_MAX, 0);
	const char *id;

	job->env = api_env(&in);
	job->cwd = json_in_path(&in, "cwd", JSON_IN_OPTIONAL, API_CWD_MAX);
	job->wake = json_in_flag(&in, "wake", false);
	job->kill_on_disconnect = json_in_flag(&in, "kill_on_disconnect", false);
	TP_TRY(json_in_end(&in));
	if (json_string_length(json_array_get(argv, 0)) == 0)
		return tp_error(TORPOR_E_INVALID, "run command", NULL,
			"\"argv\" must begin with the command, which can't be empty");
	TP_TRY(api_session_id(req, &id));
	memcpy(job->id, id, sizeof(job->id));
	job->argv = argv_of(argv);
	job->base64 = encoding == encodings[1];
	job->call = timeout_s ? tp_call_bounded(&req->call, (uint64_t)timeout_s * TP_NSEC_PER_SEC)
			      : req->call;
	return input ? make_stdin(input, job->base64, &job->stdin_fd) : NULL;
}

static struct torpor_error *run(
	struct exec_job *job, torpor_output_fn *output, struct torpor_exec_result *result_out)
{
	struct tp_exec_spec spec = {
		.argv = job->argv,
		.env = job->env,
		.cwd = job->cwd,
		.stdin_fd = job->stdin_fd,
		.wake = job->wake,
		.kill_on_cancel = job->kill_on_disconnect,
		.output = output,
		.data = job,
	};
	struct torpor_error *err =
		tp_service_exec(job->service, &job->actor, job->id, &spec, &job->call, result_out);

	/* Not a refusal: with the session's environment it is more than the guest takes at once. */
	if (err && torpor_error_code(err) == TORPOR_E_LIMIT && !torpor_error_reason(err))
		return tp_error_recode(err, TORPOR_E_INVALID);
	return err;
}

/* "exit_status" and "signal", one of which is null. */
static json_t *exit_json(const struct torpor_exec_result *result)
{
	json_t *status = json_integer(result->status);

	return result->exited ? json_pack("{so sn}", "exit_status", status, "signal")
			      : json_pack("{sn so}", "exit_status", "signal", status);
}

static json_t *text_json(const struct tp_buf *text)
{
	/* Nothing was ever written: there is no pointer, which jansson doesn't take. */
	return text->len > 0 ? json_stringn((const char *)text->data, text->len) : json_string("");
}

static struct output *output_of(struct exec_job *job, int stream)
{
	return &job->outputs[stream == 2];
}

/* --- whole --- */

static void collect(void *data, int stream, const void *bytes, size_t len)
{
	struct exec_job *job = data;
	struct output *output = output_of(job, stream);
	size_t taken = TP_MIN(len, API_OUTPUT_MAX - output->bytes);

	if (job->base64)
		tp_buf_put(&output->text, bytes, taken);
	else
		utf8_put(&output->utf8, bytes, taken, &output->text);
	output->bytes += taken;
	output->truncated |= taken < len;
}

static json_t *output_json(struct exec_job *job, struct output *output)
{
	TP_BUF struct tp_buf encoded = {0};

	if (job->base64) {
		tp_base64_put(&encoded, output->text.data, output->text.len);
		return text_json(&encoded);
	}
	/* A character that the bound cut is left out; one that the command cut is replaced. */
	if (!output->truncated)
		utf8_end(&output->utf8, &output->text);
	return text_json(&output->text);
}

static struct torpor_error *run_whole(struct exec_job *job, json_t **body_out)
{
	struct torpor_exec_result result;
	struct output *out = output_of(job, 1);
	struct output *err = output_of(job, 2);

	TP_TRY(run(job, collect, &result));
	*body_out = exit_json(&result);
	json_object_set_new(*body_out, "stdout", output_json(job, out));
	json_object_set_new(*body_out, "stderr", output_json(job, err));
	json_object_set_new(*body_out, "truncated", json_boolean(out->truncated || err->truncated));
	return NULL;
}

/* --- streamed --- */

static void send_output(struct exec_job *job, int stream, const struct tp_buf *text)
{
	json_t *data;

	if (text->len == 0)
		return;
	data = json_object();
	json_object_set_new(data, "data", text_json(text));
	/* That nobody reads any more is learnt from the stream's descriptor. */
	http_stream_send(job->stream, 0, stream == 2 ? "stderr" : "stdout", data);
}

static void pass_on(void *data, int stream, const void *bytes, size_t len)
{
	struct exec_job *job = data;

	for (size_t at = 0; at < len; at += EVENT_BYTES) {
		TP_BUF struct tp_buf text = {0};
		const uint8_t *piece = (const uint8_t *)bytes + at;
		size_t n = TP_MIN(len - at, EVENT_BYTES);

		if (job->base64)
			tp_base64_put(&text, piece, n);
		else
			utf8_put(&output_of(job, stream)->utf8, piece, n, &text);
		send_output(job, stream, &text);
	}
}

static void send_tails(struct exec_job *job)
{
	for (int stream = 1; stream <= 2; stream++) {
		TP_BUF struct tp_buf text = {0};

		utf8_end(&output_of(job, stream)->utf8, &text);
		send_output(job, stream, &text);
	}
}

static void run_streamed(void *data, struct http_stream *stream)
{
	struct exec_job *job = data;
	struct torpor_exec_result result;
	struct torpor_error *err;

	job->stream = stream;
	job->call.cancel_fd = http_stream_gone_fd(stream);
	http_stream_send(stream, 0, "started", json_pack("{ss}", "session", job->id));
	err = run(job, pass_on, &result);
	send_tails(job);
	if (err)
		api_stream_error(stream, err);
	else
		http_stream_send(stream, 0, "exit", exit_json(&result));
}

struct torpor_error *api_exec(struct http_request *req, struct http_reply *reply)
{
	__attribute__((cleanup(job_free_at_))) struct exec_job *job = tp_calloc(1, sizeof(*job));

	job->service = req->service;
	job->actor = req->actor;
	job->body = json_incref(req->body);
	job->stdin_fd = -1;
	TP_TRY(read_job(req, job));
	if (!req->wants_events) {
		TP_TRY(http_gone_fd(req, &job->call.cancel_fd));
		return run_whole(job, &reply->body);
	}
	reply->produce = run_streamed;
	reply->data = TP_TAKE(job);
	reply->free_data = job_free;
	return NULL;
}
