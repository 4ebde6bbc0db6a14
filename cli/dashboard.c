/* SPDX-License-Identifier: Apache-2.0 */
/* torpor dashboard */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

/* Where torpord was asked at is where a browser finds it, too; on the socket only torpord knows.
 * NULL: nowhere. The caller's to free. */
static char *link_of(const struct torpor_client *client, const json_t *answer)
{
	const char *where = torpor_client_where(client);
	const char *url = json_string_value(json_object_get(answer, "url"));
	const char *code = json_string_value(json_object_get(answer, "code"));
	char *link = NULL;
	size_t len = strlen(where);

	if (strncmp(where, "http", 4) != 0)
		return url ? strdup(url) : NULL;
	while (len > 0 && where[len - 1] == '/')
		len--;
	if (asprintf(&link, "%.*s/#code=%s", (int)len, where, code) < 0)
		abort();
	return link;
}

static struct torpor_error *print_link(struct cli *cli, struct torpor_client *client, void *input)
{
	int *status = input;
	json_t *answer;
	struct torpor_error *err =
		cli_ask(cli, client, "POST", "/v1/login-links", json_object(), &answer);

	if (err)
		return err;
	char *link = link_of(client, answer);
	json_object_set_new(answer, "url", link ? json_string(link) : json_null());
	if (cli->json) {
		cli_print_json(json_incref(answer));
	} else if (link) {
		printf("%s\n", link);
		fprintf(stderr, "It signs one browser in, once, within %jd s.\n",
			(intmax_t)cli_integer(answer, "expires_s"));
	} else {
		fprintf(stderr,
			"torpor: torpord listens nowhere that a browser could ask at\n"
			"        In torpord.conf, [tcp]: listen = 127.0.0.1:8470 and plain = "
			"yes; then restart it.\n");
		*status = CLI_FAILED;
	}
	json_decref(answer);
	free(link);
	return NULL;
}

int cli_dashboard(struct cli *cli, int argc, char **argv)
{
	struct cli_words words = {
		.cli = cli,
		.args_doc = "",
		.doc = "Print a link that signs a browser in to torpord's dashboard, as whoever "
		       "asks.",
	};

	int status = CLI_OK;

	cli_parse_words(&words, argc, argv);
	free(words.words);
	int failed = cli_with_client(cli, print_link, &status);
	return failed ? failed : status;
}
