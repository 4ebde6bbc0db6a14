/* SPDX-License-Identifier: Apache-2.0 */
/* Proving accelerators, with the real QEMU and the tiny guest. */
#include "engine/accel.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/qemu_info.h"
#include "support.h"

static char *dir;
static char *cache;
static struct tp_launcher *launcher;
static struct tp_call call;

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	dir = make_directory();
	cache = tp_asprintf("%s/cache", dir);
	TP_FREE char *run_dir = tp_asprintf("%s/run", dir);
	struct tp_direct_options options = {.bound = true, .run_dir = run_dir};
	must(tp_direct_launcher_new(&options, &launcher));
	call = tp_call_within(2 * OBJECT_TIMEOUT_NS);
}

static void teardown(void)
{
	tp_launcher_free(launcher);
	remove_tree(dir);
	free(cache);
	free(dir);
}

TestSuite(accel, .init = setup, .fini = teardown);

static struct tp_qemu_info ask(enum tp_accel accel)
{
	struct tp_direct_options options = {0};
	struct tp_qemu_info info;

	must(tp_qemu_ask(&options, accel, cache, &call, &info));
	return info;
}

static void probe_ticker(struct tp_guest_config *config, struct tp_accel_result *result)
{
	struct tp_accel_probe probe = {
		.config = config, .kernel = TICKER, .within_ns = OBJECT_TIMEOUT_NS};

	must(tp_accel_probe(launcher, &probe, &call, result));
	TP_FREE char *run_dir = tp_asprintf("%s/run", dir);
	cr_assert_eq(count_entries(run_dir), 0);
}

Test(accel, tcg_is_proven)
{
	struct tp_guest_config config = pc_config();
	TP_ACCEL_RESULT struct tp_accel_result result = {0};

	probe_ticker(&config, &result);
	cr_assert(result.ok, "%s", result.why_not);
	cr_assert_gt(result.time_ns, 0);
}

/* Where there is a /dev/kvm the tiny guest runs; where there is none the reason is told. */
Test(accel, kvm_is_proven_or_refuted)
{
	struct tp_guest_config config = pc_config();
	TP_ACCEL_RESULT struct tp_accel_result result = {0};
	TP_FREE char *cpu = NULL;
	bool there = access("/dev/kvm", R_OK | W_OK) == 0;

	if (there) {
		TP_QEMU_INFO struct tp_qemu_info info = ask(TP_ACCEL_KVM);
		must(tp_qemu_cpu_choose(&info, &cpu));
		config.cpu_model = cpu;
	}
	config.accel = TP_ACCEL_KVM;
	probe_ticker(&config, &result);
	cr_assert_eq(result.ok, there, "%s", result.why_not ? result.why_not : "it is proven");
	if (!there)
		cr_assert_not_null(strstr(result.why_not, "KVM"), "%s", result.why_not);
}

Test(accel, what_qemu_refuses_is_a_result)
{
	struct tp_guest_config config = pc_config();
	TP_ACCEL_RESULT struct tp_accel_result result = {0};

	config.cpu_model = (char *)"no-such-cpu";
	probe_ticker(&config, &result);
	cr_assert_not(result.ok);
	cr_assert_not_null(strstr(result.why_not, "no-such-cpu"), "%s", result.why_not);
}

Test(accel, a_kernel_that_does_not_print_refutes)
{
	struct tp_guest_config config = pc_config();
	struct tp_accel_probe probe = {.config = &config, .kernel = SILENT};
	TP_ACCEL_RESULT struct tp_accel_result result = {0};

	must(tp_accel_probe(launcher, &probe, &call, &result));
	cr_assert_not(result.ok);
	cr_assert_str_eq(result.why_not, "the kernel printed nothing within 10 s");
	cr_assert_geq(result.time_ns, TP_ACCEL_PROBE_NS);
}

Test(accel, a_qemu_that_does_not_start_refutes)
{
	TP_FREE char *qemu = mute_qemu(dir);
	TP_FREE char *run_dir = tp_asprintf("%s/run", dir);
	struct tp_direct_options options = {.qemu = qemu, .bound = true, .run_dir = run_dir};
	struct tp_guest_config config = pc_config();
	struct tp_accel_probe probe = {
		.config = &config, .kernel = TICKER, .within_ns = 200 * TP_NSEC_PER_MSEC};
	TP_ACCEL_RESULT struct tp_accel_result result = {0};
	struct tp_launcher *mute;

	must(tp_direct_launcher_new(&options, &mute));
	must(tp_accel_probe(mute, &probe, &call, &result));
	cr_assert_not(result.ok);
	cr_assert_str_eq(result.why_not, "QEMU did not start within 0.2 s");
	cr_assert_eq(count_entries(run_dir), 0);
	tp_launcher_free(mute);
	unlink(qemu);
}

