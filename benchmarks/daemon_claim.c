/* SPDX-License-Identifier: Apache-2.0 */
/* Through torpord: claims, quiet and while the pool refills; park and resume beside the core's own.
 */
#include <string.h>

#include "base/mem.h"
#include "benchmarks/daemon.h"

#define LIMIT_RUNNING_NS (3.0 * 1e6)
#define LIMIT_ANSWER_NS	 (10.0 * 1e6)
#define LIMIT_OVER_NS	 (3.0 * 1e6) /* what HTTP and the records may add to the core's own time */
#define LIMIT_SPREAD	 5.0
#define LIMIT_REFILL	 2.0

/* --- claims --- */

static struct torpor_error *claim(struct bench *b, struct bench_host *host, const char *figure)
{
	struct torpor_remote_session session = {0};
	uint64_t answer_ns;

	TP_TRY(bench_host_claim(b, host, &session, &answer_ns));
	bool warm = strcmp(session.source, "warm") == 0;
	if (warm) {
		bench_add_to(b, figure, "running", "ns", (double)session.timing.running_ns);
		bench_add_to(b, figure, "ready", "ns", (double)session.timing.ready_ns);
		bench_add_to(b, figure, "answer", "ns", (double)answer_ns);
	}
	TP_FREE char *source = tp_strdup(session.source);
	struct torpor_error *err = bench_host_destroy(b, host, session.id);
	torpor_remote_session_deinit(&session);
	if (!err && !warm)
		return tp_error(TORPOR_E_BUSY, "claim", "a warm guest", "it came from: %s", source);
	return err;
}

static struct torpor_error *claim_quiet(struct bench *b, struct bench_host *host)
{
	TP_TRY(bench_host_stocked(b, host));
	TP_TRY(bench_settle(b));
	return claim(b, host, "daemon_claim");
}

/* One claim so that the pool has to refill, and another one while it does. */
static struct torpor_error *claim_refilling(struct bench *b, struct bench_host *host)
{
	struct torpor_remote_session first = {0};
	unsigned int starting = 0;
	uint64_t answer_ns;

	TP_TRY(bench_host_stocked(b, host));
	TP_TRY(bench_settle(b));
	TP_TRY(bench_host_claim(b, host, &first, &answer_ns));
	for (int i = 0; i < 1000 && starting == 0; i++)
		TP_TRY(bench_host_starting(b, host, &starting));
	struct torpor_error *err = starting > 0
					   ? claim(b, host, "daemon_claim_refill")
					   : tp_error(TORPOR_E_BUSY, "claim", "while refilling",
						     "nothing was being started");
	err = tp_error_first(err, bench_host_destroy(b, host, first.id));
	torpor_remote_session_deinit(&first);
	return err;
}

static void judge_claims(struct bench *b)
{
	double p50 = bench_percentile(b, "daemon_claim.answer", 50);
	double p99 = bench_percentile(b, "daemon_claim.answer", 99);
	double refill = bench_percentile(b, "daemon_claim_refill.answer", 99);

	bench_judge(b, "limit_daemon_claim_running", "ns",
		bench_percentile(b, "daemon_claim.running", 50), LIMIT_RUNNING_NS);
	bench_judge(b, "limit_daemon_claim_answer", "ns", p50, LIMIT_ANSWER_NS);
	if (p50 > 0)
		bench_judge(b, "ratio_daemon_claim_p99_p50", "ratio", p99 / p50, LIMIT_SPREAD);
	if (p99 > 0 && refill > 0)
		bench_judge(
			b, "ratio_daemon_claim_refill_p99", "ratio", refill / p99, LIMIT_REFILL);
}

struct torpor_error *bench_run_daemon_claim(struct bench *b)
{
	BENCH_HOST struct bench_host host = {.notify_fd = -1};

	TP_TRY(bench_host_start(b, &host));
	for (unsigned int i = 0; i < b->n; i++) {
		TP_TRY(bench_sample_done(b, "daemon_claim", claim_quiet(b, &host)));
		TP_TRY(bench_sample_done(b, "daemon_claim_refill", claim_refilling(b, &host)));
	}
	judge_claims(b);
	return NULL;
}

