/* SPDX-License-Identifier: Apache-2.0 */
/* Browsers: signing in and out, whose page it is that asks, and what cookies are worth. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "daemon/login.h"
#include "http_client.h"
#include "stub_service.h"

#define OURS  "Torpor-Dashboard: 1\r\nSec-Fetch-Site: same-origin\r\n"
#define TOKEN "{\"token\":\"" STUB_TOKEN "\"}"

static struct test_server server;

static void setup(void)
{
	test_server_start(&server, false, NULL);
}

static void setup_tls(void)
{
	test_server_start(&server, true, NULL);
}

static void teardown(void)
{
	test_server_stop(&server);
}

TestSuite(login, .init = setup, .fini = teardown);
TestSuite(logins);

static void must(struct torpor_error *err)
{
	cr_assert_null(err, "%s", torpor_error_message(err));
}

/* --- asking --- */

/* Over TCP, at Host h:8470. BODY NULL: none. */
static struct client_reply ask(
	const char *method, const char *path, const char *headers, const char *body)
{
	TP_FD int fd = client_tcp(&server);

	client_send(fd, "%s %s HTTP/1.1\r\nHost: h:8470\r\nConnection: close\r\n%s", method, path,
		headers);
	if (body)
		client_send(fd, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
			strlen(body));
	client_send(fd, "\r\n%s", body ? body : "");
	return client_read(fd);
}

static void expect(struct client_reply reply, int status, const char *part)
{
	cr_expect_eq(reply.status, status, "%d, not %d: %s", reply.status, status, reply.body);
	if (part)
		cr_expect(reply.body && strstr(reply.body, part), "no %s in %s", part, reply.body);
	client_reply_deinit(&reply);
}

/* "Cookie: NAME=VALUE\r\n" of a login with BODY, the caller's to free. */
static char *sign_in(const char *body)
{
	struct client_reply reply = ask("POST", "/login", OURS, body);
	TP_FREE char *set = client_header(reply.head, "Set-Cookie");

	cr_assert_eq(reply.status, 200, "%s", reply.body);
	cr_assert_not_null(set);
	client_reply_deinit(&reply);
	return tp_asprintf("Cookie: %.*s\r\n", (int)strcspn(set, ";"), set);
}

static void expect_show(const char *headers, int status, const char *part)
{
	expect(ask("GET", "/show/x", headers, NULL), status, part);
}

/* --- signing in --- */

Test(login, token_becomes_a_cookie)
{
	struct client_reply reply = ask("POST", "/login", OURS, TOKEN);
	TP_FREE char *set = client_header(reply.head, "Set-Cookie");

	cr_assert_eq(reply.status, 200);
	cr_assert_not_null(strstr(reply.body, "\"tenant\":\"alice\""));
	cr_assert(strncmp(set, "torpor-8470=", 12) == 0, "%s", set);
	cr_assert_not_null(strstr(set, "; Path=/; Max-Age=3600; HttpOnly; SameSite=Strict"));
	cr_assert_null(strstr(set, "Secure"));
	cr_assert_null(strstr(set, STUB_TOKEN));
	client_reply_deinit(&reply);
	cr_assert_eq(stub.logins, 1);

	TP_FREE char *cookie = tp_asprintf("Cookie: a=b; %.*s\r\n", (int)strcspn(set, ";"), set);
	expect_show(cookie, 200, "\"login\":true");
	expect_show("", 401, NULL);
	/* Of another port it is another's. */
	TP_FREE char *other =
		tp_asprintf("Cookie: torpor-1=%s\r\n", strstr(cookie, "torpor-8470=") + 12);
	expect_show(other, 401, NULL);
}

Test(login, says_why_not)
{
	expect(ask("POST", "/login", OURS, "{\"token\":\"tpr_none\"}"), 401, "\"token-wrong\"");
	expect(ask("POST", "/login", OURS, "{\"token\":\"" STUB_OLD_TOKEN "\"}"), 401,
		"\"token-expired\"");
	expect(ask("POST", "/login", OURS, "{\"token\":\"a b\"}"), 401, "\"token-wrong\"");
	expect(ask("POST", "/login", OURS, "{\"code\":\"0123\"}"), 401, "\"code-wrong\"");
	expect(ask("POST", "/login", OURS, "{}"), 400, "urn:torpor:problem:invalid");
	expect(ask("POST", "/login", OURS, "{\"token\":\"a\",\"code\":\"b\"}"), 400,
		"urn:torpor:problem:invalid");
	cr_assert_eq(stub.logins, 0);
}

