/* SPDX-License-Identifier: Apache-2.0 */
/* torpor demo: the whole life of a session, told with figures. */
#include "cli/demo.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A line for people, unless JSON was asked for. */
__attribute__((format(printf, 2, 3))) static void say(const struct demo *demo, const char *fmt, ...)
{
	va_list ap;

	if (demo->cli->json)
		return;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

/*
 * Whether the process that had PID and START_TIME is no longer in /proc, or only for init to reap
 * it: libvirtd's guests are init's, which may take its time.
 */
static bool is_gone(int pid, uint64_t start_time)
{
	char path[64];
	char stat[1024];
	unsigned long long start = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return errno == ENOENT;
	size_t n = fread(stat, 1, sizeof(stat) - 1, f);
	fclose(f);
	stat[n] = '\0';
	/* Field 22, counted from behind the command's name, which may hold anything. */
	const char *at = strrchr(stat, ')');
	if (at && strncmp(at, ") Z", 3) == 0)
		return true;
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, " %llu", &start) != 1)
		return n == 0;
	return start != start_time;
}

static struct torpor_error *start(struct demo *demo)
{
	char name[32];

	snprintf(name, sizeof(name), "demo-%d", getpid());
	struct torpor_session_spec spec = {.name = name};
	struct torpor_error *err = torpor_template_open(
		demo->engine, demo->template_name, &demo->cli->call, &demo->tmpl);
	if (!err)
		err = torpor_template_info(demo->tmpl, &demo->info);
	if (!err)
		err = torpor_template_prepare(demo->tmpl, 1, &demo->cli->call);
	if (err)
		return err;
	say(demo, "Template %s: %s of memory, booted once in %s; its base was filled in %s.\n",
		demo->info.name, cli_size(demo->info.memory), cli_time(demo->info.boot_ns),
		cli_time(demo->info.fill_ns));
	err = torpor_session_start(
		demo->tmpl, &spec, &demo->cli->call, &demo->start, &demo->session);
	if (!err)
		say(demo, "1. started   session %s runs after %s, fresh after %s", name,
			cli_time(demo->start.running_ns), cli_time(demo->start.ready_ns));
	return err;
}

static struct torpor_error *use(struct demo *demo)
{
	struct torpor_error *err = demo_prepare(demo);

	if (!err)
		err = demo_observe(demo, &demo->before);
	if (!err)
		err = torpor_session_info(demo->session, &demo->running);
	if (!err)
		say(demo, "2. used      %u MiB of files written, a process counts (at %ld)",
			demo->file_mib, demo->before.counted);
	return err;
}

static struct torpor_error *park(struct demo *demo)
{
	struct torpor_error *err =
		torpor_session_park(demo->session, &demo->cli->call, &demo->park);

	if (err)
		return err;
	demo->process_gone = is_gone(demo->running.pid, demo->running.start_time);
	say(demo, "3. parked    captured in %s, durable after %s, process gone after %s",
		cli_time(demo->park.captured_ns), cli_time(demo->park.durable_ns),
		cli_time(demo->park.gone_ns));
	say(demo, "             %ju of %ju pages differ from the template: an image of %s",
		(uintmax_t)demo->park.pages, (uintmax_t)(demo->info.memory / 4096),
		cli_size(demo->park.image_bytes));
	say(demo, "             process %d, which had %s to itself, is %s", demo->running.pid,
		cli_size(demo->running.private_bytes), demo->process_gone ? "gone" : "STILL THERE");
	return NULL;
}

static struct torpor_error *resume(struct demo *demo)
{
	struct torpor_error *err = torpor_template_prepare(demo->tmpl, 1, &demo->cli->call);

	if (!err)
		err = torpor_session_resume(demo->session, &demo->cli->call, &demo->resume);
	if (!err)
		err = torpor_session_ping(demo->session, &demo->cli->call, &demo->ping);
	if (!err)
		err = demo_wait_counter(demo, demo->before.counted);
	if (!err)
		err = demo_observe(demo, &demo->after);
	if (!err)
		err = demo_clock_error(demo, demo->session, &demo->clock_error_ns);
	if (err)
		return err;
	say(demo, "4. resumed   runs after %s, fresh after %s, agent answers after %s",
		cli_time(demo->resume.running_ns), cli_time(demo->resume.ready_ns),
		cli_time(demo->ping.since_resume_ns));
	say(demo, "             the counter goes on: %ld, then %ld", demo->before.counted,
		demo->after.counted);
	return NULL;
}

