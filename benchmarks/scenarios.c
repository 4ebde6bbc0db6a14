/* SPDX-License-Identifier: Apache-2.0 */
/* The scenarios, but for scale_ram. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "benchmarks/bench_priv.h"

/* What each may cost at most, as a multiple of its floor. */
#define LIMIT_RESUME_IDLE 1.3
#define LIMIT_PARK_IDLE	  2.0
#define LIMIT_DIRTY	  1.5
#define LIMIT_FORK	  2.0

/* --- spawn_shell, claim_clone --- */

static struct torpor_error *claim(struct bench *b)
{
	struct torpor_resume_report report;
	struct torpor_ping_report ping;
	struct torpor_session *session;

	TP_TRY(bench_settle(b));
	uint64_t start = tp_now_ns();
	TP_TRY(torpor_template_prepare(b->tmpl, 1, &b->options->call));
	bench_add(b, "spawn_shell", "ns", (double)(tp_now_ns() - start));
	TP_TRY(bench_settle(b));
	TP_TRY(bench_claim(b, b->tmpl, &report, &session));
	struct torpor_error *err = torpor_session_ping(session, &b->options->call, &ping);
	err = tp_error_first(err, bench_end(&session));
	if (err)
		return err;
	bench_add(b, "claim_clone.running", "ns", (double)report.running_ns);
	bench_add(b, "claim_clone.ready", "ns", (double)report.ready_ns);
	bench_add(b, "claim_clone.agent", "ns", (double)ping.since_resume_ns);
	return NULL;
}

struct torpor_error *bench_run_claim(struct bench *b)
{
	for (unsigned int i = 0; i < b->n; i++)
		TP_TRY(bench_sample_done(b, "claim_clone", claim(b)));
	return NULL;
}

/* --- park and resume, idle and dirty: pairs with their floors --- */

struct kind {
	bool dirty;
	const char *park;
	const char *resume;
	const char *floor_park;
	const char *floor_resume;
};

static const struct kind idle = {
	false, "park_idle", "resume_idle", "floor_park_idle", "floor_resume_idle"};
static const struct kind dirty = {
	true, "park_dirty", "resume_dirty", "floor_park_dirty", "floor_resume_dirty"};

/* The same as what it is compared with, on another guest: which of them comes first alternates. */
static struct torpor_error *park_pair(struct bench *b, const struct kind *kind,
	struct torpor_session **floor_session, struct torpor_session *session, bool floor_first)
{
	struct bench_floor_park floor;
	struct torpor_park_report report;

	if (floor_first) {
		TP_TRY(bench_floor_park(b, *floor_session, kind->dirty, &floor));
		TP_TRY(bench_end(floor_session));
	}
	TP_TRY(bench_settle(b));
	TP_TRY(bench_park(b, session, kind->park, &report));
	if (!floor_first) {
		TP_TRY(bench_floor_park(b, *floor_session, kind->dirty, &floor));
		TP_TRY(bench_end(floor_session));
	}
	uint64_t captured = floor.devices_ns + floor.copy_ns;
	uint64_t durable = captured + floor.pack_ns + floor.write_ns;
	double ratio = (double)report.captured_ns / (double)captured;
	bench_add(
		b, kind->dirty ? "image_dirty" : "image_idle", "bytes", (double)report.image_bytes);
	bench_add_to(b, kind->floor_park, "captured", "ns", (double)captured);
	if (!kind->dirty) {
		bench_judge(b, "ratio_park_idle", "ratio", ratio, LIMIT_PARK_IDLE);
		bench_judge(b, "limit_image_idle", "bytes", (double)report.image_bytes,
			(double)BENCH_IMAGE_IDLE);
		return NULL;
	}
	bench_add_to(b, kind->floor_park, "devices", "ns", (double)floor.devices_ns);
	bench_add_to(b, kind->floor_park, "copy", "ns", (double)floor.copy_ns);
	bench_add_to(b, kind->floor_park, "pack", "ns", (double)floor.pack_ns);
	bench_add_to(b, kind->floor_park, "write", "ns", (double)floor.write_ns);
	bench_add_to(b, kind->floor_park, "durable", "ns", (double)durable);
	bench_judge(b, "ratio_park_dirty", "ratio", ratio, LIMIT_DIRTY);
	bench_judge(b, "ratio_park_dirty_durable", "ratio",
		(double)report.durable_ns / (double)durable, LIMIT_DIRTY);
	return NULL;
}

