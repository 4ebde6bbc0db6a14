/* SPDX-License-Identifier: Apache-2.0 */
/* Through torpord, in numbers: many guests, many parked sessions, many cycles. */
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "benchmarks/daemon.h"
#include "storage/records.h"

#define GUESTS	       100
#define BOOTED	       2 /* guests that booted by themselves, for comparison */
#define FEW_PARKED     100
#define MANY_PARKED    10000
#define LIMIT_MANY     2.0 /* times the same with few */
#define CYCLE_CLIENTS  4
#define CYCLE_SECONDS  60
#define QUICK_DIVISOR  20
#define RESTARTS       5
#define REBOOT_SECONDS 60

static unsigned int scaled(const struct bench *b, unsigned int full)
{
	return b->options->quick ? TP_MAX(full / QUICK_DIVISOR, 2u) : full;
}

/* --- density --- */

static struct torpor_error *guest_bytes(struct bench *b, struct bench_host *host, const char *id,
	json_int_t *private_out, json_int_t *resident_out)
{
	TP_FREE char *path = tp_asprintf("/v1/sessions/%s", id);
	TP_FREE char *text = NULL;

	TP_TRY(torpor_client_request(
		host->client, "GET", path, NULL, &b->options->call, NULL, &text));
	json_t *view = json_loads(text, 0, NULL);
	int bad = json_unpack(view, "{s:{s:I, s:I}}", "guest", "private_bytes", private_out,
		"resident_bytes", resident_out);
	json_decref(view);
	if (bad)
		return tp_error(TORPOR_E_IO, "read", id, "it has no guest: %s", text);
	return NULL;
}

/* What a guest costs that shares nothing: one that booted by itself. */
static struct torpor_error *measure_booted(struct bench *b, double *private_out)
{
	static const char *const argv[] = {"reboot", "-f", NULL};
	struct torpor_resume_report report;
	struct torpor_session_info info = {0};
	struct torpor_session *session;
	struct torpor_exec_result result;
	struct torpor_error *err;

	TP_TRY(bench_claim(b, b->tmpl, &report, &session));
	/* The guest goes down under its command: how that ends says nothing. */
	err = torpor_session_exec(
		session, &(struct torpor_exec){.argv = argv}, &b->options->call, &result);
	torpor_error_free(err);
	err = NULL;
	for (int i = 0; !err && i < 10 * REBOOT_SECONDS; i++) {
		err = torpor_session_info(session, &info);
		if (err || (info.reboots > 0 && info.state == TORPOR_SESSION_RUNNING))
			break;
		err = bench_quiet(b, 100);
	}
	if (!err)
		err = bench_quiet(b, b->quiet_ms);
	if (!err)
		err = torpor_session_info(session, &info);
	*private_out = (double)info.private_bytes;
	return tp_error_first(err, bench_end(&session));
}

static struct torpor_error *density(struct bench *b, struct bench_host *host)
{
	unsigned int guests = scaled(b, GUESTS);
	TP_FREE struct torpor_remote_session *session = tp_calloc(guests, sizeof(*session));
	struct torpor_error *err = NULL;
	double private_sum = 0;
	uint64_t answer_ns;
	unsigned int n = 0;

	while (!err && n < guests) {
		err = bench_host_claim(b, host, &session[n], &answer_ns);
		if (!err) {
			bench_add(b, "density.claim_answer", "ns", (double)answer_ns);
			n++;
		}
	}
	if (!err)
		err = bench_quiet(b, b->quiet_ms);
	for (unsigned int i = 0; !err && i < n; i++) {
		json_int_t private_bytes, resident_bytes;
		err = guest_bytes(b, host, session[i].id, &private_bytes, &resident_bytes);
		if (err)
			break;
		bench_add(b, "density.private", "bytes", (double)private_bytes);
		private_sum += (double)private_bytes;
	}
	for (unsigned int i = 0; i < n; i++) {
		err = tp_error_first(err, bench_host_destroy(b, host, session[i].id));
		torpor_remote_session_deinit(&session[i]);
	}
	if (err)
		return err;
	bench_add(b, "density.private_sum", "bytes", private_sum);
	bench_add(b, "density.guests", "guests", guests);
	return NULL;
}

struct torpor_error *bench_run_daemon_density(struct bench *b)
{
	BENCH_HOST struct bench_host host = {.notify_fd = -1};

