/* SPDX-License-Identifier: Apache-2.0 */
/* Through torpord, in numbers: many guests, many cycles. */
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "benchmarks/daemon.h"

#define GUESTS	      100
#define CYCLE_CLIENTS 4
#define CYCLE_SECONDS 60

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

static struct torpor_error *density(struct bench *b, struct bench_host *host)
{
	unsigned int guests = bench_scaled(b, GUESTS);
	TP_FREE struct torpor_remote_session *session = tp_calloc(guests, sizeof(*session));
	struct torpor_error *err = NULL;
	double private_sum = 0;
	uint64_t answer_ns;
	unsigned int n = 0;

	while (!err && n < guests) {
		err = bench_host_claim(b, host, &session[n], &answer_ns);
		if (!err) {
			bench_add(b, "daemon_density.claim_answer", "ns", (double)answer_ns);
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
		bench_add(b, "daemon_density.private", "bytes", (double)private_bytes);
		private_sum += (double)private_bytes;
	}
	for (unsigned int i = 0; i < n; i++) {
		err = tp_error_first(err, bench_host_destroy(b, host, session[i].id));
		torpor_remote_session_deinit(&session[i]);
	}
	if (err)
		return err;
	bench_add(b, "daemon_density.private_sum", "bytes", private_sum);
	bench_add(b, "daemon_density.sum_with_base", "bytes", private_sum + (double)b->info.memory);
	bench_add(b, "daemon_density.guests", "guests", guests);
	return NULL;
}

struct torpor_error *bench_run_daemon_density(struct bench *b)
{
	BENCH_HOST struct bench_host host = {.notify_fd = -1};

	TP_TRY(bench_host_start(b, &host));
	struct torpor_error *err = density(b, &host);
	return bench_sample_done(b, "daemon_density", err);
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
	uint64_t seconds = bench_scaled(b, CYCLE_SECONDS);
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