Test(login, lasts_no_longer_than_its_token)
{
	uint64_t until_ns = tp_realtime_ns() + 100 * TP_NSEC_PER_SEC;
	unsigned int max_age_s = 0;

	stub.token_until_ns = until_ns;
	struct client_reply reply = ask("POST", "/login", OURS, TOKEN);
	uint64_t now_ns = tp_realtime_ns();
	TP_FREE char *set = client_header(reply.head, "Set-Cookie");
	const char *age = strstr(set, "Max-Age=");
	cr_assert(age && sscanf(age, "Max-Age=%u;", &max_age_s) == 1, "%s", set);
	cr_assert_leq(max_age_s, 100);
	cr_assert_geq(max_age_s, (until_ns - now_ns) / TP_NSEC_PER_SEC);
	client_reply_deinit(&reply);
}

/* --- its end --- */

Test(login, ends_with_its_token)
{
	TP_FREE char *cookie = sign_in(TOKEN);

	expect_show(cookie, 200, NULL);
	stub.revoked = true;
	expect_show(cookie, 401, "\"login-over\"");
	/* What needs no identity isn't refused. */
	expect(ask("GET", "/open", cookie, NULL), 200, "\"tenant\":\"\"");
}

Test(login, ends_with_its_time)
{
	struct tp_login login = {
		.expires_ns = tp_realtime_ns() - 1, .credential = tp_strdup("Bearer " STUB_TOKEN)};
	TP_FREE char *value = NULL;

	must(tp_login_seal(server.logins, &login, &value));
	TP_FREE char *cookie = tp_asprintf("Cookie: torpor-8470=%s\r\n", value);
	expect_show(cookie, 401, "\"login-over\"");
	tp_login_deinit(&login);
}

Test(login, ends_when_signing_out)
{
	TP_FREE char *cookie = sign_in(TOKEN);
	TP_FREE char *ours = tp_asprintf(OURS "%s", cookie);
	struct client_reply reply = ask("POST", "/logout", ours, "");
	TP_FREE char *set = client_header(reply.head, "Set-Cookie");

	cr_assert_eq(reply.status, 204);
	cr_assert_not_null(strstr(set, "torpor-8470=; Path=/; Max-Age=0;"));
	client_reply_deinit(&reply);
	/* Not only the browser has forgotten it. */
	expect_show(cookie, 401, "\"login-over\"");
	expect(ask("POST", "/logout", ours, ""), 204, NULL);
	expect(ask("POST", "/logout", OURS, ""), 204, NULL);
	cr_assert_eq(stub.logins, 0);
}

Test(login, sign_out_is_the_admins_own_whomever_it_acts_for)
{
	TP_FREE char *cookie = sign_in("{\"token\":\"" STUB_ADMIN_TOKEN "\"}");
	TP_FREE char *acting = tp_asprintf(OURS "Torpor-Tenant: " STUB_TENANT "\r\n%s", cookie);

	expect_show(acting, 200, "\"tenant\":\"alice\"");
	expect(ask("POST", "/logout", acting, ""), 204, NULL);
	expect_show(cookie, 401, "\"login-over\"");
}

Test(login, cookies_that_were_not_made_here)
{
	TP_FREE char *cookie = sign_in(TOKEN);
	size_t len = strlen(cookie);

	/* Each character in turn: nothing of it can be changed. The last one has spare bits. */
	for (size_t i = strcspn(cookie, "=") + 1; i < len - 3; i += 7) {
		TP_FREE char *bad = tp_strdup(cookie);
		bad[i] = bad[i] == 'A' ? 'B' : 'A';
		expect_show(bad, 401, "\"login-over\"");
	}
	expect_show("Cookie: torpor-8470=x\r\n", 401, "\"login-over\"");
	expect_show("Cookie: torpor-8470=\r\n", 401, NULL);
	expect_show("Cookie: torpor-8470=" STUB_TOKEN "\r\n", 401, NULL);
}

