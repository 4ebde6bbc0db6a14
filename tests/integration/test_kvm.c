/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole way under KVM, with the smallest guest (tests/kvm/ticker.S): it runs where a host's KVM
 * runs no Linux. Without /dev/kvm nothing of it can be tested, and the program says so and exits
 * with 77.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "inside.h"
#include "engine/accel.h"
#include "pool/machine.h"
#include "snapshot/restore.h"
#include "support.h"

/* As in ticker.S. */
#define TICKER_COUNT	     0x00200000
#define TICKER_TOUCH	     0x00300000
#define TICKER_TOUCH_PAGES   256
#define TICKER_PATTERN	     0x00400000
#define TICKER_PATTERN_PAGES 1024
#define TICKER_PATTERN_KEY   0x5a5a5a5a

#define MEMORY (16 * TP_MIB)

#define SKIP_CODE 77 /* what meson shows as SKIP */

static struct torpor_engine *engine;
static struct torpor_template *tmpl;

static void build(const char *name, const char *accel, struct torpor_template **tmpl_out)
{
	struct torpor_template_spec spec = {
		.name = name,
		.accel = accel,
		.memory = MEMORY,
		.kernel = TICKER,
		.ready_line = "tick ",
		.replace = true,
	};

	it_ok(torpor_template_build(engine, &spec, NULL, NULL, NULL, NULL, tmpl_out));
}

static void open_all(void)
{
	engine = it_open();
	it_ok(torpor_template_open(engine, "ticker", NULL, &tmpl));
}

static void close_all(void)
{
	torpor_template_close(tmpl);
	engine = torpor_engine_close(engine);
	cr_assert_eq(it_qemu_children(), 0, "a guest outlived its engine");
}

TestSuite(kvm, .init = open_all, .fini = close_all, .timeout = 300);

/* --- What the guest has in memory --- */

static uint32_t word_at(struct torpor_session *session, uint64_t address)
{
	TP_FREE uint8_t *bytes = in_read_physical(session->guest, address, sizeof(uint32_t));
	uint32_t word;

	memcpy(&word, bytes, sizeof(word));
	return word;
}

static uint32_t count_of(struct torpor_session *session)
{
	return word_at(session, TICKER_COUNT);
}

static void wait_for_count(struct torpor_session *session, uint32_t wanted)
{
	struct tp_call call = in_call();

	while (count_of(session) < wanted)
		it_ok(tp_call_check(&call, "wait for count", NULL));
}

/* It counts: by a whole turn over the pages that it touches. */
static void check_ticking(struct torpor_session *session)
{
	wait_for_count(session, count_of(session) + TICKER_TOUCH_PAGES);
}

static void check_pattern(struct tp_guest *guest)
{
	uint64_t len = TICKER_PATTERN_PAGES * TP_PAGE_SIZE;
	TP_FREE uint8_t *bytes = in_read_physical(guest, TICKER_PATTERN, len);

	for (uint32_t at = 0; at < len; at += sizeof(uint32_t)) {
		uint32_t word;
		memcpy(&word, bytes + at, sizeof(word));
		cr_assert_eq(word, (TICKER_PATTERN + at) ^ TICKER_PATTERN_KEY,
			"the pattern is broken at 0x%x", TICKER_PATTERN + at);
	}
}

/* The pages that it touches in turn hold the last counts, each where it belongs. */
static void check_touched(struct tp_guest *guest, uint32_t count)
{
	TP_FREE uint8_t *bytes =
		in_read_physical(guest, TICKER_TOUCH, TICKER_TOUCH_PAGES * TP_PAGE_SIZE);

	for (uint32_t page = 0; page < TICKER_TOUCH_PAGES; page++) {
		uint32_t word;
		memcpy(&word, bytes + page * TP_PAGE_SIZE, sizeof(word));
		/* The last one may not have got to its page yet. */
		if (page == count % TICKER_TOUCH_PAGES && word + TICKER_TOUCH_PAGES == count)
			continue;
		cr_assert_eq(word % TICKER_TOUCH_PAGES, page);
		cr_assert(word <= count && word + TICKER_TOUCH_PAGES > count,
			"page %u holds %u at count %u", page, word, count);
	}
}

