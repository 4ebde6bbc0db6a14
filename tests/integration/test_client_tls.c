/* SPDX-License-Identifier: Apache-2.0 */
/* The client's library and the command line, over TCP with TLS, against the real torpord. */
#include <criterion/criterion.h>
#include <string.h>
#include <torpor/client.h>

#include "base/macros.h"
#include "base/mem.h"
#include "daemon.h"
#include "support.h"

static struct it_daemon torpord;
static const char *token;

static void run(const char *command)
{
	cr_assert(system(command) == 0, "%s", command);
}

/* DIR/NAME.pem: an authority of its own. */
static void make_authority(const char *name)
{
	run(it_text("cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 "
		    "-nodes -days 2 -subj /CN=%s -keyout %s.key -out %s.pem 2>>openssl",
		torpord.dir, name, name, name));
}

/* torpord's certificate, for 127.0.0.1 and no other name, signed by the authority "ours". */
static void make_certificate(void)
{
	run(it_text("cd %s && openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
		    "-subj /CN=torpord -keyout key.pem -out request.pem 2>>openssl && "
		    "echo subjectAltName=IP:127.0.0.1 >extensions && "
		    "openssl x509 -req -in request.pem -CA ours.pem -CAkey ours.key "
		    "-CAcreateserial -days 2 -extfile extensions -out cert.pem 2>>openssl",
		torpord.dir));
}

/* Called by the tests themselves: after a failure in a suite's init there is no fini. */
static void begin(void)
{
	struct it_who admin = {.daemon = &torpord};

	it_daemon_init(&torpord, "[pool]\nwarm_min = 1\nwarm_max = 1\n");
	make_authority("ours");
	make_authority("theirs");
	make_certificate();
	it_daemon_start(&torpord);
	token = it_tenant(&admin, "alice", NULL);
}

static void end(void)
{
	it_daemon_deinit(&torpord);
}

TestSuite(client_tls, .fini = end, .timeout = 300);

static const char *authority(const char *name)
{
	return it_text("%s/%s.pem", torpord.dir, name);
}

static struct torpor_client *open_client(const char *host, const char *ca_file)
{
	struct torpor_client_options options = {
		.url = it_text("https://%s:%d", host, torpord.port),
		.token = token,
		.ca_file = ca_file,
	};
	struct torpor_client *client;

	it_ok(torpor_client_open(&options, &client));
	return client;
}

/* --- a whole life --- */

struct output {
	char text[64];
	size_t len;
};

static void take_output(void *data, int stream, const void *bytes, size_t len)
{
	struct output *output = data;

	cr_assert_eq(stream, 1);
	cr_assert_lt(output->len + len, sizeof(output->text));
	memcpy(output->text + output->len, bytes, len);
	output->len += len;
}

static void run_in_guest(struct torpor_client *client, const char *id)
{
	static const char *const argv[] = {"tr", "a-z", "A-Z", NULL};
	struct output output = {0};
	struct torpor_client_exec exec = {
		.argv = argv,
		.stdin_bytes = "through tls",
		.stdin_len = 11,
		.wake = true,
		.output = take_output,
		.output_data = &output,
	};
	struct torpor_client_exec_result result;

	it_ok(torpor_client_exec(client, id, &exec, NULL, &result));
	cr_assert(result.exited && result.status == 0);
	cr_assert_str_eq(output.text, "THROUGH TLS");
}

static bool take_reset(void *data, const struct torpor_client_event *event)
{
	bool *seen = data;

	*seen = strcmp(event->type, "reset") == 0;
	return false;
}

Test(client_tls, a_session_lives_and_ends)
{
	begin();
	struct torpor_client *client = open_client("127.0.0.1", authority("ours"));
	struct torpor_remote_session session = {0};
	bool reset = false;

	it_ok(torpor_client_create(client,
		&(struct torpor_client_spec){.template_name = IT_TEMPLATE}, NULL, &session));
	cr_assert_str_eq(session.tenant, "alice");
	run_in_guest(client, session.id);
	it_ok(torpor_client_park(client, session.id, NULL, NULL));
	run_in_guest(client, session.id);
	/* From before this torpord's start. */
	it_ok(torpor_client_events(
		client, &(struct torpor_client_events){.after = 1}, NULL, take_reset, &reset));
	cr_assert(reset);
	it_ok(torpor_client_destroy(client, session.id, NULL));
	torpor_remote_session_deinit(&session);
	torpor_client_close(client);
}

