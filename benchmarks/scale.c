/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scale_ram: does the cost depend on what changed, or on how much memory the guest has?
 *
 * Guests of three sizes from one kernel and initrd, parked and resumed idle, by both ways of
 * finding changed pages. Each way has an engine of its own, and so its own bases; in each round
 * every size and way has one guest.
 */
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "benchmarks/bench_priv.h"

#define SIZES	3
#define METHODS 2
#define CELLS	(SIZES * METHODS)

static const struct {
	const char *name;
	uint64_t bytes;
} sizes[SIZES] = {{"128M", 128 * TP_MIB}, {"1G", TP_GIB}, {"4G", 4 * TP_GIB}};

static const struct {
	const char *name;
	enum torpor_scan scan;
} methods[METHODS] = {{"pagemap_scan", TORPOR_SCAN_PAGEMAP_SCAN}, {"pagemap", TORPOR_SCAN_PAGEMAP}};

struct scale {
	struct bench *b;
	unsigned int first_method; /* the first that this kernel has */
	struct torpor_engine *engine[METHODS];
	struct torpor_template *tmpl[METHODS][SIZES];
};

static void scale_deinit(struct scale *s)
{
	for (unsigned int m = 0; m < METHODS; m++) {
		for (unsigned int i = 0; i < SIZES; i++)
			torpor_template_close(s->tmpl[m][i]);
		torpor_engine_close(s->engine[m]);
	}
}

/* --- Templates --- */

static void tell(void *data, const char *stage, const char *line)
{
	(void)data;
	(void)line;
	if (strcmp(stage, "console") != 0)
		bench_say("  %s", stage);
}

/* Whether both templates have the same FILE (or neither has it). */
static bool same_file(struct torpor_engine *engine, const char *a, const char *b, const char *file)
{
	TP_FREE char *path_a = tp_asprintf("%s/%s", a, file);
	TP_FREE char *path_b = tp_asprintf("%s/%s", b, file);
	TP_FREE char *data_a = NULL;
	TP_FREE char *data_b = NULL;
	size_t len_a = 0;
	size_t len_b = 0;

	torpor_error_free(tp_read_file(engine->templates_fd, path_a, TP_GIB, &data_a, &len_a));
	torpor_error_free(tp_read_file(engine->templates_fd, path_b, TP_GIB, &data_b, &len_b));
	return len_a == len_b && !data_a == !data_b &&
	       (!data_a || memcmp(data_a, data_b, len_a) == 0);
}

/* Whether the template NAME is stored and made of what the benchmark's is made of. */
static bool is_built(struct bench *b, const char *name, uint64_t bytes)
{
	struct torpor_template_info info;
	TP_ERROR struct torpor_error *err = torpor_template_lookup(b->engine, name, &info);

	return !err && info.memory == bytes && strcmp(info.accel, b->info.accel) == 0 &&
	       strcmp(info.machine_type, b->info.machine_type) == 0 &&
	       strcmp(info.qemu_version, b->info.qemu_version) == 0 &&
	       same_file(b->engine, b->tmpl->name, name, TEMPLATE_KERNEL) &&
	       same_file(b->engine, b->tmpl->name, name, TEMPLATE_INITRD);
}

struct torpor_error *bench_template_of_size(struct bench *b, const char *name, uint64_t bytes)
{
	const struct tp_record *record = &b->tmpl->base->record;
	TP_FREE char *kernel = tp_template_path(b->tmpl, TEMPLATE_KERNEL);
	TP_FREE char *initrd = tp_template_path(b->tmpl, TEMPLATE_INITRD);
	struct torpor_template *tmpl;
	struct torpor_template_spec spec = {
		.name = name,
		.machine = tp_machine_name(record->guest.machine),
		.accel = b->info.accel,
		.memory = bytes,
		.vcpus = b->info.vcpus,
		.kernel = kernel,
		.initrd = access(initrd, F_OK) == 0 ? initrd : NULL,
		.append = record->append,
		.replace = true,
	};

	if (is_built(b, name, bytes))
		return NULL;
	bench_say("building template %s, once", name);
	TP_TRY(torpor_template_build(b->engine, &spec, tell, NULL, &b->options->call, NULL, &tmpl));
	torpor_template_close(tmpl);
	return NULL;
}

static struct torpor_error *open_method(struct scale *s, unsigned int m)
{
	struct torpor_engine_options options = s->b->options->engine;

	options.scan = methods[m].scan;
	TP_TRY(torpor_engine_open(&options, &s->engine[m]));
	for (unsigned int i = 0; i < SIZES; i++) {
		TP_FREE char *name = tp_asprintf("bench-%s", sizes[i].name);
		TP_TRY(torpor_template_open(
			s->engine[m], name, &s->b->options->call, &s->tmpl[m][i]));
	}
	return NULL;
}

