/* SPDX-License-Identifier: Apache-2.0 */
/* Beside the API: health, metrics, and the document that describes it. */
#include "base/mem.h"
#include "daemon/api.h"

struct torpor_error *api_healthz(struct http_request *req, struct http_reply *reply)
{
	(void)req;
	reply->body = json_pack("{ss}", "status", "ok");
	return NULL;
}

struct torpor_error *api_readyz(struct http_request *req, struct http_reply *reply)
{
	TP_FREE char *missing = tp_service_not_ready(req->service);

	reply->status = missing ? 503 : 200;
	reply->body = json_pack(
		"{ss ss?}", "status", missing ? "not ready" : "ready", "missing", missing);
	return NULL;
}

struct torpor_error *api_metrics(struct http_request *req, struct http_reply *reply)
{
	if (!req->local && !req->actor.admin)
		return tp_error_hint(
			tp_error(TORPOR_E_DENIED, "read metrics", NULL, "they are the admin's"),
			"From loopback and over the UNIX socket everybody may read them.");
	reply->text = tp_service_metrics(req->service);
	reply->content_type = "text/plain; version=0.0.4; charset=utf-8";
	return NULL;
}

struct torpor_error *api_openapi(struct http_request *req, struct http_reply *reply)
{
	(void)req;
	reply->text = tp_strndup(api_openapi_text, api_openapi_len);
	reply->content_type = "application/json";
	return NULL;
}
