/* SPDX-License-Identifier: Apache-2.0 */
/* What the demo found, as a verdict, as JSON, as a table. */
#include "cli/demo.h"

#include <stdlib.h>
#include <string.h>

#define CLOCK_TOLERANCE_NS 100000000
#define RANDOM_HEX_DIGITS  64

static bool clock_is_right(int64_t error_ns)
{
	return llabs(error_ns) <= CLOCK_TOLERANCE_NS;
}

static bool forks_differ(const struct demo *demo)
{
	for (int i = 0; i < DEMO_FORKS; i++) {
		const struct demo_fork *a = &demo->fork_guests[i];
		if (strlen(a->random) != RANDOM_HEX_DIGITS || !*a->hostname || !*a->machine_id)
			return false;
		for (int j = i + 1; j < DEMO_FORKS; j++) {
			const struct demo_fork *b = &demo->fork_guests[j];
			if (strcmp(a->hostname, b->hostname) == 0 ||
				strcmp(a->machine_id, b->machine_id) == 0 ||
				strcmp(a->random, b->random) == 0)
				return false;
		}
	}
	return true;
}

static bool all_fresh(const struct demo *demo)
{
	const uint32_t wake = TORPOR_FRESH_CLOCK | TORPOR_FRESH_RANDOM;
	const uint32_t all = wake | TORPOR_FRESH_HOSTNAME | TORPOR_FRESH_MACHINE_ID;
	bool fresh = (demo->start.fresh & all) == all && (demo->resume.fresh & wake) == wake;

	for (int i = 0; i < DEMO_FORKS; i++)
		fresh = fresh && (demo->fork_reports[i].fresh & all) == all;
	return fresh;
}

struct demo_checks demo_check(const struct demo *demo)
{
	const struct demo_guest *before = &demo->before;
	const struct demo_guest *after = &demo->after;
	struct demo_checks checks = {
		.same_boot = *before->boot_id && strcmp(before->boot_id, after->boot_id) == 0,
		.same_counter = *before->counter_pid &&
				strcmp(before->counter_pid, after->counter_pid) == 0 &&
				strcmp(before->counter_start, after->counter_start) == 0,
		.counter_went_on = after->counted > before->counted,
		.counter_without_gap = after->without_gap,
		.same_files =
			*before->checksums && strcmp(before->checksums, after->checksums) == 0,
		.process_gone = demo->process_gone,
		.forks_differ = forks_differ(demo),
		.clock_right = clock_is_right(demo->clock_error_ns),
		.fresh = all_fresh(demo),
	};

	for (int i = 0; i < DEMO_FORKS; i++)
		checks.clock_right =
			checks.clock_right && clock_is_right(demo->fork_guests[i].clock_error_ns);
	return checks;
}

bool demo_verified(const struct demo_checks *checks)
{
	return checks->same_boot && checks->same_counter && checks->counter_went_on &&
	       checks->counter_without_gap && checks->same_files && checks->process_gone &&
	       checks->forks_differ && checks->clock_right && checks->fresh;
}

/* --- JSON --- */

static json_t *resume_json(const struct torpor_resume_report *r)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "source",
		torpor_source_name(r->source), "shell_ns", (json_int_t)r->shell_ns, "loaded_ns",
		(json_int_t)r->loaded_ns, "running_ns", (json_int_t)r->running_ns, "ready_ns",
		(json_int_t)r->ready_ns, "fresh", (json_int_t)r->fresh, "clock_error_ns",
		(json_int_t)r->clock_error_ns, "pages", (json_int_t)r->pages, "image_bytes",
		(json_int_t)r->image_bytes);
}

static json_t *park_json(const struct torpor_park_report *r)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "captured_ns",
		(json_int_t)r->captured_ns, "durable_ns", (json_int_t)r->durable_ns, "gone_ns",
		(json_int_t)r->gone_ns, "pages_scanned", (json_int_t)r->pages_scanned, "pages",
		(json_int_t)r->pages, "device_bytes", (json_int_t)r->device_bytes, "image_bytes",
		(json_int_t)r->image_bytes);
}

static json_t *guest_json(const struct demo_guest *g)
{
	return json_pack("{s:s, s:s, s:s, s:I, s:b, s:s}", "boot_id", g->boot_id, "counter_pid",
		g->counter_pid, "counter_start", g->counter_start, "counted",
		(json_int_t)g->counted, "without_gap", (int)g->without_gap, "checksums",
		g->checksums);
}

