/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who asks; and browsers.
 *
 * A browser shows its cookie with whatever is asked of this host, by whichever page. So what
 * changes something and is asked by a cookie must come from our own page, and that is seen in two
 * ways: a header that no other site's page can set (it would have to ask first, and is refused),
 * and what the browser itself says of where the page is from.
 */
#include "daemon/http_priv.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

#define OUR_HEADER "Torpor-Dashboard"

/* --- the cookie --- */

/*
 * Its name has the port that the browser asks at: cookies know no ports, and two torpords on one
 * host are two. What begins with __Host- browsers only take over TLS, and for this host alone.
 */
static void cookie_name(const struct http_exchange *ex, char name[40])
{
	const char *host = http_header(&ex->req, "Host");
	const char *colon = host ? strrchr(host, ':') : NULL;
	const char *port = "";

	if (colon && !strchr(colon, ']') && strlen(colon + 1) <= 5 &&
		strspn(colon + 1, "0123456789") == strlen(colon + 1))
		port = colon + 1;
	snprintf(name, 40, "%storpor%s%s", ex->conn->tls ? "__Host-" : "", *port ? "-" : "", port);
}

/* VALUE "" and MAX_AGE_S 0: the browser is to forget it. */
static void put_cookie(const struct http_exchange *ex, struct http_reply *reply, const char *value,
	uint64_t max_age_s)
{
	char name[40];

	cookie_name(ex, name);
	http_reply_header(reply, "Set-Cookie",
		tp_asprintf("%s=%s; Path=/; Max-Age=%" PRIu64 "; HttpOnly; SameSite=Strict%s", name,
			value, max_age_s, ex->conn->tls ? "; Secure" : ""));
}

/* --- who asks --- */

/* ERR (taken) says why a login is no good any more; whoever shows it learns no more than that. */
static struct torpor_error *over(struct torpor_error *err)
{
	if (torpor_error_code(err) != TORPOR_E_DENIED)
		return err;
	tp_log(TP_LOG_DEBUG, "a login was refused: %s", torpor_error_message(err));
	torpor_error_free(err);
	return tp_error_refusal(tp_error_hint(tp_error(TORPOR_E_DENIED, "identify the caller", NULL,
						      "the login is over"),
					"Sign in again."),
		"login-over", 0);
}

static struct torpor_error *actor_of_login(
	struct http *http, const char *credential, const char *id, struct tp_actor *actor_out)
{
	struct tp_actor actor;

	TP_TRY(tp_auth_credential_actor(http->options.auth, credential, &actor));
	TP_TRY(tp_service_check_login(http->options.service, &actor, id));
	*actor_out = actor;
	return NULL;
}

static void take_login(struct http_exchange *ex, struct tp_login *login)
{
	struct tp_actor *actor = &ex->req.actor;

	ex->req.login = true;
	strcpy(ex->login_id, login->id);
	ex->login_until_ns = login->expires_ns;
	ex->credential = TP_TAKE(login->credential);
	if (!actor->expires_ns || actor->expires_ns > login->expires_ns)
		actor->expires_ns = login->expires_ns;
}

static struct torpor_error *identify_login(struct http_exchange *ex, const char *cookie)
{
	struct tp_login login;
	struct torpor_error *err =
		tp_login_open(ex->http->options.logins, cookie, tp_realtime_ns(), &login);

	if (err)
		return over(err);
	err = actor_of_login(ex->http, login.credential, login.id, &ex->req.actor);
	if (!err)
		take_login(ex, &login);
	tp_login_deinit(&login);
	return err ? over(err) : NULL;
}

struct torpor_error *http_identify(struct http_exchange *ex)
{
	const char *authorization = http_header(&ex->req, "Authorization");
	int peer_fd = ex->conn->is_unix ? ex->conn->fd : -1;
	char name[40];

	cookie_name(ex, name);
	const char *cookie = MHD_lookup_connection_value(ex->mhd, MHD_COOKIE_KIND, name);
	if (!authorization && cookie)
		return identify_login(ex, cookie);
	TP_TRY(tp_auth_identify(ex->http->options.auth, authorization, peer_fd, &ex->req.actor));
	ex->credential = tp_auth_credential(authorization, peer_fd);
	return NULL;
}