/* --- who is not believed --- */

/* The error says where, why, and what can be done about it. */
static void expect_refused(const char *host, const char *ca_file, const char *why)
{
	struct torpor_client *client = open_client(host, ca_file);

	struct torpor_error *err =
		torpor_client_request(client, "GET", "/v1/self", NULL, NULL, NULL, NULL);
	cr_assert_not_null(err, "%s was believed", host);
	cr_expect_eq(torpor_error_code(err), TORPOR_E_DENIED);
	const char *message = torpor_error_message(err);
	cr_expect_not_null(strstr(message, torpor_client_where(client)), "%s", message);
	cr_expect_not_null(strstr(message, why), "%s", message);
	cr_expect_not_null(strstr(torpor_error_hint(err), "--ca-file"));
	cr_expect_null(strstr(message, token), "the token was told");
	torpor_error_free(err);
	torpor_client_close(client);
}

static const char *log_of_torpord(void)
{
	FILE *f = fopen(it_text("%s/log", torpord.dir), "r");
	TP_FREE char *text = tp_calloc(1, 1 << 20);

	cr_assert_gt(fread(text, 1, (1 << 20) - 1, f), 0);
	fclose(f);
	return it_text("%s", text);
}

Test(client_tls, only_a_certificate_of_the_right_authority_and_name_is_believed)
{
	begin();
	expect_refused("127.0.0.1", authority("theirs"), "certificate");
	expect_refused("127.0.0.1", NULL, "certificate");
	expect_refused("localhost", authority("ours"), "localhost");
	expect_refused("127.0.0.1", "/nowhere/ca.pem", "/nowhere/ca.pem");
	/* Nothing was asked, so no token was shown to who might have been anybody. */
	cr_expect_null(strstr(log_of_torpord(), "/v1/self"));

	struct torpor_client *client = open_client("127.0.0.1", authority("ours"));
	it_ok(torpor_client_request(client, "GET", "/v1/self", NULL, NULL, NULL, NULL));
	torpor_client_close(client);
	cr_expect_not_null(strstr(log_of_torpord(), "/v1/self"));
}

/* --- the command line --- */

/* `torpor ls` with the authority NAME; its status, and what it said, on either stream. */
static int list(const char *name, const char **said_out)
{
	int status = system(it_text("TORPOR_TOKEN=%s %s ls --url https://127.0.0.1:%d "
				    "--ca-file %s >%s/said 2>&1 </dev/null",
		token, getenv("TORPOR_TEST_CLI"), torpord.port, authority(name), torpord.dir));
	FILE *f = fopen(it_text("%s/said", torpord.dir), "r");
	char text[4096] = {0};

	cr_assert_not_null(f);
	(void)!fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	*said_out = it_text("%s", text);
	return status;
}

Test(client_tls, the_command_line_takes_url_and_authority)
{
	struct it_who alice = {.daemon = &torpord};
	const char *said;

	begin();
	alice.token = token;
	const json_t *session = it_expect(&alice, 201, "POST", "/v1/sessions",
		"{\"template\": \"" IT_TEMPLATE "\", \"name\": \"through-tls\"}");
	cr_expect_eq(list("ours", &said), 0, "%s", said);
	cr_expect_not_null(strstr(said, "through-tls"), "%s", said);
	cr_expect_neq(list("theirs", &said), 0);
	cr_expect_not_null(strstr(said, "certificate"), "%s", said);
	cr_expect_not_null(strstr(said, "--ca-file"), "%s", said);
	cr_expect_null(strstr(said, "through-tls"), "%s", said);
	it_expect(&alice, 204, "DELETE", it_session(it_string(session, "id"), ""), NULL);
}
