/* SPDX-License-Identifier: Apache-2.0 */
/* Tenants, tokens, the audit log, and who the caller is. */
#include <stdio.h>

#include "daemon/api.h"

/* --- tenants --- */

/* Checks what tp_service_put_tenant is given; null means the default here. */
static void check_tenant(struct json_in *in)
{
	struct json_in limits;

	json_in_number(in, "uid", 0, API_UID_MAX, 0);
	json_in_enter(in, "limits", &limits);
	json_in_number(&limits, "sessions", 0, API_COUNT_MAX, 0);
	json_in_number(&limits, "memory_bytes", 0, API_BYTES_MAX, 0);
	json_in_number(&limits, "parked_bytes", 0, API_BYTES_MAX, 0);
	json_in_number(&limits, "requests_per_minute", 1, API_COUNT_MAX, 0);
	json_in_number(&limits, "ttl_s", 0, API_SECONDS_MAX, 0);
	json_in_number(&limits, "idle_s", 0, API_SECONDS_MAX, 0);
	json_in_number(&limits, "retention_s", 0, API_SECONDS_MAX, 0);
	json_in_leave(in, &limits);
}

struct torpor_error *api_tenants(struct http_request *req, struct http_reply *reply)
{
	return tp_service_tenants(req->service, &req->actor, &reply->body);
}

struct torpor_error *api_tenant(struct http_request *req, struct http_reply *reply)
{
	const char *name;

	TP_TRY(api_name(req, 0, "tenant", &name));
	return tp_service_tenant(req->service, &req->actor, name, &reply->body);
}

struct torpor_error *api_new_tenant(struct http_request *req, struct http_reply *reply)
{
	struct json_in in = json_in_over(req->body, "make tenant");
	const char *name = json_in_name(&in, "name", JSON_IN_REQUIRED);

	check_tenant(&in);
	TP_TRY(json_in_end(&in));
	reply->status = 201;
	return tp_service_put_tenant(
		req->service, &req->actor, name, true, req->body, &reply->body);
}

struct torpor_error *api_change_tenant(struct http_request *req, struct http_reply *reply)
{
	struct json_in in = json_in_over(req->body, "change tenant");
	const char *name;

	check_tenant(&in);
	TP_TRY(json_in_end(&in));
	TP_TRY(api_name(req, 0, "tenant", &name));
	return tp_service_put_tenant(
		req->service, &req->actor, name, false, req->body, &reply->body);
}

struct torpor_error *api_remove_tenant(struct http_request *req, struct http_reply *reply)
{
	const char *name;

	(void)reply;
	TP_TRY(api_name(req, 0, "tenant", &name));
	return tp_service_remove_tenant(req->service, &req->actor, name);
}

/* --- tokens --- */

struct torpor_error *api_tokens(struct http_request *req, struct http_reply *reply)
{
	const char *tenant;

	TP_TRY(api_name(req, 0, "tenant", &tenant));
	return tp_service_tokens(req->service, &req->actor, tenant, &reply->body);
}

struct torpor_error *api_new_token(struct http_request *req, struct http_reply *reply)
{
	struct json_in in = json_in_over(req->body, "make token");
	const char *tenant;
	json_t *view;

	json_in_line(&in, "label", JSON_IN_OPTIONAL, 0, 64);
	json_in_number(&in, "expires_s", 1, API_SECONDS_MAX, 0);
	json_in_flag(&in, "admin", false);
	TP_TRY(json_in_end(&in));
	TP_TRY(api_name(req, 0, "tenant", &tenant));
	TP_TRY(tp_service_new_token(req->service, &req->actor, tenant, req->body, &view));
	reply->status = 201;
	reply->body = view;
	return NULL;
}

struct torpor_error *api_remove_token(struct http_request *req, struct http_reply *reply)
{
	const char *tenant, *id;

	(void)reply;
	TP_TRY(api_name(req, 0, "tenant", &tenant));
	TP_TRY(api_name(req, 1, "token", &id));
	return tp_service_remove_token(req->service, &req->actor, tenant, id);
}

/* --- audit, self --- */

struct torpor_error *api_audit(struct http_request *req, struct http_reply *reply)
{
	const char *session;
	uint64_t before, limit;

	TP_TRY(api_query_text(req, "session", TP_ID_LEN, &session));
	TP_TRY(http_query_number(req, "before", 1, INT64_MAX, 0, &before));
	TP_TRY(http_query_number(req, "limit", 1, API_PAGE_MAX, API_PAGE_DEFAULT, &limit));
	return tp_service_audit(req->service, &req->actor, session, before, limit, &reply->body);
}

struct torpor_error *api_self(struct http_request *req, struct http_reply *reply)
{
	TP_TRY(tp_service_self(req->service, &req->actor, &reply->body));
	json_object_set_new(reply->body, "login", json_boolean(req->login));
	return NULL;
}
