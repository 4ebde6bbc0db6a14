/* SPDX-License-Identifier: Apache-2.0 */
/* The dashboard's files, from memory. */
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "daemon/api.h"
#include "daemon/dashboard.h"

/* Everything that a page of ours needs comes from here; nothing else may be loaded, framed, sent
 * to, or run. */
#define POLICY                                                                                     \
	"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "            \
	"img-src 'self' data:; font-src 'self'; worker-src 'self'; manifest-src 'self'; "          \
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

static const struct dashboard_file *find(const char *path)
{
	for (const struct dashboard_file *file = dashboard_files; file->path; file++) {
		if (strcmp(file->path, path) == 0)
			return file;
	}
	return NULL;
}

static bool is_break(char c)
{
	return c == '\0' || c == ',' || c == ';' || c == ' ' || c == '\t';
}

/* Whether WEIGHT ("q=0.5") says: not at all. */
static bool is_zero(const char *weight)
{
	weight += strspn(weight, " \t");
	if (strncasecmp(weight, "q=0", 3) != 0)
		return false;
	weight += 3 + strspn(weight + 3, ".0");
	return is_break(*weight);
}

/* Accept-Encoding: "br, gzip;q=0.5" (RFC 9110, 12.5.3). */
static bool takes_gzip(const struct http_request *req)
{
	const char *at = http_header(req, "Accept-Encoding");

	while (at && *at) {
		at += strspn(at, ", \t");
		if (strncasecmp(at, "gzip", 4) == 0 && is_break(at[4])) {
			const char *rest = at + 4 + strspn(at + 4, " \t");
			return *rest != ';' || !is_zero(rest + 1);
		}
		at += strcspn(at, ",");
	}
	return false;
}

/* If-None-Match: one of a list, or any (RFC 9110, 13.1.2); weak ones are compared without W/. */
static bool is_known(const struct http_request *req, const char *etag)
{
	const char *known = http_header(req, "If-None-Match");

	if (!known)
		return false;
	return strcmp(known, "*") == 0 || strstr(known, strchr(etag, '"'));
}

/* FOREVER: its name changes with what is in it. */
static void serve(const struct http_request *req, const struct dashboard_file *file, bool forever,
	struct http_reply *reply)
{
	bool gzip = file->gzip && takes_gzip(req);

	reply->cache_control = forever ? "public, max-age=31536000, immutable" : "no-cache";
	http_reply_header(reply, "ETag", tp_strdup(file->etag));
	http_reply_header(reply, "Vary", tp_strdup("Accept-Encoding"));
	http_reply_header(reply, "Content-Security-Policy", tp_strdup(POLICY));
	http_reply_header(reply, "Referrer-Policy", tp_strdup("no-referrer"));
	http_reply_header(reply, "Cross-Origin-Opener-Policy", tp_strdup("same-origin"));
	http_reply_header(reply, "Cross-Origin-Resource-Policy", tp_strdup("same-origin"));
	/* Whoever has it already gets its head; libmicrohttpd leaves the body away. */
	reply->status = is_known(req, file->etag) ? 304 : 200;
	if (gzip)
		http_reply_header(reply, "Content-Encoding", tp_strdup("gzip"));
	reply->bytes = gzip ? file->gzip : file->plain;
	reply->len = gzip ? file->gzip_len : file->plain_len;
	reply->content_type = file->type;
}

static struct torpor_error *no_file(void)
{
	return tp_error(TORPOR_E_NOT_FOUND, "route", NULL, "there is no such path");
}

struct torpor_error *api_index(struct http_request *req, struct http_reply *reply)
{
	const struct dashboard_file *file = find("/");

	if (file) {
		serve(req, file, false, reply);
		return NULL;
	}
	reply->text =
		tp_strdup("torpord answers; its dashboard isn't built in: install nodejs and "
			  "npm, then `meson configure build -Ddashboard=enabled` and build.\n");
	reply->content_type = "text/plain; charset=utf-8";
	return NULL;
}

struct torpor_error *api_favicon(struct http_request *req, struct http_reply *reply)
{
	const struct dashboard_file *file = find("/favicon.svg");

	if (!file)
		return no_file();
	serve(req, file, false, reply);
	return NULL;
}

struct torpor_error *api_asset(struct http_request *req, struct http_reply *reply)
{
	TP_FREE char *path = tp_asprintf("/assets/%s", req->params[0]);
	const struct dashboard_file *file = find(path);

	if (!file)
		return no_file();
	serve(req, file, true, reply);
	return NULL;
}