/* --- whose page it is --- */

Test(login, other_sites_pages_change_nothing)
{
	static const struct {
		const char *headers;
		bool ours;
	} cases[] = {
		{OURS, true},
		{"Torpor-Dashboard: 1\r\nOrigin: http://h:8470\r\n", true},
		{"Torpor-Dashboard: 1\r\nOrigin: HTTPS://H:8470\r\n", true},
		{"Torpor-Dashboard: 1\r\nSec-Fetch-Site: same-origin\r\nOrigin: http://proxy\r\n",
			true},
		{"", false},
		{"Sec-Fetch-Site: same-origin\r\n", false},
		{"Torpor-Dashboard: 1\r\n", false},
		{"Torpor-Dashboard: 0\r\nSec-Fetch-Site: same-origin\r\n", false},
		{"Torpor-Dashboard: 1\r\nSec-Fetch-Site: cross-site\r\n", false},
		{"Torpor-Dashboard: 1\r\nSec-Fetch-Site: same-site\r\nOrigin: http://h:8470\r\n",
			false},
		{"Torpor-Dashboard: 1\r\nSec-Fetch-Site: none\r\n", false},
		{"Torpor-Dashboard: 1\r\nOrigin: http://h:8471\r\n", false},
		{"Torpor-Dashboard: 1\r\nOrigin: http://evil.example\r\n", false},
		{"Torpor-Dashboard: 1\r\nOrigin: null\r\n", false},
	};
	TP_FREE char *cookie = sign_in(TOKEN);

	for (size_t i = 0; i < TP_ARRAY_LEN(cases); i++) {
		TP_FREE char *both = tp_asprintf("%s%s", cases[i].headers, cookie);
		const char *part = cases[i].ours ? NULL : "\"cross-site\"";
		expect(ask("POST", "/show", both, "{}"), cases[i].ours ? 201 : 403, part);
		expect(ask("PATCH", "/show/a", both, "{}"), cases[i].ours ? 200 : 403, part);
		expect(ask("DELETE", "/show/a", both, NULL), cases[i].ours ? 204 : 403, part);
		expect(ask("POST", "/login", cases[i].headers, TOKEN), cases[i].ours ? 200 : 403,
			part);
		expect(ask("GET", "/show/a", both, NULL), 200, NULL);
	}
}

Test(login, tokens_need_no_page)
{
	TP_FREE char *cookie = sign_in(TOKEN);
	TP_FREE char *both =
		tp_asprintf("Authorization: Bearer " STUB_ADMIN_TOKEN "\r\n%s", cookie);

	/* And what is shown on purpose counts before what a browser adds. */
	expect(ask("POST", "/show", both, "{}"), 201, "\"admin\":true");
	expect_show("Authorization: Bearer tpr_none\r\n", 401, NULL);
}

/* --- links --- */

static char *code_of(struct client_reply *reply)
{
	json_t *body = json_loads(reply->body, 0, NULL);
	char *code = tp_strdup(json_string_value(json_object_get(body, "code")));

	cr_assert_eq(reply->status, 201, "%s", reply->body);
	cr_assert_eq(json_integer_value(json_object_get(body, "expires_s")), 60);
	TP_FREE char *url = tp_asprintf("http://127.0.0.1:%d/#code=%s", server.port, code);
	cr_assert_str_eq(json_string_value(json_object_get(body, "url")), url);
	json_decref(body);
	client_reply_deinit(reply);
	return code;
}

Test(login, link_signs_in_once)
{
	struct client_reply reply =
		ask("POST", "/login-links", "Authorization: Bearer " STUB_TOKEN "\r\n", "");
	TP_FREE char *code = code_of(&reply);
	TP_FREE char *body = tp_asprintf("{\"code\":\"%s\"}", code);
	TP_FREE char *cookie = sign_in(body);

	expect_show(cookie, 200, "\"tenant\":\"alice\"");
	expect(ask("POST", "/login", OURS, body), 401, "\"code-wrong\"");
}

