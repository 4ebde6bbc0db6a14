/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Torpor's own ways, and the floor.
 *
 * Every guest has an engine of its own, so that the base it shares with nobody here counts in its
 * memory, and a shell that waits is its own. The command is the library's call. Deadlines are the
 * library's defaults; cancelling goes through the options of cmp_bench.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "benchmarks/bench_priv.h"
#include "compare.h"

#define FORKS 8

struct bench *cmp_bench;

struct torpor_guest {
	struct cmp_guest common;
	struct torpor_engine *engine;
	struct torpor_template *tmpl;
	struct torpor_session *session; /* NULL: the last one was ended */
};

char *cmp_template_name(uint64_t ram_bytes)
{
	return tp_asprintf("compare-%lluM", (unsigned long long)(ram_bytes / TP_MIB));
}

static struct torpor_guest *of(struct cmp_guest *guest)
{
	return (struct torpor_guest *)guest;
}

/* --- a life --- */

static void end(struct cmp_guest *guest)
{
	struct torpor_guest *g = of(guest);

	if (!g)
		return;
	if (g->session)
		tp_error_log(torpor_session_destroy(g->session, NULL));
	torpor_template_close(g->tmpl);
	torpor_engine_close(g->engine);
	free(g);
}

static struct torpor_error *claim(
	struct torpor_guest *g, struct torpor_resume_report *report_out)
{
	TP_FREE char *name = bench_name(cmp_bench);
	struct torpor_session_spec spec = {.name = name};

	return torpor_session_start(g->tmpl, &spec, &cmp_bench->options->call, report_out, &g->session);
}

static struct torpor_error *open_all(struct torpor_guest *g, enum torpor_path path)
{
	const struct torpor_call *call = &cmp_bench->options->call;

	struct torpor_engine_options options = cmp_bench->options->engine;
	TP_FREE char *name = cmp_template_name(g->common.cell.ram_bytes);

	options.path = path;
	TP_TRY(torpor_engine_open(&options, &g->engine));
	TP_TRY(torpor_template_open(g->engine, name, call, &g->tmpl));
	TP_TRY(claim(g, NULL));
	return bench_put_payload(cmp_bench, g->session, g->common.cell.payload_bytes);
}

static struct torpor_error *start_on(enum torpor_path path, const struct cmp_peer_ops *ops,
	const struct cmp_places *places, const struct cmp_cell *cell, const struct tp_call *call,
	struct cmp_guest **guest_out)
{
	struct torpor_guest *g = tp_calloc(1, sizeof(*g));

	(void)call;
	g->common = (struct cmp_guest){.ops = ops, .places = places, .cell = *cell};
	struct torpor_error *err = open_all(g, path);
	if (err) {
		end(&g->common);
		return err;
	}
	*guest_out = &g->common;
	return NULL;
}

static struct torpor_error *start(const struct cmp_peer_ops *ops, const struct cmp_places *places,
	const struct cmp_cell *cell, const struct tp_call *call, struct cmp_guest **guest_out)
{
	return start_on(TORPOR_PATH_DIRECT, ops, places, cell, call, guest_out);
}

static struct torpor_error *start_stream(const struct cmp_peer_ops *ops,
	const struct cmp_places *places, const struct cmp_cell *cell, const struct tp_call *call,
	struct cmp_guest **guest_out)
{
	return start_on(TORPOR_PATH_STREAM, ops, places, cell, call, guest_out);
}

/* The report's times begin with `stop`; what came before is part of the command. */
static struct torpor_error *save(
	struct cmp_guest *guest, const struct tp_call *call, struct cmp_save *out)
{
	struct torpor_park_report report;

	(void)call;
	uint64_t began = tp_now_ns();
	TP_TRY(torpor_session_park(of(guest)->session, &cmp_bench->options->call, &report));
	uint64_t took = tp_now_ns() - began;
	uint64_t before = took > report.gone_ns ? took - report.gone_ns : 0;
	*out = (struct cmp_save){
		.standstill_ns = report.captured_ns,
		.durable_ns = before + report.durable_ns,
		.gone_ns = took,
		.bytes = TP_DIV_UP(report.image_bytes, TP_PAGE_SIZE) * TP_PAGE_SIZE,
	};
	return NULL;
}

/* --- resumes --- */

static struct torpor_error *have_shell(struct cmp_guest *guest, const struct tp_call *call)
{

	(void)call;
	return torpor_template_prepare(of(guest)->tmpl, 1, &cmp_bench->options->call);
}