static struct torpor_error *resume_pair(
	struct bench *b, const struct kind *kind, struct torpor_session *session, bool floor_first)
{
	struct bench_floor_resume floor;
	struct torpor_resume_report report;

	TP_TRY(torpor_template_prepare(b->tmpl, 2, &b->options->call));
	if (floor_first) {
		TP_TRY(bench_floor_resume(b, session, kind->dirty, &floor));
	}
	TP_TRY(bench_settle(b));
	TP_TRY(bench_resume(b, session, kind->resume, &report));
	if (!floor_first) {
		TP_TRY(bench_floor_resume(b, session, kind->dirty, &floor));
	}
	uint64_t running = floor.load_ns + floor.unpack_ns + floor.copy_ns;
	bench_add_to(b, kind->floor_resume, "running", "ns", (double)running);
	bench_judge(b, kind->dirty ? "ratio_resume_dirty" : "ratio_resume_idle", "ratio",
		(double)report.running_ns / (double)running,
		kind->dirty ? LIMIT_DIRTY : LIMIT_RESUME_IDLE);
	if (!kind->dirty)
		return NULL;
	bench_add_to(b, kind->floor_resume, "load", "ns", (double)floor.load_ns);
	bench_add_to(b, kind->floor_resume, "unpack", "ns", (double)floor.unpack_ns);
	bench_add_to(b, kind->floor_resume, "copy", "ns", (double)floor.copy_ns);
	return NULL;
}

/* Guests 2i are for the floor of parking, guests 2i+1 are parked and then resumed. */
static struct torpor_error *run_batch(
	struct bench *b, const struct kind *kind, unsigned int first, unsigned int pairs)
{
	BENCH_BATCH_SCOPE struct bench_batch batch = {0};
	bool parked[BENCH_BATCH] = {false};

	TP_TRY(bench_sample_done(
		b, kind->park, bench_batch_start(b, b->tmpl, 2 * pairs, kind->dirty, &batch)));
	if (batch.n < 2 * pairs)
		return NULL;
	for (unsigned int i = 0; i < pairs; i++) {
		struct torpor_error *err = park_pair(b, kind, &batch.session[2 * i],
			batch.session[2 * i + 1], (first + i) % 2 == 0);
		parked[i] = !err;
		TP_TRY(bench_sample_done(b, kind->park, err));
	}
	for (unsigned int i = 0; i < pairs; i++) {
		if (!parked[i])
			continue;
		TP_TRY(bench_sample_done(b, kind->resume,
			resume_pair(b, kind, batch.session[2 * i + 1], (first + i) % 2 == 0)));
		TP_TRY(bench_end(&batch.session[2 * i + 1]));
	}
	return NULL;
}

static struct torpor_error *run_pairs(struct bench *b, const struct kind *kind)
{
	for (unsigned int done = 0; done < b->n; done += BENCH_BATCH)
		TP_TRY(run_batch(b, kind, done, TP_MIN(b->n - done, (unsigned int)BENCH_BATCH)));
	return NULL;
}

struct torpor_error *bench_run_idle(struct bench *b)
{
	return run_pairs(b, &idle);
}

struct torpor_error *bench_run_dirty(struct bench *b)
{
	return run_pairs(b, &dirty);
}

/* --- checkpoint_idle --- */

static struct torpor_error *checkpoint(struct bench *b, struct torpor_session *session)
{
	TP_FREE char *name = bench_name(b);
	struct torpor_park_report report;

	TP_TRY(bench_settle(b));
	TP_TRY(torpor_session_checkpoint(session, name, &b->options->call, &report));
	if (unlinkat(b->engine->images_fd, name, 0) < 0)
		return tp_error_errno(errno, "remove image", name);
	bench_add(b, "checkpoint_idle.captured", "ns", (double)report.captured_ns);
	bench_add(b, "checkpoint_idle.pause", "ns", (double)report.pause_ns);
	bench_add(b, "checkpoint_idle.durable", "ns", (double)report.durable_ns);
	return NULL;
}

static struct torpor_error *checkpoint_batch(struct bench *b, unsigned int n)
{
	BENCH_BATCH_SCOPE struct bench_batch batch = {0};

