/* SPDX-License-Identifier: Apache-2.0 */
/* What was: of sessions, of the host, of the pool; and families of sessions. */
#include <string.h>

#include "daemon/api.h"

/* "window": hour (the default) or day. */
static struct torpor_error *read_window(const struct http_request *req, bool *day_out)
{
	const char *window = http_query(req, "window");

	if (window && strcmp(window, "hour") != 0 && strcmp(window, "day") != 0)
		return tp_error(
			TORPOR_E_INVALID, "read query", "window", "must be \"hour\" or \"day\"");
	*day_out = window && strcmp(window, "day") == 0;
	return NULL;
}

struct torpor_error *api_history(struct http_request *req, struct http_reply *reply)
{
	const char *id;
	bool day;

	TP_TRY(read_window(req, &day));
	TP_TRY(api_session_id(req, &id));
	return tp_service_history(req->service, &req->actor, id, day, &reply->body);
}

struct torpor_error *api_lineage(struct http_request *req, struct http_reply *reply)
{
	const char *id;

	TP_TRY(api_session_id(req, &id));
	return tp_service_lineage(req->service, &req->actor, id, &reply->body);
}

struct torpor_error *api_host_history(struct http_request *req, struct http_reply *reply)
{
	bool day;

	TP_TRY(read_window(req, &day));
	return tp_service_host_history(req->service, &req->actor, day, &reply->body);
}

struct torpor_error *api_pool_history(struct http_request *req, struct http_reply *reply)
{
	bool day;

	TP_TRY(read_window(req, &day));
	return tp_service_pool_history(req->service, &req->actor, day, &reply->body);
}