Test(accel, the_callers_deadline_is_no_result)
{
	struct tp_guest_config config = pc_config();
	struct tp_accel_probe probe = {.config = &config, .kernel = SILENT};
	struct tp_accel_result result = {.time_ns = 77};

	call = tp_call_within(500 * TP_NSEC_PER_MSEC);
	must_fail(tp_accel_probe(launcher, &probe, &call, &result), TORPOR_E_TIMEOUT, NULL);
	cr_assert_eq(result.time_ns, 77);
}

/* A copy of the tiny guest that the test may change. */
static char *copy_ticker(void)
{
	char *path = tp_asprintf("%s/kernel", dir);
	TP_FREE char *data = NULL;
	size_t len;

	must(tp_read_file(AT_FDCWD, TICKER, TP_MIB, &data, &len));
	TP_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(tp_pwrite_full(fd, data, len, 0, path));
	return path;
}

static struct tp_accel_result prove(struct tp_guest_config *config, const char *kernel)
{
	struct tp_accel_probe probe = {
		.config = config, .kernel = kernel, .within_ns = OBJECT_TIMEOUT_NS};
	struct tp_accel_result result;

	must(tp_accel_prove(launcher, TP_DEFAULT_QEMU, &probe, cache, &call, &result));
	return result;
}

/* A remembered result is the same to the nanosecond; a new one never is. */
Test(accel, results_are_remembered)
{
	struct tp_guest_config config = pc_config();
	TP_FREE char *kernel = copy_ticker();

	struct tp_accel_result first = prove(&config, kernel);
	cr_assert(first.ok);
	cr_assert_eq(prove(&config, kernel).time_ns, first.time_ns);
	config.vcpus = 2;
	cr_assert_neq(prove(&config, kernel).time_ns, first.time_ns);
	config.vcpus = 1;
	cr_assert_eq(prove(&config, kernel).time_ns, first.time_ns);
	TP_FD int fd = open(kernel, O_WRONLY | O_APPEND | O_CLOEXEC);
	cr_assert_eq(write(fd, "x", 1), 1);
	cr_assert_neq(prove(&config, kernel).time_ns, first.time_ns);
}

Test(accel, failures_are_remembered_with_their_reason)
{
	struct tp_guest_config config = pc_config();

	config.cpu_model = (char *)"no-such-cpu";
	TP_ACCEL_RESULT struct tp_accel_result first = prove(&config, TICKER);
	TP_ACCEL_RESULT struct tp_accel_result second = prove(&config, TICKER);
	cr_assert_not(second.ok);
	cr_assert_eq(first.time_ns, second.time_ns);
	cr_assert_str_eq(first.why_not, second.why_not);
}

Test(accel, a_damaged_cache_is_ignored)
{
	static const char *const contents[] = {"", "garbage", "[]", "{\"x\": 1}"};
	struct tp_guest_config config = pc_config();

	for (size_t i = 0; i < TP_ARRAY_LEN(contents); i++) {
		FILE *file = fopen(cache, "w");
		cr_assert_not_null(file);
		fputs(contents[i], file);
		fclose(file);
		struct tp_accel_result first = prove(&config, TICKER);
		cr_assert(first.ok);
		cr_assert_eq(prove(&config, TICKER).time_ns, first.time_ns);
	}
}

Test(accel, a_missing_kernel_is_an_error)
{
	struct tp_guest_config config = pc_config();
	struct tp_accel_probe probe = {.config = &config, .kernel = "/no/kernel"};
	struct tp_accel_result result;

	must_fail(tp_accel_prove(launcher, TP_DEFAULT_QEMU, &probe, cache, &call, &result),
		TORPOR_E_NOT_FOUND, "/no/kernel");
	probe.kernel = TICKER;
	must_fail(tp_accel_prove(launcher, "no-such-qemu", &probe, cache, &call, &result),
		TORPOR_E_NOT_FOUND, "no-such-qemu");
}