/* --- The way --- */

/* Parks a guest that stands still at a known count, by PATH; looks at it before it goes on. */
static void there_and_back(struct torpor_session *session, enum tp_path path)
{
	struct torpor_park_report park;
	struct torpor_resume_report resume;
	struct torpor_session_info info;

	it_ok(torpor_session_info(session, &info));
	check_ticking(session);
	in_stop(session);
	uint32_t count = count_of(session);
	struct in_ram before = in_ram_read(session->guest, &session->record.guest);
	engine->capture.path = path;
	it_ok(torpor_session_park(session, NULL, &park));
	cr_assert_eq(park.path, (enum torpor_path)path);
	cr_assert_geq(park.pages, TICKER_TOUCH_PAGES);
	cr_assert_not(it_process_exists(info.pid, info.start_time));

	struct tp_shell *shell = in_restore(session, info.name, path);
	struct in_ram after = in_ram_read(shell->guest, &session->record.guest);
	in_ram_compare(&before, &after, tp_path_name(path));
	check_touched(shell->guest, count);
	in_ram_deinit(&before);
	in_ram_deinit(&after);
	tp_shell_free(shell);

	it_ok(torpor_session_resume(session, NULL, &resume));
	cr_assert_eq(resume.path, (enum torpor_path)path);
	cr_assert_eq(resume.pages, park.pages);
	engine->capture.path = TP_PATH_AUTO;
	cr_assert_geq(count_of(session), count, "it counts from the start again");
	check_ticking(session);
	check_pattern(session->guest);
	fprintf(stderr, "kvm, %s: parked at count %u, %ju pages\n", tp_path_name(path), count,
		(uintmax_t)park.pages);
}

Test(kvm, it_is_kvm)
{
	struct torpor_template_info info;
	struct torpor_session *session = it_start(tmpl);
	struct tp_call call = in_call();
	json_t *result;

	it_ok(torpor_template_info(tmpl, &info));
	cr_assert_str_eq(info.accel, "kvm");
	cr_assert_not(info.helper || info.agent);
	it_ok(tp_guest_execute(session->guest, "query-kvm", NULL, -1, &call, &result));
	cr_assert(json_is_true(json_object_get(result, "enabled")));
	json_decref(result);
	it_ok(torpor_session_destroy(session, NULL));
}

Test(kvm, a_session_goes_on_where_it_was)
{
	struct torpor_session *session = it_start(tmpl);

	check_pattern(session->guest);
	there_and_back(session, TP_PATH_DIRECT);
	there_and_back(session, TP_PATH_STREAM);
	there_and_back(session, TP_PATH_DIRECT);
	it_ok(torpor_session_destroy(session, NULL));
}

/* Direct and stream give the same pages under KVM too. */
Test(kvm, both_ways_give_the_same_pages)
{
	struct torpor_session *session = it_start(tmpl);
	TP_FREE char *direct = tp_strdup(it_name("kvm-direct"));
	TP_FREE char *stream = tp_strdup(it_name("kvm-stream"));

	check_ticking(session);
	in_stop(session);
	in_save(session, TP_PATH_DIRECT, TP_SCAN_AUTO, direct);
	in_save(session, TP_PATH_STREAM, TP_SCAN_AUTO, stream);
	struct in_pages a = in_pages_load(session, direct);
	struct in_pages b = in_pages_load(session, stream);
	cr_assert(a.count == b.count && a.space == b.space && a.count >= TICKER_TOUCH_PAGES);
	cr_assert_eq(memcmp(a.stored, b.stored, a.space * sizeof(*a.stored)), 0);
	cr_assert_eq(memcmp(a.bytes, b.bytes, a.space * TP_PAGE_SIZE), 0);
	in_pages_deinit(&a);
	in_pages_deinit(&b);
	in_remove(engine, direct);
	in_remove(engine, stream);
	it_ok(torpor_session_destroy(session, NULL));
}