Test(login, link_of_who_needs_no_token)
{
	TP_FD int fd = client_unix(&server);

	client_send(fd, "POST /login-links HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
	struct client_reply reply = client_read(fd);
	TP_FREE char *code = code_of(&reply);
	TP_FREE char *body = tp_asprintf("{\"code\":\"%s\"}", code);
	TP_FREE char *cookie = sign_in(body);
	expect_show(cookie, 200, "\"admin\":true");
}

Test(login, link_of_a_token_that_was_removed)
{
	struct client_reply reply =
		ask("POST", "/login-links", "Authorization: Bearer " STUB_TOKEN "\r\n", "");
	TP_FREE char *code = code_of(&reply);
	TP_FREE char *body = tp_asprintf("{\"code\":\"%s\"}", code);

	stub.revoked = true;
	expect(ask("POST", "/login", OURS, body), 401, "\"token-wrong\"");
}

Test(login, links_are_not_for_everybody)
{
	TP_FREE char *cookie = sign_in(TOKEN);
	TP_FREE char *ours = tp_asprintf(OURS "%s", cookie);

	expect(ask("POST", "/login-links", "", ""), 401, NULL);
	expect(ask("POST", "/login-links", ours, ""), 403, "can't make others");
	expect(ask("POST", "/login-links",
		       "Authorization: Bearer " STUB_ADMIN_TOKEN "\r\nTorpor-Tenant: alice\r\n",
		       ""),
		400, NULL);
}

/* --- over TLS --- */

/* The answer to a request on a connection of its own. */
static char *ask_tls(const char *request)
{
	TP_FREE char *command = tp_asprintf("printf '%s' | timeout 20 openssl s_client -quiet "
					    "-connect 127.0.0.1:%d 2>/dev/null",
		request, server.port);
	char text[4096] = "";
	FILE *pipe = popen(command, "r");

	cr_assert_not_null(pipe);
	size_t n = fread(text, 1, sizeof(text) - 1, pipe);
	text[n] = '\0';
	pclose(pipe);
	return tp_strdup(text);
}

Test(login_tls, cookie_is_for_tls_alone, .init = setup_tls, .fini = teardown)
{
	TP_FREE char *text = ask_tls("POST /login HTTP/1.1\\r\\nHost: h:8470\\r\\n"
				     "Torpor-Dashboard: 1\\r\\nOrigin: https://h:8470\\r\\n"
				     "Content-Type: application/json\\r\\nConnection: close\\r\\n"
				     "Content-Length: 21\\r\\n\\r\\n{\"token\":\"tpr_alice\"}");

	cr_assert_not_null(strstr(text, "HTTP/1.1 200"), "%s", text);
	cr_assert_not_null(strstr(text, "Set-Cookie: __Host-torpor-8470="), "%s", text);
	cr_assert_not_null(strstr(text, "; SameSite=Strict; Secure\r\n"), "%s", text);
}

/* --- files --- */

Test(login, files_have_their_own_headers)
{
	struct client_reply reply = ask("GET", "/file", "", NULL);
	TP_FREE char *cache = client_header(reply.head, "Cache-Control");
	TP_FREE char *etag = client_header(reply.head, "ETag");
	TP_FREE char *sniff = client_header(reply.head, "X-Content-Type-Options");

	cr_assert_eq(reply.status, 200);
	cr_assert_eq(reply.body_len, 17);
	cr_assert_eq(memcmp(reply.body, "a file\0with a NUL", 17), 0);
	cr_assert_str_eq(cache, "no-cache");
	cr_assert_str_eq(etag, "W/\"1\"");
	cr_assert_str_eq(sniff, "nosniff");
	client_reply_deinit(&reply);

	/* Of one that is known: the same without the body. */
	reply = ask("GET", "/file", "If-None-Match: *\r\n", NULL);
	TP_FREE char *len = client_header(reply.head, "Content-Length");
	cr_assert_eq(reply.status, 304);
	cr_assert_eq(reply.body_len, 0);
	cr_assert(!len || strcmp(len, "17") == 0, "%s", len);
	client_reply_deinit(&reply);
}

/* --- the mechanism --- */

static struct tp_logins *logins_at(const char *path)
{
	struct tp_logins *logins;

	must(tp_logins_new(path, &logins));
	return logins;
}

Test(logins, outlive_the_process)
{
	char dir[] = "/tmp/torpor-login.XXXXXX";
	struct tp_login login = {.expires_ns = 1000, .credential = tp_strdup("Bearer x")};
	struct tp_login opened;
	struct stat st;
	char *cookie, *other;

	cr_assert_not_null(mkdtemp(dir));
	TP_FREE char *path = tp_asprintf("%s/login.key", dir);
	struct tp_logins *logins = logins_at(path);
	cr_assert(stat(path, &st) == 0 && st.st_size == 32 && (st.st_mode & 0777) == 0600);
	must(tp_login_seal(logins, &login, &cookie));
	must(tp_login_seal(logins, &login, &other));
	cr_assert_str_neq(cookie, other);
	tp_logins_free(logins);

	logins = logins_at(path);
	must(tp_login_open(logins, cookie, 999, &opened));
	cr_assert_str_eq(opened.credential, "Bearer x");
	cr_assert_eq(opened.expires_ns, 1000);
	cr_assert_eq(strlen(opened.id), TP_LOGIN_ID_LEN);
	tp_login_deinit(&opened);
	struct torpor_error *err = tp_login_open(logins, cookie, 1000, &opened);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_DENIED);
	torpor_error_free(err);
	tp_logins_free(logins);

	/* Another key opens nothing. */
	logins = logins_at(NULL);
	err = tp_login_open(logins, cookie, 0, &opened);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_DENIED);
	torpor_error_free(err);
	tp_logins_free(logins);

	cr_assert_eq(truncate(path, 31), 0);
	err = tp_logins_new(path, &logins);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_CORRUPT);
	torpor_error_free(err);
	unlink(path);
	rmdir(dir);
	free(cookie);
	free(other);
	tp_login_deinit(&login);
}