static struct torpor_error *drop_image(struct cmp_guest *guest, const struct tp_call *call)
{
	struct torpor_session_info info;

	TP_TRY(have_shell(guest, call));
	TP_TRY(torpor_session_info(of(guest)->session, &info));
	TP_FD int fd = open(info.image_path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return tp_error_errno(errno, "open", info.image_path);
	int failed = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	return failed ? tp_error_errno(failed, "drop from the page cache", info.image_path) : NULL;
}

static void fill(const struct torpor_resume_report *report, struct cmp_restore *out)
{
	*out = (struct cmp_restore){
		.process_ns = report->shell_ns,
		.running_ns = report->running_ns,
		.answer_ns = report->ready_ns,
	};
}

static struct torpor_error *restore(
	struct cmp_guest *guest, const struct tp_call *call, struct cmp_restore *out)
{
	struct torpor_resume_report report;

	(void)call;
	TP_TRY(torpor_session_resume(of(guest)->session, &cmp_bench->options->call, &report));
	fill(&report, out);
	return NULL;
}

/* --- claims of warm guests --- */

static struct torpor_error *have_warm(struct cmp_guest *guest, const struct tp_call *call)
{

	(void)call;
	return torpor_template_prepare_warm(of(guest)->tmpl, 1, &cmp_bench->options->call);
}

static struct torpor_error *claim_warm(
	struct cmp_guest *guest, const struct tp_call *call, struct cmp_restore *out)
{
	struct torpor_resume_report report;

	(void)call;
	TP_TRY(claim(of(guest), &report));
	if (report.source != TORPOR_SOURCE_WARM)
		return tp_error(TORPOR_E_INTERNAL, "measure", "claim", "no warm guest waited");
	fill(&report, out);
	return NULL;
}

static struct torpor_error *end_claimed(
	struct cmp_guest *guest, const struct tp_call *call, struct cmp_save *out)
{

	(void)call;
	*out = (struct cmp_save){0};
	return torpor_session_destroy(TP_TAKE(of(guest)->session), &cmp_bench->options->call);
}

/* --- forks --- */

static struct torpor_error *have_shells(struct cmp_guest *guest, const struct tp_call *call)
{

	(void)call;
	return torpor_template_prepare(of(guest)->tmpl, FORKS, &cmp_bench->options->call);
}

static struct torpor_error *fork_all(
	struct torpor_guest *g, struct torpor_resume_report *reports)
{
	struct torpor_session_spec specs[FORKS];
	struct torpor_session *forks[FORKS] = {0};
	char *names[FORKS];

	for (unsigned int i = 0; i < FORKS; i++) {
		names[i] = bench_name(cmp_bench);
		specs[i] = (struct torpor_session_spec){.name = names[i]};
	}
	struct torpor_error *err =
		torpor_session_fork(g->session, specs, FORKS,
		&cmp_bench->options->call, reports, forks);
	for (unsigned int i = 0; i < FORKS; i++) {
		free(names[i]);
		if (forks[i])
			tp_error_log(torpor_session_destroy(forks[i], NULL));
	}
	return err;
}

/* The last of all. The source is resumed behind it, unmeasured, for the next round. */
static struct torpor_error *restore_forks(
	struct cmp_guest *guest, const struct tp_call *call, struct cmp_restore *out)
{
	struct torpor_resume_report reports[FORKS];

	(void)call;
	*out = (struct cmp_restore){0};
	TP_TRY(fork_all(of(guest), reports));
	for (unsigned int i = 0; i < FORKS; i++) {
		out->running_ns = TP_MAX(out->running_ns, reports[i].running_ns);
		out->answer_ns = TP_MAX(out->answer_ns, reports[i].ready_ns);
	}
	return torpor_session_resume(of(guest)->session, &cmp_bench->options->call, NULL);
}

/* --- the floor --- */

/* The floors of `torpor bench`, with their engine and template set to this guest's. */
static void lend(struct torpor_guest *g)
{
	cmp_bench->engine = g->engine;
	cmp_bench->tmpl = g->tmpl;
}

/*
 * Measuring it leaves the guest stopped for good. So an image is made first, and the guest's place
 * is taken by that.
 */
static struct torpor_error *save_floor(
	struct cmp_guest *guest, const struct tp_call *call, struct cmp_save *out)
{
	struct torpor_guest *g = of(guest);
	TP_FREE char *name = bench_name(cmp_bench);
	struct bench_floor_park floor;