/* --- park and resume, beside the core's own --- */

struct timed {
	uint64_t park_ns; /* call to return */
	uint64_t running_ns;
	uint64_t ready_ns;
};

static struct torpor_error *sleep_in_core(struct bench *b, struct timed *timed_out)
{
	struct torpor_resume_report report;
	struct torpor_session *session;
	struct torpor_error *err;

	TP_TRY(bench_claim(b, b->tmpl, &report, &session));
	err = bench_quiet(b, b->quiet_ms);
	uint64_t start = tp_now_ns();
	if (!err)
		err = torpor_session_park(session, &b->options->call, NULL);
	timed_out->park_ns = tp_now_ns() - start;
	if (!err)
		err = torpor_template_prepare(b->tmpl, 1, &b->options->call);
	if (!err)
		err = bench_settle(b);
	if (!err)
		err = torpor_session_resume(session, &b->options->call, &report);
	err = tp_error_first(err, bench_end(&session));
	if (err)
		return err;
	timed_out->running_ns = report.running_ns;
	timed_out->ready_ns = report.ready_ns;
	return NULL;
}

static struct torpor_error *sleep_through_api(
	struct bench *b, struct bench_host *host, const char *id, struct timed *timed_out)
{
	struct torpor_remote_session session = {0};

	TP_TRY(bench_quiet(b, b->quiet_ms));
	uint64_t start = tp_now_ns();
	TP_TRY(torpor_client_park(host->client, id, &b->options->call, NULL));
	timed_out->park_ns = tp_now_ns() - start;
	TP_TRY(bench_host_stocked(b, host));
	TP_TRY(bench_settle(b));
	start = tp_now_ns();
	TP_TRY(torpor_client_resume(host->client, id, &b->options->call, &session));
	uint64_t answer_ns = tp_now_ns() - start;
	timed_out->running_ns = session.timing.running_ns;
	timed_out->ready_ns = answer_ns;
	torpor_remote_session_deinit(&session);
	return NULL;
}

static struct torpor_error *sleep_pair(struct bench *b, struct bench_host *host, bool core_first)
{
	struct torpor_remote_session session = {0};
	struct timed core = {0}, api = {0};
	uint64_t answer_ns;

	if (core_first)
		TP_TRY(sleep_in_core(b, &core));
	TP_TRY(bench_host_stocked(b, host));
	TP_TRY(bench_host_claim(b, host, &session, &answer_ns));
	struct torpor_error *err = sleep_through_api(b, host, session.id, &api);
	err = tp_error_first(err, bench_host_destroy(b, host, session.id));
	torpor_remote_session_deinit(&session);
	if (err)
		return err;
	if (!core_first)
		TP_TRY(sleep_in_core(b, &core));
	bench_add(b, "daemon_park.answer", "ns", (double)api.park_ns);
	bench_add(b, "daemon_resume.running", "ns", (double)api.running_ns);
	bench_add(b, "daemon_resume.answer", "ns", (double)api.ready_ns);
	bench_add(b, "core_park.gone", "ns", (double)core.park_ns);
	bench_add(b, "core_resume.running", "ns", (double)core.running_ns);
	bench_add(b, "core_resume.ready", "ns", (double)core.ready_ns);
	bench_judge(b, "limit_daemon_park_over_core", "ns",
		(double)api.park_ns - (double)core.park_ns, LIMIT_OVER_NS);
	bench_judge(b, "limit_daemon_resume_running_over_core", "ns",
		(double)api.running_ns - (double)core.running_ns, LIMIT_OVER_NS);
	bench_judge(b, "limit_daemon_resume_answer_over_core", "ns",
		(double)api.ready_ns - (double)core.ready_ns, LIMIT_OVER_NS);
	return NULL;
}

struct torpor_error *bench_run_daemon_sleep(struct bench *b)
{
	BENCH_HOST struct bench_host host = {.notify_fd = -1};

	TP_TRY(bench_host_start(b, &host));
	for (unsigned int i = 0; i < b->n; i++)
		TP_TRY(bench_sample_done(b, "daemon_sleep", sleep_pair(b, &host, i % 2 == 0)));
	return NULL;
}
