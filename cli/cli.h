/* SPDX-License-Identifier: Apache-2.0 */
/* What torpor's commands share. */
#ifndef TP_CLI_CLI_H
#define TP_CLI_CLI_H

#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include <torpor/torpor.h>

/* Exit statuses. */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1, /* the error was printed */
	CLI_USAGE = 2,
};

struct cli {
	const char *state_dir; /* NULL: the default */
	const char *qemu;      /* NULL: the default */
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
 * The options that all commands take (--state, --qemu, --json, --verbose), as a child for their
 * argp; its input is the struct cli.
 */
extern const struct argp_child cli_common[];

int cli_bench(struct cli *cli, int argc, char **argv);
int cli_demo(struct cli *cli, int argc, char **argv);
int cli_template(struct cli *cli, int argc, char **argv);
int cli_image(struct cli *cli, int argc, char **argv);
int cli_doctor(struct cli *cli, int argc, char **argv);
/* Below `torpor pool`. */
int cli_pool_simulate(struct cli *cli, int argc, char **argv);

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

/* Parses "256M", "4G", "65536K", plain bytes; false for anything else. */
bool cli_parse_size(const char *text, uint64_t *bytes_out);

#endif
