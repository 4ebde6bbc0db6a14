/* SPDX-License-Identifier: Apache-2.0 */
/* torpor park, resume, pause, unpause, checkpoint, rm: what changes a session's state. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

#define AT_ONCE 8

/*
 * --- one thing done to several sessions ---
 *
 * Some of them at once: each waits for disks and guests, not for us. Whatever fails is printed and
 * the others go on.
 */

struct several;
typedef struct torpor_error *change_fn(
	const struct several *several, const char *id, struct torpor_remote_session *session_out);

struct several {
	struct cli *cli;
	struct torpor_client *client;
	change_fn *change;
	void (*print)(const struct torpor_remote_session *session);
	char **ids;
	size_t n;
	atomic_size_t next;

	/* By the lock. */
	pthread_mutex_t print_lock;
	int status;
};

static struct torpor_error *change_one(
	struct several *several, const char *text, struct torpor_remote_session *session_out)
{
	struct torpor_remote_session found;
	struct torpor_error *err =
		torpor_client_find(several->client, text, &several->cli->call, &found);

	if (err)
		return err;
	err = several->change(several, found.id, session_out);
	torpor_remote_session_deinit(&found);
	return err;
}

static void *change_some(void *data)
{
	struct several *several = data;

	for (size_t i; (i = atomic_fetch_add(&several->next, 1)) < several->n;) {
		struct torpor_remote_session session = {0};
		struct torpor_error *err = change_one(several, several->ids[i], &session);
		pthread_mutex_lock(&several->print_lock);
		if (!err && several->cli->json && session.json)
			puts(session.json);
		else if (!err && !several->cli->json)
			several->print(&session);
		fflush(stdout);
		if (cli_finish(several->cli, err) != CLI_OK)
			several->status = CLI_FAILED;
		pthread_mutex_unlock(&several->print_lock);
		torpor_remote_session_deinit(&session);
	}
	return NULL;
}

static struct torpor_error *change_all(struct cli *cli, struct torpor_client *client, void *input)
{
	struct several *several = input;
	pthread_t threads[AT_ONCE - 1];
	size_t n = 0;

	(void)cli;
	several->client = client;
	pthread_mutex_init(&several->print_lock, NULL);
	while (n < AT_ONCE - 1 && n + 1 < several->n &&
		pthread_create(&threads[n], NULL, change_some, several) == 0)
		n++;
	change_some(several);
	while (n > 0)
		pthread_join(threads[--n], NULL);
	pthread_mutex_destroy(&several->print_lock);
	return NULL;
}

static int run_several(struct several *several)
{
	int status = cli_with_client(several->cli, change_all, several);

	return status != CLI_OK ? status : several->status;
}

static int run_plain(struct cli *cli, int argc, char **argv, const char *doc, change_fn *change,
	void (*print)(const struct torpor_remote_session *session))
{
	struct cli_words words = {
		.cli = cli, .args_doc = "ID...", .doc = doc, .min = 1, .max = SIZE_MAX};
	struct several several = {.cli = cli, .change = change, .print = print};

	cli_parse_words(&words, argc, argv);
	several.ids = words.words;
	several.n = words.n;
	int status = run_several(&several);
	free(words.words);
	return status;
}

static void print_state(const struct torpor_remote_session *session)
{
	printf("%s %s %s\n", cli_short(session->id), session->name, session->state);
}

/* --- park --- */

static struct torpor_error *park(
	const struct several *several, const char *id, struct torpor_remote_session *session_out)
{
	return torpor_client_park(several->client, id, &several->cli->call, session_out);
}

static struct torpor_error *cancel_park(
	const struct several *several, const char *id, struct torpor_remote_session *session_out)
{
	struct torpor_error *err =
		torpor_client_cancel_park(several->client, id, &several->cli->call);

	return err ? err : torpor_client_get(several->client, id, &several->cli->call, session_out);
}

/* What torpord has to say of the image, if anything. */
static void print_note(const struct torpor_remote_session *session)
{
	json_t *json = json_loads(session->json ? session->json : "", 0, NULL);
	json_t *timing = json_object_get(json, "timing");
	const char *note = json_string_value(json_object_get(timing, "note"));

	if (note)
		fprintf(stderr, "%s: note: %s\n", session->name, note);
	json_decref(json);
}