struct torpor_error *http_still_identified(struct http_request *req)
{
	const struct http_exchange *ex = (const struct http_exchange *)req;
	struct tp_actor actor;
	struct torpor_error *err;

	/* Somebody whom nobody knew is nobody still. */
	if (!ex->credential)
		return NULL;
	if (!ex->login_id[0])
		return tp_auth_credential_actor(ex->http->options.auth, ex->credential, &actor);
	if (tp_realtime_ns() >= ex->login_until_ns)
		return over(tp_error(TORPOR_E_DENIED, "open", "a login", "its time is over"));
	err = actor_of_login(ex->http, ex->credential, ex->login_id, &actor);
	return err ? over(err) : NULL;
}

/* --- whose page it is --- */

static struct torpor_error *cross_site(const char *why)
{
	return tp_error_refusal(
		tp_error_hint(tp_error(TORPOR_E_DENIED, "check where the request is from", NULL,
				      "%s", why),
			"With a cookie only torpord's own pages may ask for this; programs use "
			"`Authorization: Bearer TOKEN`."),
		"cross-site", 0);
}

/* "https://HOST" behind its scheme is what Host says. */
static bool is_origin(const char *origin, const char *host)
{
	const char *slashes = strstr(origin, "://");

	return slashes && host && strcasecmp(slashes + 3, host) == 0;
}

struct torpor_error *http_check_same_site(const struct http_exchange *ex)
{
	const char *ours = http_header(&ex->req, OUR_HEADER);
	const char *site = http_header(&ex->req, "Sec-Fetch-Site");
	const char *origin = http_header(&ex->req, "Origin");

	if (!ours || strcmp(ours, "1") != 0)
		return cross_site("the header " OUR_HEADER ": 1 is missing");
	/* A browser that says this has compared the two itself, whatever a proxy made of Host. */
	if (site && strcmp(site, "same-origin") == 0)
		return NULL;
	if (site)
		return cross_site("Sec-Fetch-Site isn't same-origin");
	if (!origin)
		return cross_site("there is neither Sec-Fetch-Site nor Origin");
	if (!is_origin(origin, http_header(&ex->req, "Host")))
		return cross_site("Origin isn't this host");
	return NULL;
}

/* --- signing in and out --- */

/* Its time is the shorter of the token's and what is configured. */
static uint64_t login_until(struct http *http, const struct tp_actor *actor)
{
	uint64_t until = tp_realtime_ns() + http_bounds(http).login_time_ns;

	return actor->expires_ns ? TP_MIN(until, actor->expires_ns) : until;
}

static struct torpor_error *credential_of(
	struct http_exchange *ex, const char *token, const char *code, char **credential_out)
{
	if (!token == !code)
		return tp_error(TORPOR_E_INVALID, "sign in", NULL,
			"\"token\" or \"code\" must be there, and not both");
	if (token) {
		*credential_out = tp_asprintf("Bearer %s", token);
		return NULL;
	}
	*credential_out = tp_login_code_use(ex->http->options.logins, code, tp_now_ns());
	if (*credential_out)
		return NULL;
	return tp_error_refusal(
		tp_error_hint(tp_error(TORPOR_E_DENIED, "sign in", NULL,
				      "the link was used before, or its %d seconds are over",
				      TP_LOGIN_CODE_S),
			"Run `torpor dashboard` again, or sign in with a token."),
		"code-wrong", 0);
}

static struct torpor_error *sign_in(
	struct http_exchange *ex, struct tp_login *login, struct http_reply *reply)
{
	struct http *http = ex->http;
	struct tp_actor actor;
	TP_FREE char *cookie = NULL;

	TP_TRY(tp_auth_credential_actor(http->options.auth, login->credential, &actor));
	login->expires_ns = login_until(http, &actor);
	actor.expires_ns = login->expires_ns;
	TP_TRY(tp_login_seal(http->options.logins, login, &cookie));
	TP_TRY(tp_service_login(http->options.service, &actor));
	/* Who asked before, by another cookie, doesn't any more. */
	ex->req.actor = actor;
	ex->req.login = true;
	uint64_t left_ns = login->expires_ns - TP_MIN(tp_realtime_ns(), login->expires_ns);
	put_cookie(ex, reply, cookie, TP_DIV_UP(left_ns, TP_NSEC_PER_SEC));
	return NULL;
}