Test(logins, too_long_for_a_cookie)
{
	struct tp_logins *logins = logins_at(NULL);
	char *cookie = NULL;
	struct tp_login login = {.expires_ns = 1000, .credential = tp_calloc(1, 4001)};

	memset(login.credential, 'x', 2900);
	must(tp_login_seal(logins, &login, &cookie));
	cr_assert_leq(strlen(cookie), TP_LOGIN_COOKIE_MAX);
	free(cookie);
	memset(login.credential, 'x', 4000);
	struct torpor_error *err = tp_login_seal(logins, &login, &cookie);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_INVALID);
	torpor_error_free(err);
	tp_login_deinit(&login);
	tp_logins_free(logins);
}

Test(logins, codes_are_good_once_and_for_a_minute)
{
	struct tp_logins *logins = logins_at(NULL);
	char codes[TP_LOGIN_CODES + 1][TP_LOGIN_CODE_LEN + 1];
	char other[TP_LOGIN_CODE_LEN + 1];
	uint64_t minute = TP_LOGIN_CODE_S * TP_NSEC_PER_SEC;

	tp_login_code_new(logins, "a", "one", 0, codes[0]);
	tp_login_code_new(logins, "a", "two", 0, codes[1]);
	TP_FREE char *one = tp_login_code_use(logins, codes[0], minute - 1);
	cr_assert_str_eq(one, "one");
	cr_assert_null(tp_login_code_use(logins, codes[0], 0));
	cr_assert_null(tp_login_code_use(logins, codes[1], minute));
	cr_assert_null(tp_login_code_use(logins, codes[1], 0));
	cr_assert_null(tp_login_code_use(logins, "", 0));

	/* Too many push out one's own, and nobody else's. */
	tp_login_code_new(logins, "b", "b's", 0, other);
	for (int i = 0; i <= TP_LOGIN_CODES; i++)
		tp_login_code_new(logins, "a", "more", 0, codes[i]);
	cr_assert_null(tp_login_code_use(logins, codes[0], 0));
	TP_FREE char *second = tp_login_code_use(logins, codes[1], 0);
	cr_assert_str_eq(second, "more");
	TP_FREE char *others = tp_login_code_use(logins, other, 0);
	cr_assert_str_eq(others, "b's");
	tp_logins_free(logins);
}
