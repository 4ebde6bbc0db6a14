/* SPDX-License-Identifier: Apache-2.0 */
/* What the demo observes, does and reports. */
#ifndef TP_CLI_DEMO_H
#define TP_CLI_DEMO_H

#include "cli/cli.h"

#define DEMO_FORKS 4
#define DEMO_TEXT  96 /* room for a line that a guest printed */

/* What a guest says of itself. */
struct demo_guest {
	char boot_id[DEMO_TEXT];
	char counter_pid[DEMO_TEXT];
	char counter_start[DEMO_TEXT]; /* of that process, in ticks since the guest's boot */
	char checksums[DEMO_TEXT];     /* of the files' checksums */
	long counted;		       /* how far the counter is */
	bool without_gap;	       /* every number from 1 on is there, once */
};

struct demo_fork {
	char hostname[DEMO_TEXT];
	char machine_id[DEMO_TEXT];
	char random[DEMO_TEXT]; /* 32 bytes from getrandom, in hex */
	int64_t clock_error_ns;
};

struct demo {
	struct cli *cli;
	const char *template_name;
	unsigned int file_mib;

	struct torpor_engine *engine;
	struct torpor_template *tmpl;
	struct torpor_session *session;
	struct torpor_session *forks[DEMO_FORKS];

	struct torpor_template_info info;
	struct torpor_resume_report start;
	struct torpor_session_info running; /* before parking */
	struct demo_guest before;
	struct torpor_park_report park;
	bool process_gone; /* not in /proc, or as a zombie, before the resume */
	struct torpor_resume_report resume;
	struct torpor_ping_report ping;
	struct demo_guest after;
	int64_t clock_error_ns; /* 0 if the guest's clock can't be told from the host's */
	struct torpor_resume_report fork_reports[DEMO_FORKS];
	struct demo_fork fork_guests[DEMO_FORKS];
};

/* --- demo_guest.c: in the guest --- */

/* Writes files of MIB in all, and starts a process that counts into one. */
struct torpor_error *demo_prepare(struct demo *demo);
struct torpor_error *demo_observe(struct demo *demo, struct demo_guest *guest_out);
struct torpor_error *demo_observe_fork(
	struct demo *demo, struct torpor_session *session, struct demo_fork *fork_out);
/* The guest's clock minus the host's, 0 if the difference lies within what asking took. */
struct torpor_error *demo_clock_error(
	struct demo *demo, struct torpor_session *session, int64_t *error_out);
/* Waits until the counter has passed FROM. */
struct torpor_error *demo_wait_counter(struct demo *demo, long from);

/* --- demo_report.c: for people and programs --- */

struct demo_checks {
	bool same_boot;
	bool same_counter;
	bool counter_went_on;
	bool counter_without_gap;
	bool same_files;
	bool process_gone;
	bool forks_differ;
	bool clock_right;
	bool fresh; /* clock, random, names were reported as made fresh */
};
struct demo_checks demo_check(const struct demo *demo);
bool demo_verified(const struct demo_checks *checks);
void demo_print_json(const struct demo *demo);
void demo_print_table(const struct demo *demo);

#endif