	TP_TRY(bench_sample_done(
		b, "checkpoint_idle", bench_batch_start(b, b->tmpl, n, false, &batch)));
	for (unsigned int i = 0; i < batch.n; i++) {
		TP_TRY(bench_sample_done(b, "checkpoint_idle", checkpoint(b, batch.session[i])));
		TP_TRY(bench_end(&batch.session[i]));
	}
	return NULL;
}

struct torpor_error *bench_run_checkpoint(struct bench *b)
{
	for (unsigned int done = 0; done < b->n; done += 2 * BENCH_BATCH)
		TP_TRY(checkpoint_batch(b, TP_MIN(b->n - done, (unsigned int)(2 * BENCH_BATCH))));
	return NULL;
}

/* --- fork_8 --- */

static struct torpor_error *fork_all(
	struct bench *b, struct torpor_session *source, uint64_t *ready_ns)
{
	struct torpor_session_spec specs[BENCH_FORKS];
	struct torpor_resume_report reports[BENCH_FORKS];
	BENCH_BATCH_SCOPE struct bench_batch batch = {0};
	char *names[BENCH_FORKS];
	uint64_t running_ns = 0;

	static_assert(BENCH_FORKS <= 2 * BENCH_BATCH, "they fit into a batch");
	TP_TRY(torpor_template_prepare(b->tmpl, BENCH_FORKS, &b->options->call));
	TP_TRY(bench_settle(b));
	for (unsigned int i = 0; i < BENCH_FORKS; i++) {
		names[i] = bench_name(b);
		specs[i] = (struct torpor_session_spec){.name = names[i]};
	}
	uint64_t start = tp_now_ns();
	struct torpor_error *err = torpor_session_fork(
		source, specs, BENCH_FORKS, &b->options->call, reports, batch.session);
	*ready_ns = tp_now_ns() - start;
	for (unsigned int i = 0; i < BENCH_FORKS; i++)
		free(names[i]);
	if (err)
		return err;
	batch.n = BENCH_FORKS;
	for (unsigned int i = 0; i < BENCH_FORKS; i++)
		running_ns = TP_MAX(running_ns, reports[i].running_ns);
	bench_add(b, "fork_8.running", "ns", (double)running_ns);
	bench_add(b, "fork_8.ready", "ns", (double)*ready_ns);
	return NULL;
}

/* One resume of the same image, for comparison: before or behind. */
static struct torpor_error *resume_one(
	struct bench *b, struct torpor_session *source, uint64_t *ready_ns)
{
	struct torpor_resume_report report;

	TP_TRY(torpor_template_prepare(b->tmpl, 1, &b->options->call));
	TP_TRY(bench_settle(b));
	TP_TRY(torpor_session_resume(source, &b->options->call, &report));
	*ready_ns = report.ready_ns;
	bench_add(b, "fork_8.one_resume_ready", "ns", (double)report.ready_ns);
	return NULL;
}

static struct torpor_error *fork_sample(struct bench *b, struct torpor_session *source)
{
	uint64_t all_ns;
	uint64_t one_ns;

	TP_TRY(torpor_session_park(source, &b->options->call, NULL));
	TP_TRY(fork_all(b, source, &all_ns));
	TP_TRY(resume_one(b, source, &one_ns));
	double split = (double)one_ns * BENCH_FORKS / TP_MIN(b->cores, BENCH_FORKS);
	bench_add(b, "fork_8.resumes_over_cores", "ns", split);
	bench_judge(b, "ratio_fork_8", "ratio", (double)all_ns / split, LIMIT_FORK);
	return NULL;
}

static struct torpor_error *fork_batch(struct bench *b, unsigned int n)
{
	BENCH_BATCH_SCOPE struct bench_batch batch = {0};

	TP_TRY(bench_sample_done(b, "fork_8", bench_batch_start(b, b->tmpl, n, false, &batch)));
	for (unsigned int i = 0; i < batch.n; i++) {
		TP_TRY(bench_sample_done(b, "fork_8", fork_sample(b, batch.session[i])));
		TP_TRY(bench_end(&batch.session[i]));
	}
	return NULL;
}

struct torpor_error *bench_run_fork(struct bench *b)
{
	for (unsigned int done = 0; done < b->n; done += BENCH_BATCH)
		TP_TRY(fork_batch(b, TP_MIN(b->n - done, (unsigned int)BENCH_BATCH)));
	return NULL;
}
