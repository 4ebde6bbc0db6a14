/* SPDX-License-Identifier: Apache-2.0 */
/* The dashboard's files: who gets which form of them, and what comes along. */
#include "support.h"

#include "daemon/dashboard.h"
static const unsigned char page[] = "<!doctype html>";
static const unsigned char packed[] = "\x1f\x8b packed";

/* In place of those that were built. */
const struct dashboard_file dashboard_files[] = {
	{"/", "text/html; charset=utf-8", "W/\"0123\"", page, sizeof(page) - 1, packed,
		sizeof(packed) - 1},
	{"/assets/app-1a2b.js", "text/javascript; charset=utf-8", "W/\"4567\"", page,
		sizeof(page) - 1, NULL, 0},
	{"/favicon.svg", "image/svg+xml", "W/\"89ab\"", page, sizeof(page) - 1, NULL, 0},
	{0},
};

static const char *header_of(const struct fake *fake, const char *name)
{
	for (size_t i = 0; i < fake->reply.n_headers; i++) {
		if (strcmp(fake->reply.headers[i].name, name) == 0)
			return fake->reply.headers[i].value;
	}
	return NULL;
}

/* GET of PATTERN, with one header; to be deinited. */
static struct torpor_error *get(struct fake *fake, const char *pattern, const char *param,
	const char *header, const char *value)
{
	stub_reset();
	fake_init(fake, NULL);
	fake->req.params[0] = param;
	if (header)
		fake->headers = json_pack("{s:s}", header, value);
	struct torpor_error *err = fake_call(fake, route_handler("GET", pattern));
	json_decref((json_t *)fake->headers);
	fake->headers = NULL;
	return err;
}

Test(dashboard, page_comes_with_a_strict_policy)
{
	struct fake fake;

	must(get(&fake, "/", NULL, NULL, NULL));
	cr_assert_eq(fake.reply.bytes, page);
	cr_assert_eq(fake.reply.len, sizeof(page) - 1);
	cr_assert_str_eq(fake.reply.content_type, "text/html; charset=utf-8");
	cr_assert_str_eq(fake.reply.cache_control, "no-cache");
	cr_assert_str_eq(header_of(&fake, "ETag"), "W/\"0123\"");
	cr_assert_str_eq(header_of(&fake, "Vary"), "Accept-Encoding");
	cr_assert_str_eq(header_of(&fake, "Referrer-Policy"), "no-referrer");
	cr_assert_str_eq(header_of(&fake, "Cross-Origin-Opener-Policy"), "same-origin");
	cr_assert_null(header_of(&fake, "Content-Encoding"));
	const char *policy = header_of(&fake, "Content-Security-Policy");
	cr_assert(policy && strncmp(policy, "default-src 'none'; script-src 'self'; ", 39) == 0);
	cr_assert_not_null(strstr(policy, "frame-ancestors 'none'"));
	cr_assert_not_null(strstr(policy, "base-uri 'none'"));
	cr_assert_not_null(strstr(policy, "form-action 'none'"));
	cr_assert_null(strstr(policy, "unsafe"));
	cr_assert_null(strchr(policy, '*'));
	fake_deinit(&fake);
}

Test(dashboard, gzip_for_those_who_take_it)
{
	static const struct {
		const char *accept;
		bool gzip;
	} cases[] = {
		{"gzip", true},
		{"gzip, deflate, br", true},
		{"br;q=1.0, GZIP;q=0.5", true},
		{"deflate,gzip ; q=0.001", true},
		{"gzip;q=0", false},
		{"gzip; q=0.000, br", false},
		{"br", false},
		{"xgzip, gzipx", false},
		{"", false},
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(cases); i++) {
		struct fake fake;
		must(get(&fake, "/", NULL, "Accept-Encoding", cases[i].accept));
		const char *encoding = header_of(&fake, "Content-Encoding");
		cr_expect_eq(
			fake.reply.bytes, cases[i].gzip ? packed : page, "%s", cases[i].accept);
		cr_expect_eq(encoding != NULL, cases[i].gzip, "%s", cases[i].accept);
		cr_expect_eq(fake.reply.len, cases[i].gzip ? sizeof(packed) - 1 : sizeof(page) - 1);
		fake_deinit(&fake);
	}
}

Test(dashboard, what_would_not_be_smaller_goes_as_it_is)
{
	struct fake fake;

	must(get(&fake, "/assets/{name}", "app-1a2b.js", "Accept-Encoding", "gzip"));
	cr_assert_eq(fake.reply.bytes, page);
	cr_assert_null(header_of(&fake, "Content-Encoding"));
	cr_assert_str_eq(fake.reply.cache_control, "public, max-age=31536000, immutable");
	fake_deinit(&fake);
}

Test(dashboard, what_is_known_is_not_sent_again)
{
	static const struct {
		const char *known;
		bool same;
	} cases[] = {
		{"W/\"0123\"", true},
		{"\"0123\"", true},
		{"\"x\", W/\"0123\"", true},
		{"*", true},
		{"\"01234\"", false},
		{"0123", false},
		{"\"012\"", false},
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(cases); i++) {
		struct fake fake;
		must(get(&fake, "/", NULL, "If-None-Match", cases[i].known));
		cr_expect_eq(fake.reply.status == 304, cases[i].same, "%s", cases[i].known);
		cr_expect_str_eq(header_of(&fake, "ETag"), "W/\"0123\"");
		fake_deinit(&fake);
	}
}

Test(dashboard, other_names_are_not_found)
{
	static const char *const names[] = {
		"app-1a2b.jss", "app-1a2b.j", "..", "index.html", "%2e", "app-1a2b.js?"};
	struct fake fake;

	for (size_t i = 0; i < TP_ARRAY_LEN(names); i++) {
		struct torpor_error *err = get(&fake, "/assets/{name}", names[i], NULL, NULL);
		cr_expect_eq(torpor_error_code(err), TORPOR_E_NOT_FOUND, "%s", names[i]);
		torpor_error_free(err);
		fake_deinit(&fake);
	}
	must(get(&fake, "/favicon.svg", NULL, NULL, NULL));
	cr_assert_str_eq(fake.reply.content_type, "image/svg+xml");
	fake_deinit(&fake);
}

/* --- signing in: what is asked for --- */

Test(dashboard, login_reads_a_token_or_a_code)
{
	struct fake fake;

	stub_reset();
	fake_init(&fake, "{\"token\": \"tpr_x\"}");
	must(fake_call(&fake, route_handler("POST", "/v1/login")));
	must_be(json_array_get(stub.calls, 0), "{\"fn\": \"sign_in\", \"token\": \"tpr_x\"}");
	cr_assert(json_is_true(json_object_get(fake.reply.body, "login")));
	fake_deinit(&fake);

	stub_reset();
	fake_init(&fake, "{\"code\": \"c\"}");
	stub.code = TORPOR_E_DENIED;
	struct torpor_error *err = fake_call(&fake, route_handler("POST", "/v1/login"));
	cr_assert_eq(torpor_error_code(err), TORPOR_E_DENIED);
	torpor_error_free(err);
	must_be(json_array_get(stub.calls, 0), "{\"fn\": \"sign_in\", \"code\": \"c\"}");
	fake_deinit(&fake);
}