static void print_parked(const struct torpor_remote_session *session)
{
	printf("%s %s %s (%s", cli_short(session->id), session->name, session->state,
		cli_size(session->image_bytes));
	if (session->timing.durable_ns)
		printf(", durable after %s", cli_time(session->timing.durable_ns));
	puts(")");
	print_note(session);
}

enum { KEY_CANCEL = 512 };

static const struct argp_option park_options[] = {
	{"cancel", KEY_CANCEL, NULL, 0, "Cancel a park that is under way: the guest runs on", 0},
	{0},
};

static error_t park_option(int key, char *arg, struct argp_state *state)
{
	bool *cancel = ((struct cli_words *)state->input)->input;

	(void)arg;
	if (key != KEY_CANCEL)
		return ARGP_ERR_UNKNOWN;
	*cancel = true;
	return 0;
}

int cli_park(struct cli *cli, int argc, char **argv)
{
	bool cancel = false;
	struct cli_words words = {
		.cli = cli,
		.args_doc = "ID...",
		.doc = "Parks sessions: what they are is in a file then, and no process is left.",
		.min = 1,
		.max = SIZE_MAX,
		.options = park_options,
		.option = park_option,
		.input = &cancel,
	};
	struct several several = {.cli = cli};

	cli_parse_words(&words, argc, argv);
	several.change = cancel ? cancel_park : park;
	several.print = cancel ? print_state : print_parked;
	several.ids = words.words;
	several.n = words.n;
	int status = run_several(&several);
	free(words.words);
	return status;
}

/* --- resume, pause, unpause --- */

static struct torpor_error *resume(
	const struct several *several, const char *id, struct torpor_remote_session *session_out)
{
	return torpor_client_resume(several->client, id, &several->cli->call, session_out);
}

static void print_resumed(const struct torpor_remote_session *session)
{
	printf("%s %s %s", cli_short(session->id), session->name, session->state);
	if (session->timing.total_ns)
		printf(" (%s, %s)", session->source[0] ? session->source : "-",
			cli_time(session->timing.total_ns));
	putchar('\n');
}

int cli_resume(struct cli *cli, int argc, char **argv)
{
	return run_plain(cli, argc, argv, "Resumes parked sessions: they go on where they were.",
		resume, print_resumed);
}

static struct torpor_error *pause_it(
	const struct several *several, const char *id, struct torpor_remote_session *session_out)
{
	return torpor_client_pause(several->client, id, &several->cli->call, session_out);
}

int cli_pause(struct cli *cli, int argc, char **argv)
{
	return run_plain(cli, argc, argv,
		"Stops the processors of running sessions, which keep their memory.", pause_it,
		print_state);
}

static struct torpor_error *unpause(
	const struct several *several, const char *id, struct torpor_remote_session *session_out)
{
	return torpor_client_unpause(several->client, id, &several->cli->call, session_out);
}

int cli_unpause(struct cli *cli, int argc, char **argv)
{
	return run_plain(cli, argc, argv,
		"Lets paused sessions go on, with the right clock and fresh randomness.", unpause,
		print_state);
}

/* --- checkpoint --- */

enum { KEY_REMOVE = 512 };

static const struct argp_option checkpoint_options[] = {
	{"remove", KEY_REMOVE, NULL, 0, "Remove that checkpoint instead", 0},
	{0},
};

static error_t checkpoint_option(int key, char *arg, struct argp_state *state)
{
	struct cli_words *words = state->input;
	bool *remove = words->input;

	(void)arg;
	if (key == KEY_REMOVE) {
		*remove = true;
		return 0;
	}
	if (key == ARGP_KEY_SUCCESS && *remove && words->n < 2)
		argp_error(state, "--remove takes the checkpoint's NAME");
	return ARGP_ERR_UNKNOWN;
}

static struct torpor_error *remove_checkpoint(
	struct cli *cli, struct torpor_client *client, void *input)
{
	const struct cli_words *words = input;
	struct torpor_remote_session found;
	struct torpor_error *err = torpor_client_find(client, words->words[0], &cli->call, &found);

