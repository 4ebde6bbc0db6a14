/* SPDX-License-Identifier: Apache-2.0 */
/* What the client's tests share. */
#include "support.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

struct torpor_client *ct_open(struct peer *peer, const char *script)
{
	struct torpor_client *client;

	/* What the tests are run with must not tell them apart. */
	unsetenv("TORPOR_URL");
	unsetenv("TORPOR_SOCKET");
	unsetenv("TORPOR_TOKEN");
	unsetenv("TORPOR_TOKEN_FILE");
	peer_start(peer, script);
	ct_ok(torpor_client_open(
		&(struct torpor_client_options){.socket_path = peer->path}, &client));
	return client;
}

void ct_close(struct peer *peer, struct torpor_client *client)
{
	torpor_client_close(client);
	char *failure = peer_end(peer);
	cr_assert_null(failure, "%s", failure);
}

void ct_ok(struct torpor_error *err)
{
	cr_assert_null(err, "%s", torpor_error_message(err));
}

void ct_fails(struct torpor_error *err, enum torpor_errc code, const char *text)
{
	cr_assert_not_null(err, "there is no error");
	cr_assert_eq(torpor_error_code(err), code, "%s: %s",
		torpor_errc_name(torpor_error_code(err)), torpor_error_message(err));
	cr_assert_not_null(
		strstr(torpor_error_message(err), text), "%s", torpor_error_message(err));
	torpor_error_free(err);
}
