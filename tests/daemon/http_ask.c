/* SPDX-License-Identifier: Apache-2.0 */
/* One server, single requests to it, and what is expected of the replies. */
#include "http_ask.h"

#include <criterion/criterion.h>

#include <string.h>

#include "base/fd.h"
#include "base/mem.h"

struct test_server server;

void server_start(void)
{
	test_server_start(&server, false, NULL);
}

void server_stop(void)
{
	test_server_stop(&server);
}

struct client_reply ask(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	TP_FREE char *text = tp_vasprintf(fmt, ap);
	va_end(ap);
	TP_FD int fd = client_unix(&server);
	client_send(fd, "%s", text);
	return client_read(fd);
}

struct client_reply post(const char *path, const char *headers, const char *body)
{
	return ask("POST %s HTTP/1.1\r\nHost: h\r\n%sContent-Length: %zu\r\n\r\n%s", path, headers,
		strlen(body), body);
}

void expect_status(struct client_reply reply, int status)
{
	cr_expect(reply.status == status, "%d instead of %d: %s", reply.status, status,
		reply.body ? reply.body : "(nothing)");
	client_reply_deinit(&reply);
}

void expect_member(const struct client_reply *reply, const char *name, const char *value)
{
	json_t *body = reply->body ? json_loads(reply->body, 0, NULL) : NULL;
	const json_t *member = json_object_get(body, name);
	TP_FREE char *text = member ? json_dumps(member, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;

	cr_expect(text && strcmp(text, value) == 0, "%s is %s instead of %s", name, text, value);
	json_decref(body);
}

void expect_header(const struct client_reply *reply, const char *name, const char *value)
{
	TP_FREE char *text = client_header(reply->head ? reply->head : "", name);

	cr_expect(value ? text && strcmp(text, value) == 0 : !text, "%s is %s instead of %s", name,
		text, value);
}