	if (err)
		return err;
	char *path = cli_image_path(found.id, words->words[1], "");
	err = cli_ask(cli, client, "DELETE", path, NULL, NULL);
	if (!err && cli->json)
		cli_print_json(json_pack("{s:s, s:s, s:s}", "id", found.id, "checkpoint",
			words->words[1], "state", "removed"));
	else if (!err)
		printf("%s %s, checkpoint %s removed\n", cli_short(found.id), found.name,
			words->words[1]);
	torpor_remote_session_deinit(&found);
	free(path);
	return err;
}

static struct torpor_error *checkpoint(struct cli *cli, struct torpor_client *client, void *input)
{
	const struct cli_words *words = input;
	struct torpor_remote_session found;
	struct torpor_remote_session session;
	struct torpor_error *err = torpor_client_find(client, words->words[0], &cli->call, &found);

	if (err)
		return err;
	err = torpor_client_checkpoint(
		client, found.id, words->n > 1 ? words->words[1] : NULL, &cli->call, &session);
	torpor_remote_session_deinit(&found);
	if (err)
		return err;
	if (cli->json)
		puts(session.json);
	else
		printf("%s %s %s, checkpoint %s (%s, stood still for %s)\n", cli_short(session.id),
			session.name, session.state, session.checkpoint,
			cli_size(session.checkpoint_bytes), cli_time(session.timing.pause_ns));
	torpor_remote_session_deinit(&session);
	return NULL;
}

int cli_checkpoint(struct cli *cli, int argc, char **argv)
{
	bool remove = false;
	struct cli_words words = {
		.cli = cli,
		.args_doc = "ID [NAME]",
		.doc = "Keeps what a session is now in an image, from which it can be forked. The "
		       "session runs on.",
		.min = 1,
		.max = 2,
		.options = checkpoint_options,
		.option = checkpoint_option,
		.input = &remove,
	};

	cli_parse_words(&words, argc, argv);
	int status = cli_with_client(cli, remove ? remove_checkpoint : checkpoint, &words);
	free(words.words);
	return status;
}

/* --- rm --- */

static struct torpor_error *destroy(
	const struct several *several, const char *id, struct torpor_remote_session *session_out)
{
	struct torpor_error *err = torpor_client_destroy(several->client, id, &several->cli->call);

	if (err)
		return err;
	snprintf(session_out->id, sizeof(session_out->id), "%s", id);
	if (asprintf(&session_out->json, "{\"id\":\"%s\",\"state\":\"destroyed\"}", id) < 0)
		abort();
	return NULL;
}

static void print_removed(const struct torpor_remote_session *session)
{
	printf("%s removed\n", cli_short(session->id));
}

static const struct argp_option rm_options[] = {
	{"force", 'f', NULL, 0, "Don't ask", 0},
	{0},
};

static error_t rm_option(int key, char *arg, struct argp_state *state)
{
	bool *force = ((struct cli_words *)state->input)->input;

	(void)arg;
	if (key != 'f')
		return ARGP_ERR_UNKNOWN;
	*force = true;
	return 0;
}

/* Asks who sits at the terminal; anything but a yes is a no. */
static bool is_meant(char **ids, size_t n)
{
	char line[16];

	fprintf(stderr, "Remove %s", ids[0]);
	for (size_t i = 1; i < n; i++)
		fprintf(stderr, ", %s", ids[i]);
	fprintf(stderr, ", with all %s images? [y/N] ", n > 1 ? "their" : "its");
	return fgets(line, sizeof(line), stdin) && (line[0] == 'y' || line[0] == 'Y');
}

int cli_rm(struct cli *cli, int argc, char **argv)
{
	bool force = false;
	struct cli_words words = {
		.cli = cli,
		.args_doc = "ID...",
		.doc = "Removes sessions, with their processes and images. Asks first on a "
		       "terminal.",
		.min = 1,
		.max = SIZE_MAX,
		.options = rm_options,
		.option = rm_option,
		.input = &force,
	};
	struct several several = {.cli = cli, .change = destroy, .print = print_removed};

	cli_parse_words(&words, argc, argv);
	several.ids = words.words;
	several.n = words.n;
	int status = CLI_FAILED;
	if (force || !isatty(STDIN_FILENO) || is_meant(words.words, words.n))
		status = run_several(&several);
	else
		fprintf(stderr, "Nothing was removed.\n");
	free(words.words);
	return status;
}