Test(kvm, checkpoint_and_forks_count_from_there)
{
	enum { COUNT = 2 };
	struct torpor_session *session = it_start(tmpl);
	struct torpor_session *forks[COUNT];
	struct torpor_session_spec specs[COUNT];
	struct torpor_session *copy;
	const char *name = it_name("checkpoint");
	struct torpor_park_report report;

	check_ticking(session);
	uint32_t before = count_of(session);
	it_ok(torpor_session_checkpoint(session, name, NULL, &report));
	cr_assert_gt(report.pause_ns, 0);
	check_ticking(session);
	it_ok(torpor_session_open(engine, name, NULL, NULL, &copy));
	it_ok(torpor_session_resume(copy, NULL, NULL));
	cr_assert_geq(count_of(copy), before);
	check_ticking(copy);
	it_ok(torpor_session_destroy(copy, NULL));

	before = count_of(session);
	for (int i = 0; i < COUNT; i++)
		specs[i] = (struct torpor_session_spec){.name = it_name("fork")};
	it_ok(torpor_session_fork(session, specs, COUNT, NULL, NULL, forks));
	for (int i = 0; i < COUNT; i++) {
		cr_assert_geq(count_of(forks[i]), before);
		check_ticking(forks[i]);
		check_pattern(forks[i]->guest);
		it_ok(torpor_session_destroy(forks[i], NULL));
	}
	check_ticking(session);
	it_ok(torpor_session_destroy(session, NULL));
}

/* One that has nobody to answer is loaded, and waits so. */
Test(kvm, a_warm_guest_starts_pauses_and_goes_on)
{
	struct torpor_session_spec spec = {.name = it_name("it")};
	struct torpor_resume_report report;
	struct torpor_session *session;

	it_ok(torpor_template_prepare_warm(tmpl, 1, NULL));
	it_ok(torpor_session_start(tmpl, &spec, NULL, &report, &session));
	cr_assert_eq(report.source, TORPOR_SOURCE_WARM);
	check_pattern(session->guest);
	check_ticking(session);
	it_ok(torpor_session_pause(session, NULL));
	uint32_t count = count_of(session);
	check_touched(session->guest, count);
	cr_assert_eq(count_of(session), count);
	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_resume(session, NULL, NULL));
	cr_assert_geq(count_of(session), count);
	check_ticking(session);
	check_pattern(session->guest);
	it_ok(torpor_session_destroy(session, NULL));
}

Test(kvm, a_guest_is_adopted_and_ticks_on)
{
	struct torpor_session_spec spec = {.name = it_name("it")};
	struct torpor_session *session;
	char *handover;

	close_all();
	engine = it_open_with((struct torpor_engine_options){.keep_guests = true});
	it_ok(torpor_template_open(engine, "ticker", NULL, &tmpl));
	it_ok(torpor_session_start(tmpl, &spec, NULL, NULL, &session));
	uint32_t count = count_of(session);
	it_ok(torpor_session_handover(session, &handover));
	torpor_session_close(session);
	torpor_template_close(tmpl);
	torpor_engine_close(engine);

	/* By one that doesn't keep guests: what it takes over is its own. */
	engine = it_open();
	it_ok(torpor_session_adopt(engine, handover, NULL, &session));
	free(handover);
	tmpl = tp_template_ref(session->tmpl);
	cr_assert_eq(tmpl->base->fill_ns, 0);
	cr_assert_geq(count_of(session), count);
	there_and_back(session, TP_PATH_DIRECT);
	torpor_session_close(session);
}

/* --- The QEMU for microvm alone --- */