static struct torpor_error *open_all(struct scale *s)
{
	for (unsigned int i = 0; i < SIZES; i++) {
		TP_FREE char *name = tp_asprintf("bench-%s", sizes[i].name);
		TP_TRY(bench_template_of_size(s->b, name, sizes[i].bytes));
	}
	if (tp_procmem_scan_method() != TP_SCAN_PAGEMAP_SCAN) {
		bench_say("this kernel has no PAGEMAP_SCAN: only pagemap is measured");
		s->first_method = 1;
	}
	for (unsigned int m = s->first_method; m < METHODS; m++)
		TP_TRY(open_method(s, m));
	return NULL;
}

/* --- Samples --- */

struct round {
	struct bench_batch batch; /* by method, then size */
	uint64_t captured_ns[METHODS][SIZES];
	uint64_t running_ns[METHODS][SIZES];
};

static void round_end(struct round *round)
{
	bench_batch_end(&round->batch);
}

static struct torpor_error *park_one(
	struct scale *s, struct round *round, unsigned int m, unsigned int size)
{
	unsigned int cell = (m - s->first_method) * SIZES + size;
	TP_FREE char *figure =
		tp_asprintf("scale_ram.park_%s_%s", methods[m].name, sizes[size].name);
	struct torpor_park_report report;

	TP_TRY(bench_settle(s->b));
	TP_TRY(bench_park(s->b, round->batch.session[cell], figure, &report));
	if (report.scan != methods[m].scan)
		return tp_error(TORPOR_E_INTERNAL, "measure", figure, "another scan was used");
	round->captured_ns[m][size] = report.captured_ns;
	return NULL;
}

static struct torpor_error *resume_one(
	struct scale *s, struct round *round, unsigned int m, unsigned int size)
{
	unsigned int cell = (m - s->first_method) * SIZES + size;
	TP_FREE char *figure =
		tp_asprintf("scale_ram.resume_%s_%s", methods[m].name, sizes[size].name);
	struct torpor_resume_report report;

	TP_TRY(torpor_template_prepare(s->tmpl[m][size], 1, &s->b->options->call));
	TP_TRY(bench_settle(s->b));
	TP_TRY(bench_resume(s->b, round->batch.session[cell], figure, &report));
	round->running_ns[m][size] = report.running_ns;
	return bench_end(&round->batch.session[cell]);
}

typedef struct torpor_error *cell_fn(
	struct scale *s, struct round *round, unsigned int m, unsigned int size);

/* All cells, each round beginning with another one. */
static struct torpor_error *each_cell(
	struct scale *s, struct round *round, unsigned int number, cell_fn *fn)
{
	unsigned int n = (METHODS - s->first_method) * SIZES;

	for (unsigned int i = 0; i < n; i++) {
		unsigned int cell = (number + i) % n;
		TP_TRY(fn(s, round, s->first_method + cell / SIZES, cell % SIZES));
	}
	return NULL;
}

static void judge(struct scale *s, const struct round *round, unsigned int m)
{
	double limit = methods[m].scan == TORPOR_SCAN_PAGEMAP_SCAN ? 1.2 : 0;
	double gib = (double)(sizes[SIZES - 1].bytes - sizes[0].bytes) / (double)TP_GIB;
	double small = (double)round->captured_ns[m][0];
	double large = (double)round->captured_ns[m][SIZES - 1];
	TP_FREE char *park = tp_asprintf("ratio_scale_park_%s", methods[m].name);
	TP_FREE char *resume = tp_asprintf("ratio_scale_resume_%s", methods[m].name);
	TP_FREE char *slope = tp_asprintf("slope_park_%s_per_gib", methods[m].name);

	bench_judge(s->b, park, "ratio", large / small, limit);
	bench_judge(s->b, resume, "ratio",
		(double)round->running_ns[m][SIZES - 1] / (double)round->running_ns[m][0], limit);
	bench_judge(s->b, slope, "ns", (large - small) / gib, 0);
}

static struct torpor_error *run_round(struct scale *s, unsigned int number)
{
	__attribute__((cleanup(round_end))) struct round round = {0};

	static_assert(CELLS <= TP_ARRAY_LEN(round.batch.session), "they fit into a batch");
	for (unsigned int m = s->first_method; m < METHODS; m++) {
		for (unsigned int i = 0; i < SIZES; i++) {
			TP_TRY(bench_claim(
				s->b, s->tmpl[m][i], NULL, &round.batch.session[round.batch.n]));
			round.batch.n++;
		}
	}
	TP_TRY(bench_quiet(s->b, s->b->quiet_ms));
	TP_TRY(each_cell(s, &round, number, park_one));
	TP_TRY(each_cell(s, &round, number, resume_one));
	for (unsigned int m = s->first_method; m < METHODS; m++)
		judge(s, &round, m);
	return NULL;
}

struct torpor_error *bench_run_scale(struct bench *b)
{
	__attribute__((cleanup(scale_deinit))) struct scale s = {.b = b};

	TP_TRY(open_all(&s));
	for (unsigned int i = 0; i < b->n; i++)
		TP_TRY(bench_sample_done(b, "scale_ram", run_round(&s, i)));
	return NULL;
}
