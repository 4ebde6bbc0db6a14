/* SPDX-License-Identifier: Apache-2.0 */
/* Templates and the pool: /v1/templates, /v1/pool. */
#include <string.h>

#include "base/mem.h"
#include "daemon/api.h"
#include "daemon/utf8.h"

#define LINE_MAX_LEN 1024 /* of progress; the rest of a line is cut */

struct torpor_error *api_templates(struct http_request *req, struct http_reply *reply)
{
	return tp_service_templates(req->service, &req->actor, &reply->body);
}

struct torpor_error *api_template(struct http_request *req, struct http_reply *reply)
{
	const char *name;

	TP_TRY(api_name(req, 0, "template", &name));
	return tp_service_template(req->service, &req->actor, name, &reply->body);
}

struct torpor_error *api_remove_template(struct http_request *req, struct http_reply *reply)
{
	const char *name, *force;

	(void)reply;
	TP_TRY(api_name(req, 0, "template", &name));
	TP_TRY(api_query_text(req, "force", 5, &force));
	if (force && strcmp(force, "true") != 0 && strcmp(force, "false") != 0)
		return tp_error(TORPOR_E_INVALID, "read query", "force", "must be true or false");
	return tp_service_remove_template(
		req->service, &req->actor, name, force && strcmp(force, "true") == 0);
}

struct torpor_error *api_pool(struct http_request *req, struct http_reply *reply)
{
	return tp_service_pool(req->service, &req->actor, &reply->body);
}

/* --- building --- */

struct build_job {
	struct tp_service *service;
	struct tp_actor actor;
	struct tp_call call;
	json_t *body; /* what SPEC points into */
	struct torpor_template_spec spec;
	struct http_stream *stream;
};

static void job_free(void *data)
{
	struct build_job *job = data;

	json_decref(job->body);
	free(job);
}

static bool is_cpu(const char *text)
{
	return strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
			    "._+=,-") == strlen(text);
}

static struct torpor_error *read_spec(
	const struct http_request *req, struct torpor_template_spec *spec_out)
{
	static const char *const machines[] = {"pc", "q35", "microvm", NULL};
	static const char *const accels[] = {"auto", "kvm", "tcg", NULL};
	struct json_in in = json_in_over(req->body, "build template");
	struct torpor_template_spec spec = {
		.name = json_in_name(&in, "name", JSON_IN_REQUIRED),
		.machine = json_in_choice(&in, "machine", JSON_IN_OPTIONAL, machines),
		.accel = json_in_choice(&in, "accel", JSON_IN_OPTIONAL, accels),
		.cpu = json_in_line(&in, "cpu", JSON_IN_OPTIONAL, 1, API_CPU_MAX),
		.memory = (uint64_t)json_in_number(
			&in, "memory_bytes", 16 * TP_MIB, 1024 * TP_GIB, 0),
		.vcpus = (unsigned int)json_in_number(&in, "vcpus", 1, 255, 0),
		.kernel = json_in_path(&in, "kernel", JSON_IN_REQUIRED, API_PATH_MAX),
		.initrd = json_in_path(&in, "initrd", JSON_IN_OPTIONAL, API_PATH_MAX),
		.append = json_in_line(&in, "append", JSON_IN_OPTIONAL, 0, API_APPEND_MAX),
		.ready_line = json_in_line(&in, "ready_line", JSON_IN_OPTIONAL, 1, API_TEXT_MAX),
		.replace = json_in_flag(&in, "replace", false),
	};

	TP_TRY(json_in_end(&in));
	if (spec.memory % TP_MIB != 0)
		return tp_error(TORPOR_E_INVALID, "build template", NULL,
			"\"memory_bytes\" must be a multiple of 1048576");
	if (spec.cpu && !is_cpu(spec.cpu))
		return tp_error(TORPOR_E_INVALID, "build template", NULL,
			"\"cpu\" must be a model of QEMU's: A-Z a-z 0-9 . _ + = , -");
	*spec_out = spec;
	return NULL;
}

static void send_progress(void *data, const char *stage, const char *line)
{
	struct build_job *job = data;
	char shown[LINE_MAX_LEN];

	utf8_clip(line, shown, sizeof(shown));
	http_stream_send(
		job->stream, 0, "progress", json_pack("{ss ss}", "stage", stage, "line", shown));
}

static void build_streamed(void *data, struct http_stream *stream)
{
	struct build_job *job = data;
	struct torpor_error *err;
	json_t *view;

	job->stream = stream;
	job->call.cancel_fd = http_stream_gone_fd(stream);
	err = tp_service_build_template(
		job->service, &job->actor, &job->spec, send_progress, job, &job->call, &view);
	if (err)
		api_stream_error(stream, err);
	else
		http_stream_send(stream, 0, "done", view);
}

static void stream_build(const struct http_request *req, const struct torpor_template_spec *spec,
	const struct tp_call *call, struct http_reply *reply)
{
	struct build_job *job = tp_calloc(1, sizeof(*job));

	job->service = req->service;
	job->actor = req->actor;
	job->call = *call;
	job->body = json_incref(req->body);
	job->spec = *spec;
	reply->produce = build_streamed;
	reply->data = job;
	reply->free_data = job_free;
}

struct torpor_error *api_build_template(struct http_request *req, struct http_reply *reply)
{
	struct tp_call call = api_call_within(req, API_WAIT_MAX);
	struct torpor_template_spec spec;

	TP_TRY(read_spec(req, &spec));
	if (req->wants_events) {
		stream_build(req, &spec, &call, reply);
		return NULL;
	}
	reply->status = 201;
	return tp_service_build_template(
		req->service, &req->actor, &spec, NULL, NULL, &call, &reply->body);
}