/* Why it can't be tested here; NULL: it can. The caller's. */
static char *no_small_qemu(void)
{
	struct tp_call call = in_call();
	TP_GUEST_CONFIG struct tp_guest_config config = {
		.machine = TP_MACHINE_MICROVM,
		.memory_bytes = MEMORY,
		.vcpus = 1,
		/* As templates have them: the same probe, remembered for the one to be built. */
		.channels = true,
	};
	const char *program = tp_machine_small_qemu(engine, TP_MACHINE_MICROVM);
	struct tp_boot_files files = {.kernel = TICKER};
	char *why_not;

	if (!program)
		return tp_strdup("there is none");
	it_ok(tp_machine_try_kvm(engine, program, &files, NULL, &call, &config, &why_not));
	return why_not;
}

static void build_microvm(const char *name, struct torpor_template **tmpl_out)
{
	struct torpor_template_spec spec = {
		.name = name,
		.machine = "microvm",
		.accel = "kvm",
		.memory = MEMORY,
		.kernel = TICKER,
		.ready_line = "tick ",
		.replace = true,
	};

	it_ok(torpor_template_build(engine, &spec, NULL, NULL, NULL, NULL, tmpl_out));
}

static void expect_program(struct torpor_session *session, const char *program)
{
	struct torpor_session_info info;
	char exe[4096] = "";

	it_ok(torpor_session_info(session, &info));
	TP_FREE char *link = tp_asprintf("/proc/%d/exe", info.pid);
	cr_assert_gt(readlink(link, exe, sizeof(exe) - 1), 0);
	cr_assert_not_null(strstr(exe, "-microvm"), "%s runs instead of %s", exe, program);
}

Test(kvm, microvm_has_a_qemu_of_its_own)
{
	TP_FREE char *why_not = no_small_qemu();
	struct torpor_session_info info;
	struct torpor_where where;

	if (it_with_libvirt())
		return; /* it runs no microvm (docs/LIBVIRT.md) */
	if (why_not) {
		fprintf(stderr, "NOT TESTED: the QEMU for microvm alone: %s\n", why_not);
		return;
	}
	torpor_template_close(tmpl);
	build_microvm("ticker-microvm", &tmpl);
	const char *program = tmpl->qemu.program;
	cr_assert_not_null(program, "the engine's own runs it");
	struct torpor_session *session = it_start(tmpl);
	expect_program(session, program);
	there_and_back(session, TP_PATH_DIRECT);
	there_and_back(session, TP_PATH_STREAM);
	expect_program(session, program);
	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_info(session, &info));
	it_ok(torpor_image_where(engine, info.image_path, NULL, &where));
	cr_assert(where.here && where.portable);
	cr_assert_str_eq(where.machine_type, "microvm");
	torpor_where_deinit(&where);
	it_ok(torpor_session_destroy(session, NULL));
	/* Opened anew it is the same one, unless a busy host fails the probe of its own kernel. */
	tmpl = torpor_template_close(tmpl);
	it_ok(torpor_template_open(engine, "ticker-microvm", NULL, &tmpl));
	session = it_start(tmpl);
	it_ok(tp_template_find_qemu(tmpl, &(struct tp_call){TP_NO_DEADLINE, -1}));
	if (tmpl->qemu.program)
		expect_program(session, tmpl->qemu.program);
	else
		fprintf(stderr, "NOT TESTED: the QEMU for microvm for a template opened anew\n");
	check_pattern(session->guest);
	it_ok(torpor_session_destroy(session, NULL));
	it_ok(torpor_template_remove(engine, "ticker-microvm"));
}

/* --- Choosing, and not mixing --- */

/*
 * KVM is proven within a bound, which a host that is busy with other things may exceed; the
 * template's own boot tells whether this one is.
 */