static struct torpor_error *fork_all(struct demo *demo)
{
	struct torpor_session_spec specs[DEMO_FORKS];
	char names[DEMO_FORKS][32];

	for (int i = 0; i < DEMO_FORKS; i++) {
		snprintf(names[i], sizeof(names[i]), "demo-%d-fork%d", getpid(), i + 1);
		specs[i] = (struct torpor_session_spec){.name = names[i]};
	}
	struct torpor_error *err =
		torpor_template_prepare(demo->tmpl, DEMO_FORKS, &demo->cli->call);
	if (!err)
		err = torpor_session_fork(demo->session, specs, DEMO_FORKS, &demo->cli->call,
			demo->fork_reports, demo->forks);
	if (err)
		return err;
	say(demo, "5. forked    four more from one image:");
	for (int i = 0; i < DEMO_FORKS; i++) {
		struct demo_fork *guest = &demo->fork_guests[i];
		err = demo_observe_fork(demo, demo->forks[i], guest);
		if (err)
			return err;
		say(demo, "             %-18s machine-id %.12s..., random %.12s..., fresh after %s",
			guest->hostname, guest->machine_id, guest->random,
			cli_time(demo->fork_reports[i].ready_ns));
	}
	return NULL;
}

static struct torpor_error *try_all(struct demo *demo)
{
	struct torpor_error *err = start(demo);

	if (!err)
		err = use(demo);
	if (!err)
		err = park(demo);
	if (!err)
		err = resume(demo);
	if (!err)
		err = fork_all(demo);
	return err;
}

/* What was started ends, whatever happened; the first failure counts. */
static struct torpor_error *clean_up(struct demo *demo, struct torpor_error *err)
{
	for (int i = 0; i < DEMO_FORKS; i++) {
		if (demo->forks[i])
			torpor_error_free(torpor_session_destroy(demo->forks[i], NULL));
	}
	if (demo->session) {
		struct torpor_error *later = torpor_session_destroy(demo->session, NULL);
		if (err)
			torpor_error_free(later);
		else
			err = later;
	}
	torpor_template_close(demo->tmpl);
	torpor_engine_close(demo->engine);
	return err;
}

enum { KEY_TEMPLATE = 512, KEY_FILES };

static const struct argp_option options[] = {
	{"template", KEY_TEMPLATE, "NAME", 0, "The template to use (default: minimal)", 0},
	{"files", KEY_FILES, "MIB", 0, "Size of the files written in the session (default: 8)", 0},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct demo *demo = state->input;
	char *end;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = demo->cli;
		return 0;
	case KEY_TEMPLATE:
		demo->template_name = arg;
		return 0;
	case KEY_FILES:
		demo->file_mib = (unsigned int)strtoul(arg, &end, 10);
		if (*end || demo->file_mib < 1 || demo->file_mib > 1024)
			argp_error(state, "--files takes 1 to 1024, not \"%s\"", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.doc = "Starts a session, uses it, parks it, resumes it, forks it into four, and checks "
	       "from "
	       "guest and host that everything is as it should be.",
	.children = cli_common,
};

int cli_demo(struct cli *cli, int argc, char **argv)
{
	struct demo demo = {.cli = cli, .template_name = "minimal", .file_mib = 8};

	argp_parse(&argp, argc, argv, 0, NULL, &demo);
	struct torpor_error *err = cli_open(cli, &demo.engine);
	if (err)
		return cli_finish(cli, err);
	err = clean_up(&demo, try_all(&demo));
	if (err)
		return cli_finish(cli, err);
	struct demo_checks checks = demo_check(&demo);
	if (cli->json)
		demo_print_json(&demo);
	else
		demo_print_table(&demo);
	return demo_verified(&checks) ? CLI_OK : CLI_FAILED;
}