	for (int i = 0; i < BOOTED; i++) {
		double private_bytes;
		struct torpor_error *err = measure_booted(b, &private_bytes);
		if (!err)
			bench_add(b, "booted.private", "bytes", private_bytes);
		TP_TRY(bench_sample_done(b, "booted", err));
	}
	TP_TRY(bench_host_start(b, &host));
	struct torpor_error *err = density(b, &host);
	if (!err) {
		double booted = bench_percentile(b, "booted.private", 50);
		double sum =
			bench_percentile(b, "density.private_sum", 50) + (double)b->info.memory;
		bench_add(b, "density.sum_with_base", "bytes", sum);
		bench_add(b, "density.separate_boots_sum", "bytes", booted * scaled(b, GUESTS));
	}
	return bench_sample_done(b, "density", err);
}

/* --- many parked sessions --- */

/* As many sessions as are wanted, all with the image of the one that is parked. */
struct copies {
	struct bench_host *host;
	struct tp_records *records;
	const struct tp_session_row *session;
	const struct tp_image_row *image;
};

static struct torpor_error *add_copy(struct copies *copies, unsigned int number)
{
	TP_FREE char *id = tp_asprintf("zz%014u", number);
	TP_FREE char *name = tp_asprintf("copy-%u", number);
	TP_FREE char *from = tp_asprintf("%s/images/%s", copies->host->dir, copies->image->name);
	TP_FREE char *to = tp_asprintf("%s/images/%s", copies->host->dir, id);
	struct tp_session_row session = *copies->session;
	struct tp_image_row image = *copies->image;
	struct tp_change *change;

	if (link(from, to) < 0)
		return tp_error_errno(errno, "link", to);
	session.id = id;
	session.name = name;
	session.created_ns -= number;
	image.name = id;
	image.session = id;
	change = tp_change_new();
	tp_change_put_session(change, &session);
	tp_change_put_image(change, &image);
	return tp_records_commit(copies->records, change);
}

/* A hard link for each image: beyond what a file may have of them the test stops with an error. */
static struct torpor_error *add_copies(
	struct bench_host *host, const char *id, unsigned int first, unsigned int end)
{
	struct tp_session_row session = {0};
	struct tp_image_row image = {0};
	struct copies copies = {.host = host, .session = &session, .image = &image};
	struct torpor_error *err;

	TP_TRY(tp_records_open(host->dir, "records.db", &copies.records));
	err = tp_records_session(copies.records, NULL, id, &session);
	if (!err)
		err = tp_records_image(copies.records, id, &image);
	for (unsigned int i = first; !err && i < end; i++)
		err = add_copy(&copies, i);
	tp_session_row_deinit(&session);
	tp_image_row_deinit(&image);
	tp_records_close(copies.records);
	return err;
}

static struct torpor_error *time_request(
	struct bench *b, struct bench_host *host, const char *path, const char *figure)
{
	TP_FREE char *text = NULL;
	uint64_t start = tp_now_ns();

	TP_TRY(torpor_client_request(
		host->client, "GET", path, NULL, &b->options->call, NULL, &text));
	bench_add(b, figure, "ns", (double)(tp_now_ns() - start));
	return NULL;
}

static struct torpor_error *measure_parked(
	struct bench *b, struct bench_host *host, const char *id, const char *prefix)
{
	TP_FREE char *list = tp_asprintf("%s.list", prefix);
	TP_FREE char *show = tp_asprintf("%s.show", prefix);
	TP_FREE char *claim = tp_asprintf("%s.claim", prefix);
	TP_FREE char *restart = tp_asprintf("%s.restart", prefix);
	TP_FREE char *path = tp_asprintf("/v1/sessions/%s", id);

	for (unsigned int i = 0; i < b->n; i++) {
		struct torpor_remote_session session = {0};
		uint64_t answer_ns;
		TP_TRY(bench_host_stocked(b, host));
		TP_TRY(bench_settle(b));
		TP_TRY(time_request(b, host, "/v1/sessions", list));
		TP_TRY(time_request(b, host, path, show));
		TP_TRY(bench_host_claim(b, host, &session, &answer_ns));
		bench_add(b, claim, "ns", (double)answer_ns);
		TP_TRY(bench_host_destroy(b, host, session.id));
		torpor_remote_session_deinit(&session);
	}
	for (unsigned int i = 0; i < RESTARTS; i++) {
		uint64_t took_ns;
		TP_TRY(bench_host_restart(b, host, &took_ns));
		bench_add(b, restart, "ns", (double)took_ns);
	}
	return NULL;
}

