/* SPDX-License-Identifier: Apache-2.0 */
/* A table of routes that show what the plumbing does. */
#include "stub_routes.h"

#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "stub_service.h"

sem_t stub_entered, stub_producing, stub_freed;
_Atomic unsigned int stub_events;
int stub_gates[2] = {-1, -1};

void stub_let_go(unsigned int gate)
{
	eventfd_write(stub_gates[gate], 1);
}

static struct torpor_error *show(struct http_request *req, struct http_reply *reply)
{
	const char *q = http_query(req, "q");

	reply->body = json_pack("{s:s?, s:s?, s:s?, s:s, s:b, s:s, s:b, s:b, s:O?, s:b}", "a",
		req->params[0], "b", req->params[1], "q", q, "tenant", req->actor.tenant, "admin",
		req->actor.admin, "how", req->actor.how, "local", req->local, "events",
		req->wants_events, "body", req->body, "login", req->login);
	return NULL;
}

static struct torpor_error *make(struct http_request *req, struct http_reply *reply)
{
	(void)show(req, reply);
	reply->status = 201;
	json_object_set_new(reply->body, "name", json_string("new"));
	return NULL;
}

static struct torpor_error *nothing(struct http_request *req, struct http_reply *reply)
{
	(void)req;
	(void)reply;
	return NULL;
}

static struct torpor_error *big(struct http_request *req, struct http_reply *reply)
{
	uint64_t bytes;

	TP_TRY(http_query_number(req, "bytes", 1, 1 << 28, 10, &bytes));
	reply->text = tp_malloc(bytes + 1);
	memset(reply->text, 'x', bytes);
	reply->text[bytes] = '\0';
	reply->content_type = "text/plain";
	return NULL;
}

/* Waits until it is let go on, or its call ends. */
static struct torpor_error *wait_at(int gate_fd, const struct tp_call *call)
{
	eventfd_t one;

	sem_post(&stub_entered);
	do
		TP_TRY(tp_wait_fd(gate_fd, POLLIN, call, "wait", "for ever"));
	while (eventfd_read(gate_fd, &one) < 0);
	return NULL;
}

static struct torpor_error *slow(struct http_request *req, struct http_reply *reply)
{
	uint64_t gate;

	(void)reply;
	TP_TRY(http_query_number(req, "gate", 0, 1, 0, &gate));
	return wait_at(stub_gates[gate], &req->call);
}

static struct torpor_error *gone(struct http_request *req, struct http_reply *reply)
{
	struct tp_call call = req->call;

	(void)reply;
	TP_TRY(http_gone_fd(req, &call.cancel_fd));
	struct torpor_error *err = wait_at(-1, &call);
	if (torpor_error_code(err) == TORPOR_E_CANCELLED)
		sem_post(&stub_freed);
	return err;
}

static struct torpor_error *fail(struct http_request *req, struct http_reply *reply)
{
	uint64_t code;

	TP_TRY(http_query_number(req, "code", 1, TORPOR_E_INTERNAL, 1, &code));
	/* What was made before failing is the plumbing's to free. */
	reply->body = json_pack("{s:i}", "never", 1);
	return tp_error_hint(
		tp_error((enum torpor_errc)code, "fail", "x", "as asked"), "Ask for less.");
}

#define NO_GATE UINT64_MAX

struct plan {
	uint64_t n, size;
	uint64_t gate; /* that it waits at before; NO_GATE: none */
	char *tag;     /* so that a leak shows */
};

static void free_plan(void *data)
{
	struct plan *plan = data;

	free(plan->tag);
	free(plan);
	sem_post(&stub_freed);
}

static void produce(void *data, struct http_stream *stream)
{
	const struct plan *plan = data;
	struct tp_call call = {TP_NO_DEADLINE, http_stream_gone_fd(stream)};
	TP_FREE char *text = tp_malloc(plan->size + 1);

	memset(text, 'y', plan->size);
	text[plan->size] = '\0';
	if (plan->gate != NO_GATE)
		torpor_error_free(wait_at(stub_gates[plan->gate], &call));
	sem_post(&stub_producing);
	for (uint64_t i = 1; i <= plan->n; i++) {
		if (!http_stream_send(stream, i, "tick", json_pack("{s:s}", "data", text)))
			return;
		stub_events++;
	}
	if (plan->n == 0)
		torpor_error_free(wait_at(-1, &call));
}

static struct torpor_error *events(struct http_request *req, struct http_reply *reply)
{
	struct plan plan = {0};

	TP_TRY(http_query_number(req, "n", 0, 1 << 20, 0, &plan.n));
	TP_TRY(http_query_number(req, "size", 0, 1 << 24, 10, &plan.size));
	TP_TRY(http_query_number(req, "gate", 0, 1, NO_GATE, &plan.gate));
	plan.tag = tp_strdup("tag");
	reply->produce = produce;
	reply->data = tp_memdup(&plan, sizeof(plan));
	reply->free_data = free_plan;
	return NULL;
}

/* As the real one, with a body that says who it is. */
static struct torpor_error *sign_in(struct http_request *req, struct http_reply *reply)
{
	const char *token = json_string_value(json_object_get(req->body, "token"));
	const char *code = json_string_value(json_object_get(req->body, "code"));

	TP_TRY(http_sign_in(req, token, code, reply));
	return show(req, reply);
}

static struct torpor_error *sign_out(struct http_request *req, struct http_reply *reply)
{
	return http_sign_out(req, reply);
}

static struct torpor_error *link_of(struct http_request *req, struct http_reply *reply)
{
	reply->status = 201;
	return http_login_link(req, &reply->body);
}

static struct torpor_error *file(struct http_request *req, struct http_reply *reply)
{
	static const char bytes[] = "a file\0with a NUL";

	reply->status = http_header(req, "If-None-Match") ? 304 : 200;
	reply->bytes = bytes;
	reply->len = sizeof(bytes) - 1;
	reply->content_type = "text/html";
	reply->cache_control = "no-cache";
	http_reply_header(reply, "ETag", tp_strdup("W/\"1\""));
	return NULL;
}

const struct http_route http_routes[] = {
	{"POST", "/login", sign_in, HTTP_OPEN | HTTP_MUTATING | HTTP_NO_REPEAT},
	{"POST", "/logout", sign_out, HTTP_OPEN | HTTP_MUTATING | HTTP_NO_REPEAT},
	{"POST", "/login-links", link_of, HTTP_MUTATING},
	{"GET", "/file", file, HTTP_OPEN},
	{"GET", "/show/{a}/{b}", show, 0},
	{"GET", "/show/{a}", show, 0},
	{"POST", "/show", make, HTTP_MUTATING, "name"},
	{"DELETE", "/show/{a}", nothing, HTTP_MUTATING},
	{"PATCH", "/show/{a}", show, HTTP_MUTATING},
	{"POST", "/once", show, HTTP_NO_REPEAT | HTTP_LONG},
	{"GET", "/open", show, HTTP_OPEN},
	{"GET", "/big", big, 0},
	{"POST", "/slow", slow, HTTP_MUTATING},
	{"GET", "/gone", gone, HTTP_LONG},
	{"GET", "/fail", fail, 0},
	{"GET", "/events", events, HTTP_LONG},
	{"POST", "/events", events, HTTP_LONG | HTTP_MUTATING},
	{0},
};