static json_t *checks_json(const struct demo_checks *c)
{
	return json_pack("{s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b}", "same_boot",
		(int)c->same_boot, "same_counter", (int)c->same_counter, "counter_went_on",
		(int)c->counter_went_on, "counter_without_gap", (int)c->counter_without_gap,
		"same_files", (int)c->same_files, "process_gone", (int)c->process_gone,
		"forks_differ", (int)c->forks_differ, "clock_right", (int)c->clock_right, "fresh",
		(int)c->fresh);
}

static json_t *forks_json(const struct demo *demo)
{
	json_t *list = json_array();

	for (int i = 0; i < DEMO_FORKS; i++) {
		const struct demo_fork *g = &demo->fork_guests[i];
		json_t *fork = resume_json(&demo->fork_reports[i]);
		json_object_update_new(
			fork, json_pack("{s:s, s:s, s:s, s:I}", "hostname", g->hostname,
				      "machine_id", g->machine_id, "random", g->random,
				      "observed_clock_error_ns", (json_int_t)g->clock_error_ns));
		json_array_append_new(list, fork);
	}
	return list;
}

void demo_print_json(const struct demo *demo)
{
	struct demo_checks checks = demo_check(demo);
	json_t *resume = resume_json(&demo->resume);

	json_object_update_new(
		resume, json_pack("{s:I, s:I}", "agent_ns", (json_int_t)demo->ping.since_resume_ns,
				"observed_clock_error_ns", (json_int_t)demo->clock_error_ns));
	cli_print_json(json_pack(
		"{s:b, s:o, s:{s:s, s:s, s:s, s:I, s:I, s:I}, s:o, s:o, s:o, s:o, s:o, s:o, s:I}",
		"verified", (int)demo_verified(&checks), "checks", checks_json(&checks), "template",
		"name", demo->info.name, "id", demo->info.id, "accel", demo->info.accel, "memory",
		(json_int_t)demo->info.memory, "boot_ns", (json_int_t)demo->info.boot_ns, "fill_ns",
		(json_int_t)demo->info.fill_ns, "start", resume_json(&demo->start), "before",
		guest_json(&demo->before), "park", park_json(&demo->park), "resume", resume,
		"after", guest_json(&demo->after), "forks", forks_json(demo), "private_bytes",
		(json_int_t)demo->running.private_bytes));
}

/* --- For people --- */

static void row(const char *what, uint64_t ns, uint64_t boot_ns)
{
	if (ns == 0)
		return;
	double ratio = (double)boot_ns / (double)ns;
	printf("  %-34s %10s   ", what, cli_time(ns));
	if (ratio >= 10)
		printf("%.0fx faster than booting\n", ratio);
	else
		printf("%.1fx faster than booting\n", ratio);
}

static void print_failed(const struct demo_checks *c)
{
	const struct {
		bool ok;
		const char *what;
	} all[] = {
		{c->same_boot, "the guest's boot_id changed"},
		{c->same_counter, "the counting process is another one"},
		{c->counter_went_on, "the counter did not go on"},
		{c->counter_without_gap, "the counter has a gap"},
		{c->same_files, "the files' checksums differ"},
		{c->process_gone, "the parked process was still there"},
		{c->forks_differ, "forks share a host name, machine-id or random bytes"},
		{c->clock_right, "a guest's clock is off by more than 100 ms"},
		{c->fresh, "something was not made fresh"},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (!all[i].ok)
			printf("  FAILED: %s\n", all[i].what);
	}
}

void demo_print_table(const struct demo *demo)
{
	struct demo_checks checks = demo_check(demo);
	uint64_t boot = demo->info.boot_ns;

	printf("\n  %-34s %10s\n", "a plain boot of this guest", cli_time(boot));
	row("start, vCPUs running", demo->start.running_ns, boot);
	row("start, fresh and ready", demo->start.ready_ns, boot);
	row("resume, vCPUs running", demo->resume.running_ns, boot);
	row("resume, fresh and ready", demo->resume.ready_ns, boot);
	row("resume, agent answers", demo->ping.since_resume_ns, boot);
	printf("  %-34s %10s   of %s of memory\n", "parked session on disk",
		cli_size(demo->park.image_bytes), cli_size(demo->info.memory));
	printf("  %-34s %10s   no process\n\n", "parked session in memory", "0 B");
	print_failed(&checks);
	if (demo_verified(&checks))
		printf("Verified: same boot, same process, counter without a gap, same files, "
		       "forks "
		       "pairwise different, clocks right.\n");
}