Test(kvm, auto_takes_what_runs_the_kernel)
{
	struct torpor_template *automatic;
	struct torpor_template_info info;

	it_ok(torpor_template_info(tmpl, &info));
	if (info.boot_ns > TP_ACCEL_PROBE_NS / 2) {
		fprintf(stderr,
			"NOT TESTED: whether auto takes kvm, since this host is so busy that the "
			"smallest guest took %ju ms to boot\n",
			(uintmax_t)(info.boot_ns / TP_NSEC_PER_MSEC));
	} else {
		build("ticker-auto", "auto", &automatic);
		it_ok(torpor_template_info(automatic, &info));
		cr_assert_str_eq(info.accel, "kvm");
		torpor_template_close(automatic);
		it_ok(torpor_template_remove(engine, "ticker-auto"));
	}
	/* Built with "auto" too. Which it is depends on the host. */
	it_ok(torpor_template_lookup(engine, IT_TEMPLATE, &info));
	cr_assert(strcmp(info.accel, "kvm") == 0 || strcmp(info.accel, "tcg") == 0);
	fprintf(stderr, "auto took %s for Linux\n", info.accel);
}

/* Leaves a session of OF parked, and says where. */
static void parked_image(struct torpor_template *of, char *path, size_t room)
{
	struct torpor_session *session = it_start(of);
	struct torpor_session_info info;

	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_info(session, &info));
	snprintf(path, room, "%s", info.image_path);
	torpor_session_close(session);
}

/* What restoring IMAGE over the base of TMPL says; no process is needed for that. */
static struct torpor_error *check_over(const char *path, struct torpor_template *over)
{
	struct tp_call call = in_call();
	TP_CLEANUP(tp_image_close) struct tp_image *image = NULL;
	TP_RECORD struct tp_record record = {0};

	it_ok(tp_image_open(AT_FDCWD, path, &call, &image));
	it_ok(tp_record_parse(tp_image_meta(image)->config, path, &record));
	return tp_restore_check(
		image, &record, over->base, over->base->record.guest.qemu_version, path);
}

Test(kvm, images_of_tcg_and_kvm_do_not_mix)
{
	struct torpor_template *tcg;
	struct torpor_session *session;
	char by_kvm[512];
	char by_tcg[512];

	build("ticker-tcg", "tcg", &tcg);
	parked_image(tmpl, by_kvm, sizeof(by_kvm));
	parked_image(tcg, by_tcg, sizeof(by_tcg));
	it_ok(check_over(by_kvm, tmpl));
	it_ok(check_over(by_tcg, tcg));
	it_fails(check_over(by_kvm, tcg), TORPOR_E_MISMATCH);
	it_fails(check_over(by_tcg, tmpl), TORPOR_E_MISMATCH);

	/* Also where the templates' identities don't give it away. */
	const char *field =
		tp_guest_config_difference(&tmpl->base->record.guest, &tcg->base->record.guest);
	cr_assert_str_eq(field, "accel");

	/* Once its own template is gone, an image isn't resumed by any other. */
	torpor_template_close(tcg);
	it_ok(torpor_template_remove(engine, "ticker-tcg"));
	it_fails(torpor_session_open(engine, it_name("lost"), by_tcg, NULL, &session),
		TORPOR_E_NOT_FOUND);
	cr_assert(unlink(by_kvm) == 0 && unlink(by_tcg) == 0);
}

/* Once for all tests: where KVM is slow, as in a virtual machine, a boot takes its time. */
static void build_ticker(void)
{
	engine = it_open();
	build("ticker", "kvm", &tmpl);
	torpor_template_close(tmpl);
	engine = torpor_engine_close(engine);
}

int main(int argc, char **argv)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0) {
		fprintf(stderr,
			"NOT TESTED: nothing under KVM, since /dev/kvm can't be opened: %s\n",
			strerror(errno));
		return SKIP_CODE;
	}
	close(kvm);
	build_ticker();
	struct criterion_test_set *tests = criterion_initialize();
	bool ok = !criterion_handle_args(argc, argv, true) || criterion_run_all_tests(tests);
	criterion_finalize(tests);
	return !ok;
}