struct torpor_error *http_sign_in(
	struct http_request *req, const char *token, const char *code, struct http_reply *reply)
{
	struct http_exchange *ex = (struct http_exchange *)req;
	struct tp_login login = {0};

	TP_TRY(http_check_same_site(ex));
	TP_TRY(credential_of(ex, token, code, &login.credential));
	struct torpor_error *err = sign_in(ex, &login, reply);
	tp_login_deinit(&login);
	return err;
}

struct torpor_error *http_sign_out(struct http_request *req, struct http_reply *reply)
{
	struct http_exchange *ex = (struct http_exchange *)req;

	struct tp_actor actor;

	put_cookie(ex, reply, "", 0);
	if (!ex->login_id[0])
		return NULL;
	/* Whomever the admin acts for: the login is the admin's. */
	TP_TRY(tp_auth_credential_actor(ex->http->options.auth, ex->credential, &actor));
	return tp_service_logout(ex->http->options.service, &actor, ex->login_id);
}

/* --- links --- */

/* "127.0.0.1:8470", where FD listens; for what listens everywhere the host's name. NULL if that
 * isn't TCP. The caller's to free. */
static char *where_listens(int fd)
{
	struct sockaddr_storage any = {0};
	const struct sockaddr_in *four = (const struct sockaddr_in *)&any;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&any;
	socklen_t len = sizeof(any);
	char name[256];

	if (getsockname(fd, (struct sockaddr *)&any, &len) != 0 ||
		(any.ss_family != AF_INET && any.ss_family != AF_INET6))
		return NULL;
	bool is_four = any.ss_family == AF_INET;
	int port = ntohs(is_four ? four->sin_port : six->sin6_port);
	if (is_four ? four->sin_addr.s_addr == INADDR_ANY
		    : IN6_IS_ADDR_UNSPECIFIED(&six->sin6_addr)) {
		if (gethostname(name, sizeof(name)) != 0)
			strcpy(name, "localhost");
		return tp_asprintf("%s:%d", name, port);
	}
	inet_ntop(any.ss_family,
		is_four ? (const void *)&four->sin_addr : (const void *)&six->sin6_addr, name,
		sizeof(name));
	return tp_asprintf(is_four ? "%s:%d" : "[%s]:%d", name, port);
}

/* What a browser opens to sign in with CODE; NULL: none can. The caller's to free. */
static char *url_of(const struct http_options *options, const char *code)
{
	for (size_t i = 0; i < options->n_listeners; i++) {
		TP_FREE char *where = where_listens(options->listeners[i].fd);
		if (where)
			return tp_asprintf("%s://%s/#code=%s",
				options->listeners[i].tls ? "https" : "http", where, code);
	}
	return NULL;
}

struct torpor_error *http_login_link(struct http_request *req, json_t **view_out)
{
	struct http_exchange *ex = (struct http_exchange *)req;
	const struct http_options *options = &ex->http->options;
	char code[TP_LOGIN_CODE_LEN + 1];

	/* Else a login could go on for ever, by one code after the other. */
	if (ex->login_id[0])
		return tp_error_hint(
			tp_error(TORPOR_E_DENIED, "make a link", NULL, "a login can't make others"),
			"Use the token, or `torpor dashboard`.");
	if (http_header(req, "Torpor-Tenant"))
		return tp_error_hint(
			tp_error(TORPOR_E_INVALID, "make a link", NULL,
				"it signs in as who asks for it, and not for a tenant"),
			"Make the tenant a token, and ask for a link with that.");
	tp_login_code_new(options->logins, req->actor.tenant, ex->credential, tp_now_ns(), code);
	TP_FREE char *url = url_of(options, code);
	*view_out = json_pack(
		"{s:s, s:i, s:s?}", "code", code, "expires_s", TP_LOGIN_CODE_S, "url", url);
	return NULL;
}
