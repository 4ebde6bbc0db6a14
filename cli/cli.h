/* SPDX-License-Identifier: Apache-2.0 */
/* What torpor's commands share. */
#ifndef TP_CLI_CLI_H
#define TP_CLI_CLI_H

#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include <torpor/client.h>
#include <torpor/torpor.h>

/* Exit statuses. */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1, /* the error was printed */
	CLI_USAGE = 2,
};

struct cli {
	const char *state_dir; /* NULL: the default */
	const char *qemu;      /* NULL: the default; so are the next two */
	const char *launcher;
	const char *connect;
	struct torpor_client_options remote;
	bool json;
	bool verbose;
	struct torpor_cancel *cancel; /* by SIGINT, SIGTERM */
	struct torpor_call call;      /* the default bound, with that cancel */
};

struct cli_command {
	const char *name;
	const char *summary;
	int (*run)(struct cli *cli, int argc, char **argv); /* argv[0] is the command's word */
};

/*
 * The options that commands share, as a child for their argp whose input is the struct cli: of
 * those that work on a state directory (--state, --qemu), of those that talk to torpord (--socket,
 * --url, --token-file, --ca-file, --tenant), and both. All have --json and --verbose.
 */
extern const struct argp_child cli_common[];
extern const struct argp_child cli_remote[];
extern const struct argp_child cli_all[];

int cli_bench(struct cli *cli, int argc, char **argv);
int cli_demo(struct cli *cli, int argc, char **argv);
int cli_template(struct cli *cli, int argc, char **argv);
int cli_image(struct cli *cli, int argc, char **argv);
int cli_import(struct cli *cli, int argc, char **argv);
int cli_export(struct cli *cli, int argc, char **argv);
int cli_doctor(struct cli *cli, int argc, char **argv);
/* Below `torpor pool`. */
int cli_pool_simulate(struct cli *cli, int argc, char **argv);

int cli_acquire(struct cli *cli, int argc, char **argv);
int cli_fork(struct cli *cli, int argc, char **argv);
int cli_ls(struct cli *cli, int argc, char **argv);
int cli_show(struct cli *cli, int argc, char **argv);
int cli_exec(struct cli *cli, int argc, char **argv);
int cli_park(struct cli *cli, int argc, char **argv);
int cli_resume(struct cli *cli, int argc, char **argv);
int cli_pause(struct cli *cli, int argc, char **argv);
int cli_unpause(struct cli *cli, int argc, char **argv);
int cli_checkpoint(struct cli *cli, int argc, char **argv);
int cli_rm(struct cli *cli, int argc, char **argv);
int cli_top(struct cli *cli, int argc, char **argv);
int cli_events(struct cli *cli, int argc, char **argv);
int cli_pool(struct cli *cli, int argc, char **argv);
int cli_tenant(struct cli *cli, int argc, char **argv);
int cli_token(struct cli *cli, int argc, char **argv);
int cli_audit(struct cli *cli, int argc, char **argv);
int cli_dashboard(struct cli *cli, int argc, char **argv);
int cli_set(struct cli *cli, int argc, char **argv);
int cli_history(struct cli *cli, int argc, char **argv);
int cli_tree(struct cli *cli, int argc, char **argv);

/*
 * Runs the one of COMMANDS (ended by a NULL name) that argv[0] names; says what there is if it is
 * none. PROGRAM is what came before ("torpor template").
 */
int cli_dispatch(struct cli *cli, const char *program, const struct cli_command *commands, int argc,
	char **argv);

/* Opens the engine as the options say. */
struct torpor_error *cli_open(struct cli *cli, struct torpor_engine **engine_out);

/* Prints ERR as people or programs want it, frees it; returns the exit status. NULL is success. */
int cli_finish(const struct cli *cli, struct torpor_error *err);

/* Prints a JSON value on one line and frees it. */
void cli_print_json(json_t *value);

/* "12.3 KiB", "4.50 ms": into one of a few static buffers. */
const char *cli_size(uint64_t bytes);
const char *cli_time(uint64_t ns);

/* "3 s", "5 min", "2 h", "4 d": the same. */
const char *cli_duration(int64_t seconds);

/* Parses "256M", "4G", "65536K", plain bytes; false for anything else. */
bool cli_parse_size(const char *text, uint64_t *bytes_out);

/* Parses "90s", "15m", "1h", "2d", plain seconds, "never" (0); false for anything else. */
bool cli_parse_duration(const char *text, int64_t *seconds_out);

/* The same as argp takes them: ends the program with a complaint about OPTION if ARG is none. */
int64_t cli_need_duration(struct argp_state *state, const char *option, const char *arg);
uint64_t cli_need_number(
	struct argp_state *state, const char *option, const char *arg, uint64_t min, uint64_t max);

/* Puts a limit ("cpus=0.5", "memory=512M" ...; "none": none) into OBJECT, as torpord has it; ends
 * the program with a complaint if it is none. */
void cli_need_limit(struct argp_state *state, json_t *object, const char *arg);

/* --- remote.c: torpord --- */

/* Opens a client as the options say and hands it to ACT; prints what failed. The exit status. */
typedef struct torpor_error *cli_act_fn(struct cli *cli, struct torpor_client *client, void *input);
int cli_with_client(struct cli *cli, cli_act_fn *act, void *input);

/* Asks torpord; BODY (may be NULL) is taken. *JSON_OUT is NULL for an empty answer. */
struct torpor_error *cli_ask(struct cli *cli, struct torpor_client *client, const char *method,
	const char *path, json_t *body, json_t **json_out);

/* "/v1/tenants/" NAME TAIL with the name escaped; the caller's to free. */
char *cli_path(const char *before, const char *name, const char *tail);

/* The same of an image of a session: "/v1/sessions/" SESSION "/images/" IMAGE TAIL. */
char *cli_image_path(const char *session, const char *image, const char *tail);

/* The first characters of an id, enough to go on with; into a static buffer as cli_size. */
const char *cli_short(const char *id);

/* The string FIELD, "-" where there is none; at most 511 bytes of it, control characters replaced.
 */
const char *cli_field(const json_t *json, const char *field);
int64_t cli_integer(const json_t *json, const char *field);
double cli_real(const json_t *json, const char *field);

/* How long ago the RFC 3339 time in FIELD was, as cli_duration; "-" where there is none. */
const char *cli_ago(const json_t *json, const char *field);

/* What an image needs to be resumed, as GET /v1/sessions/ID/images/NAME/where tells it. */
void cli_print_where(const json_t *where);

/* The templates of GET /v1/pool as a table; its host in a line, where it is shown to the caller. */
void cli_print_pool(const json_t *pool);
void cli_print_host(const json_t *pool);

/* Words (ids, names) and the common options: what many commands take. The first part is set. */
struct cli_words {
	struct cli *cli;
	const char *args_doc; /* "ID...", "NAME [ID]" ... */
	const char *doc;
	size_t min, max;
	const struct argp_option *options; /* of its own, or NULL */
	error_t (*option)(int key, char *arg,
		struct argp_state
			*state); /* for these; the state's input is the struct cli_words */
	void *input;

	char **words; /* what was given, N of them; lasts as long as the program */
	size_t n;
};
void cli_parse_words(struct cli_words *words, int argc, char **argv);

#endif
