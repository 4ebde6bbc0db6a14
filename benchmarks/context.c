/* SPDX-License-Identifier: Apache-2.0 */
/* Where it was measured, and how quiet it was there. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "benchmarks/bench_priv.h"
#include "benchmarks/stats.h"
#include "snapshot/procmem.h"
#include "storage/io.h"

#define NOISE_ROUNDS 1000000u /* of the fixed work: some milliseconds */
#define NOISY_SPREAD 1.25     /* p90 over median, or median over the least: not quiet */

void bench_print_fact(struct bench *b, const char *name, json_t *value)
{
	FILE *out = b->options->out;

	if (b->options->table) {
		TP_FREE char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(4));
		fprintf(out, "%-16s %s\n", name, text);
		json_decref(value);
		return;
	}
	json_t *line = json_pack("{s:s, s:o}", "context", name, "value", value);
	json_dumpf(line, out, JSON_COMPACT | JSON_REAL_PRECISION(4));
	fputc('\n', out);
	json_decref(line);
}

double bench_load_average(void)
{
	double load[1] = {0};

	return getloadavg(load, 1) == 1 ? load[0] : -1;
}

static json_t *processor(void)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];
	json_t *model = NULL;

	while (f && !model && fgets(line, sizeof(line), f)) {
		const char *colon = strchr(line, ':');
		if (strncmp(line, "model name", 10) == 0 && colon)
			model = json_stringn(colon + 2, strcspn(colon + 2, "\n"));
	}
	if (f)
		fclose(f);
	return model ? model : json_null();
}

static json_t *date(void)
{
	char text[32];
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_string(text);
}

void bench_print_context(struct bench *b)
{
	struct utsname host;

	uname(&host);
	bench_print_fact(b, "torpor", json_string(b->options->version));
	bench_print_fact(b, "date", date());
	bench_print_fact(b, "host", json_string(host.nodename));
	bench_print_fact(b, "kernel", json_string(host.release));
	bench_print_fact(b, "processor", processor());
	bench_print_fact(b, "cores", json_integer(b->cores));
	bench_print_fact(b, "qemu", json_string(b->info.qemu_version));
	bench_print_fact(b, "accel", json_string(b->info.accel));
	bench_print_fact(b, "machine", json_string(b->info.machine_type));
	bench_print_fact(b, "template", json_string(b->info.name));
	bench_print_fact(b, "template_id", json_string(b->info.id));
	bench_print_fact(b, "memory_bytes", json_integer((json_int_t)b->info.memory));
	bench_print_fact(b, "scan", json_string(tp_scan_method_name(tp_procmem_scan_method())));
	bench_print_fact(b, "io_uring", json_boolean(tp_io_uring_available()));
	bench_print_fact(b, "n", json_integer(b->n));
	bench_print_fact(b, "quiet_ms", json_integer(b->quiet_ms));
	bench_print_fact(b, "quick", json_boolean(b->options->quick));
	bench_print_fact(b, "load_start", json_real(b->load_start));
	fflush(b->options->out);
}

/* A chain of dependent steps: its time depends on the core, and on who else uses it. */
static uint64_t fixed_work(void)
{
	volatile uint64_t seed = 0x9e3779b97f4a7c15;
	uint64_t x = seed;

	for (unsigned int i = 0; i < NOISE_ROUNDS; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	seed = x;
	return seed;
}

struct torpor_error *bench_settle(struct bench *b)
{
	struct bench_series *s = &b->noise;

	TP_TRY(bench_quiet(b, BENCH_SETTLE_MS));
	uint64_t start = tp_now_ns();
	fixed_work();
	s->values = tp_reallocarray(s->values, s->n + 1, sizeof(*s->values));
	s->values[s->n++] = (double)(tp_now_ns() - start);
	return NULL;
}

void bench_print_quietness(struct bench *b)
{
	unsigned int n = b->noise.n;
	double *v = b->noise.values;

	bench_print_fact(b, "load_end", json_real(bench_load_average()));
	if (n == 0)
		return;
	bench_sort(v, n);
	double p50 = bench_rank(v, n, 50);
	double p90 = bench_rank(v, n, 90);
	/* The fixed work is too short to be interrupted each time that somebody waits for a core.
	 */
	bool noisy =
		p90 > NOISY_SPREAD * p50 || p50 > NOISY_SPREAD * v[0] || b->load_start >= b->cores;
	bench_print_fact(b, "noise",
		json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:b}", "unit", "ns", "n", (int)n, "min",
			(json_int_t)v[0], "p50", (json_int_t)p50, "p90", (json_int_t)p90, "max",
			(json_int_t)v[n - 1], "noisy", (int)noisy));
	if (noisy)
		bench_say("the machine was NOT quiet: load %.1f, fixed work took %.2f to %.2f ms "
			  "(p90 %.2f)",
			b->load_start, v[0] / 1e6, v[n - 1] / 1e6, p90 / 1e6);
}