static void judge_parked(struct bench *b)
{
	static const char *const figures[] = {"list", "show", "claim", "restart"};

	for (size_t i = 0; i < TP_ARRAY_LEN(figures); i++) {
		TP_FREE char *few = tp_asprintf("records_few.%s", figures[i]);
		TP_FREE char *many = tp_asprintf("records_many.%s", figures[i]);
		TP_FREE char *verdict = tp_asprintf("ratio_records_%s", figures[i]);
		if (bench_percentile(b, few, 50) > 0)
			bench_judge(b, verdict, "ratio",
				bench_percentile(b, many, 50) / bench_percentile(b, few, 50),
				LIMIT_MANY);
	}
}

static struct torpor_error *parked(struct bench *b, struct bench_host *host)
{
	unsigned int few = scaled(b, FEW_PARKED);
	unsigned int many = scaled(b, MANY_PARKED);
	struct torpor_remote_session session = {0};
	uint64_t answer_ns;

	TP_TRY(bench_host_claim(b, host, &session, &answer_ns));
	TP_FREE char *id = tp_strdup(session.id);
	torpor_remote_session_deinit(&session);
	TP_TRY(torpor_client_park(host->client, id, &b->options->call, NULL));
	TP_TRY(bench_host_halt(host));
	TP_TRY(add_copies(host, id, 0, few));
	TP_TRY(bench_host_run(b, host));
	TP_TRY(measure_parked(b, host, id, "records_few"));
	TP_TRY(bench_host_halt(host));
	TP_TRY(add_copies(host, id, few, many));
	TP_TRY(bench_host_run(b, host));
	TP_TRY(measure_parked(b, host, id, "records_many"));
	bench_add(b, "records_few.sessions", "sessions", few + 1);
	bench_add(b, "records_many.sessions", "sessions", many + 1);
	judge_parked(b);
	return NULL;
}

struct torpor_error *bench_run_daemon_records(struct bench *b)
{
	BENCH_HOST struct bench_host host = {.notify_fd = -1};

	TP_TRY(bench_host_start(b, &host));
	struct torpor_error *err = parked(b, &host);
	/* Not one by one: the directory goes, and with it all records. */
	if (host.client)
		host.client = torpor_client_close(host.client);
	return bench_sample_done(b, "records", err);
}

/* --- cycles --- */

struct cycler {
	struct bench *b;
	struct bench_host *host;
	uint64_t end_ns;
	unsigned int cycles;
	unsigned int failures;
};

static void *cycle(void *data)
{
	struct cycler *c = data;
	struct torpor_remote_session session = {0};
	uint64_t answer_ns;

	struct torpor_error *err = bench_host_claim(c->b, c->host, &session, &answer_ns);
	while (!err && tp_now_ns() < c->end_ns) {
		err = torpor_client_park(c->host->client, session.id, &c->b->options->call, NULL);
		if (!err)
			err = torpor_client_resume(
				c->host->client, session.id, &c->b->options->call, NULL);
		c->cycles += !err;
		if (err && torpor_error_code(err) != TORPOR_E_CANCELLED) {
			c->failures++;
			tp_error_log(err);
			err = NULL;
		}
	}
	c->failures += err != NULL;
	tp_error_log(err);
	if (session.id[0])
		tp_error_log(bench_host_destroy(c->b, c->host, session.id));
	torpor_remote_session_deinit(&session);
	return NULL;
}

struct torpor_error *bench_run_daemon_cycles(struct bench *b)
{
	BENCH_HOST struct bench_host host = {.notify_fd = -1};
	struct cycler cyclers[CYCLE_CLIENTS];
	pthread_t threads[CYCLE_CLIENTS];
	unsigned int cycles = 0, failures = 0, started = 0;

	TP_TRY(bench_host_start(b, &host));
	TP_TRY(bench_host_stocked(b, &host));
	uint64_t seconds = scaled(b, CYCLE_SECONDS);
	uint64_t end_ns = tp_now_ns() + seconds * TP_NSEC_PER_SEC;
	for (; started < CYCLE_CLIENTS; started++) {
		cyclers[started] = (struct cycler){.b = b, .host = &host, .end_ns = end_ns};
		if (pthread_create(&threads[started], NULL, cycle, &cyclers[started]) != 0)
			break;
	}
	for (unsigned int i = 0; i < started; i++) {
		pthread_join(threads[i], NULL);
		cycles += cyclers[i].cycles;
		failures += cyclers[i].failures;
	}
	bench_add(b, "cycles.per_second", "ratio", (double)cycles / (double)seconds);
	bench_add(b, "cycles.failures", "cycles", failures);
	bench_add(b, "cycles.clients", "clients", started);
	return NULL;
}
