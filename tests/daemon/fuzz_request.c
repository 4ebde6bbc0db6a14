/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes what reads bytes of strangers before a handler is called: paths, queries, JWTs, cookies;
 * and the configuration. The first byte says which, from '0' on.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "daemon/config.h"
#include "daemon/jwt.h"
#include "daemon/login.h"
#include "daemon/route.h"
#include "stub_routes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_decoded(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			abort();
	}
}

static void fuzz_path(const char *text)
{
	struct http_match match;

	torpor_error_free(http_match(http_routes, "GET", text, &match));
	for (size_t i = 0; i < HTTP_PARAMS_MAX && match.params[i]; i++)
		check_decoded(match.params[i]);
	http_match_deinit(&match);
}

static void fuzz_query(const char *text)
{
	struct http_query query;
	struct torpor_error *err = http_query_parse(text, &query);

	for (size_t i = 0; !err && i < query.n; i++) {
		check_decoded(query.pairs[i].name);
		check_decoded(query.pairs[i].value);
	}
	torpor_error_free(err);
	http_query_deinit(&query);
}

/* A file that has no name. */
static char *write_file(const char *text, size_t len, int *fd_out)
{
	int fd;

	if (tp_memfd("fuzz", 0, &fd) || tp_pwrite_full(fd, text, len, 0, "fuzz"))
		abort();
	*fd_out = fd;
	return tp_asprintf("/proc/self/fd/%d", fd);
}

static void fuzz_jwt(const char *text)
{
	static const char jwks[] = "{\"keys\":[{\"kty\":\"oct\",\"k\":"
				   "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}";
	static struct tp_jwt_keys *keys;
	struct tp_actor actor;

	if (!keys) {
		int fd;
		struct tp_auth_config config = {
			.jwks = write_file(jwks, strlen(jwks), &fd), .algorithms = TP_JWT_HS256};
		if (tp_jwt_keys_load(&config, &keys))
			abort();
		free(config.jwks);
		close(fd);
	}
	torpor_error_free(tp_jwt_verify(keys, text, 0, &actor));
}

/* Nothing that wasn't sealed opens. */
static void fuzz_login(const char *text)
{
	static struct tp_logins *logins;
	struct tp_login login;

	if (!logins && tp_logins_new(NULL, &logins))
		abort();
	struct torpor_error *err = tp_login_open(logins, text, 0, &login);
	if (!err || tp_login_code_use(logins, text, 0))
		abort();
	torpor_error_free(err);
}

static void fuzz_config(const char *text, size_t len)
{
	struct tp_config_faults faults;
	struct tp_daemon_config *config = NULL;
	TP_FD int fd = -1;
	TP_FREE char *path = write_file(text, len, &fd);
	struct torpor_error *err = tp_config_load(path, &faults, &config);

	if ((err == NULL) != (faults.n == 0))
		abort();
	torpor_error_free(err);
	tp_config_faults_deinit(&faults);
	tp_config_free(config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	TP_FREE char *text = tp_strndup((const char *)data + 1, size - 1);
	switch ((uint8_t)(data[0] - '0') % 5) {
	case 0:
		fuzz_path(text);
		break;
	case 1:
		fuzz_query(text);
		break;
	case 2:
		fuzz_jwt(text);
		break;
	case 4:
		fuzz_login(text);
		break;
	default:
		fuzz_config((const char *)data + 1, size - 1);
	}
	return 0;
}