	(void)call;
	lend(g);
	TP_TRY(torpor_session_checkpoint(g->session, name, &cmp_bench->options->call, NULL));
	TP_TRY(bench_floor_park(cmp_bench, g->session, true, &floor));
	TP_TRY(torpor_session_destroy(TP_TAKE(g->session), &cmp_bench->options->call));
	TP_TRY(torpor_session_open(g->engine, name, NULL, &cmp_bench->options->call, &g->session));
	*out = (struct cmp_save){
		.standstill_ns = floor.devices_ns + floor.copy_ns,
		.durable_ns =
			floor.devices_ns + floor.copy_ns + floor.pack_ns + floor.write_ns,
	};
	return NULL;
}

static struct torpor_error *have_two_shells(struct cmp_guest *guest, const struct tp_call *call)
{

	(void)call;
	return torpor_template_prepare(of(guest)->tmpl, 2, &cmp_bench->options->call);
}

static struct torpor_error *restore_floor(
	struct cmp_guest *guest, const struct tp_call *call, struct cmp_restore *out)
{
	struct torpor_guest *g = of(guest);
	struct bench_floor_resume floor;

	(void)call;
	lend(g);
	TP_TRY(bench_floor_resume(cmp_bench, g->session, true, &floor));
	*out = (struct cmp_restore){
		.running_ns = floor.load_ns + floor.unpack_ns + floor.copy_ns,
	};
	return torpor_session_resume(g->session, &cmp_bench->options->call, NULL);
}

/* --- which take part in what --- */

static bool takes_all(const struct cmp_cell *cell)
{
	(void)cell;
	return true;
}

static bool takes_small(const struct cmp_cell *cell)
{
	return cell->ram_bytes <= TP_GIB && cell->payload_bytes <= 20 * TP_MIB;
}

static bool takes_idle(const struct cmp_cell *cell)
{
	return cell->ram_bytes <= TP_GIB && cell->payload_bytes == 0;
}

static const struct cmp_peer_ops direct = {
	.name = "torpor-direct",
	.summary = "park; resume into a shell that waits",
	.durable = true,
	.frees = true,
	.often = 5,
	.takes = takes_all,
	.start = start,
	.save = save,
	.ready = have_shell,
	.restore = restore,
	.end = end,
};

static const struct cmp_peer_ops floor_peer = {
	.name = "floor",
	.summary = "what QEMU, one core of zstd, the copies and the disk take by themselves",
	.durable = true,
	.frees = true,
	.often = 5,
	.does_more = true,
	.takes = takes_all,
	.start = start,
	.save = save_floor,
	.ready = have_two_shells,
	.restore = restore_floor,
	.end = end,
};

static const struct cmp_peer_ops cold = {
	.name = "torpor-direct-cold",
	.summary = "the same, the image not in the page cache",
	.durable = true,
	.frees = true,
	.takes = takes_small,
	.start = start,
	.save = save,
	.ready = drop_image,
	.restore = restore,
	.end = end,
};

static const struct cmp_peer_ops noshell = {
	.name = "torpor-noshell",
	.summary = "park; resume with no shell waiting, so that a process is started for it",
	.durable = true,
	.frees = true,
	.takes = takes_small,
	.start = start,
	.save = save,
	.restore = restore,
	.end = end,
};

static const struct cmp_peer_ops stream = {
	.name = "torpor-stream",
	.summary = "park and resume through QEMU's migration, without looking into its memory",
	.durable = true,
	.frees = true,
	.takes = takes_small,
	.start = start_stream,
	.save = save,
	.ready = have_shell,
	.restore = restore,
	.end = end,
};

static const struct cmp_peer_ops fork8 = {
	.name = "torpor-fork8",
	.summary = "eight sessions from one image, shells waiting; the last of them",
	.durable = true,
	.frees = true,
	.save_uncounted = true,
	.restore_op = "fork",
	.does_more = true,
	.takes = takes_idle,
	.start = start,
	.save = save,
	.ready = have_shells,
	.restore = restore_forks,
	.end = end,
};

static const struct cmp_peer_ops warm = {
	.name = "torpor-claim",
	.summary = "a new session out of a warm guest",
	.durable = true,
	.frees = true,
	.often = 5,
	.save_uncounted = true,
	.restore_op = "claim",
	.takes = takes_idle,
	.start = start,
	.save = end_claimed,
	.ready = have_warm,
	.restore = claim_warm,
	.end = end,
};

const struct cmp_peer_ops *const cmp_torpor_peers[] = {
	&direct, &floor_peer, &cold, &noshell, &stream, &fork8, &warm, NULL};
