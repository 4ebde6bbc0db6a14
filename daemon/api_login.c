/* SPDX-License-Identifier: Apache-2.0 */
/* Browsers that sign in and out: a token or a code for a cookie. */
#include "daemon/api.h"

struct torpor_error *api_login(struct http_request *req, struct http_reply *reply)
{
	struct json_in in = json_in_over(req->body, "sign in");
	const char *token = json_in_line(&in, "token", JSON_IN_OPTIONAL, 1, API_TOKEN_MAX);
	const char *code = json_in_line(&in, "code", JSON_IN_OPTIONAL, 1, API_CODE_MAX);

	TP_TRY(json_in_end(&in));
	TP_TRY(http_sign_in(req, token, code, reply));
	return api_self(req, reply);
}

struct torpor_error *api_logout(struct http_request *req, struct http_reply *reply)
{
	TP_TRY(api_no_fields(req, "sign out"));
	return http_sign_out(req, reply);
}

struct torpor_error *api_login_link(struct http_request *req, struct http_reply *reply)
{
	TP_TRY(api_no_fields(req, "make a link"));
	reply->status = 201;
	return http_login_link(req, &reply->body);
}
