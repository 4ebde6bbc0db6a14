/* SPDX-License-Identifier: Apache-2.0 */
/* A client outside the tree, with nothing but what is installed: outside_client SOCKET. */
#include <stdio.h>
#include <string.h>

#include <torpor/client.h>

int main(int argc, char **argv)
{
	struct torpor_client_options options = {.socket_path = argc > 1 ? argv[1] : NULL};
	struct torpor_remote_session session;
	struct torpor_client *client;
	struct torpor_error *err = torpor_client_open(&options, &client);

	if (err) {
		fprintf(stderr, "%s\n", torpor_error_message(err));
		return 1;
	}
	/* Nobody listens there. */
	err = torpor_client_get(client, "k3v9q2m7x4tz0d8h", NULL, &session);
	if (!err || torpor_error_code(err) != TORPOR_E_IO || !torpor_error_hint(err))
		return 2;
	if (!strstr(torpor_error_message(err), "connect to"))
		return 3;
	torpor_error_free(err);
	torpor_client_close(client);
	return 0;
}
