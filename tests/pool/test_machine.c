/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which QEMU runs a guest. The programs are stand-ins: scripts that run the real QEMU, under TCG
 * where kvm is asked for, so that it doesn't take a host with KVM, or do what a test wants.
 */
#include <criterion/criterion.h>

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "pool/machine.h"

#define TO_TCG "args=(); for a; do [ \"$a\" = kvm ] && a=tcg; args+=(\"$a\"); done\n"
#define RUN    "exec qemu-system-x86_64 \"${args[@]}\"\n"

static char *dir, *qemu, *small, *runs;
static struct torpor_engine *engine;
static struct tp_guest_config config;
static struct tp_call call;

static void set_up(void)
{
	signal(SIGPIPE, SIG_IGN);
	dir = tp_strdup("/tmp/torpor-machine-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	qemu = tp_asprintf("%s/qemu", dir);
	small = tp_asprintf("%s/qemu-microvm", dir);
	runs = tp_asprintf("%s/runs", dir);
	config = (struct tp_guest_config){
		.machine = TP_MACHINE_MICROVM, .memory_bytes = 16 * TP_MIB, .vcpus = 1};
	call = tp_call_within(60 * TP_NSEC_PER_SEC);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void tear_down(void)
{
	torpor_engine_close(engine);
	tp_guest_config_deinit(&config);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(qemu);
	free(small);
	free(runs);
	free(dir);
}

TestSuite(machine, .init = set_up, .fini = tear_down, .timeout = 100);

static void ok(struct torpor_error *err)
{
	cr_assert_null(err, "%s", err ? torpor_error_message(err) : "");
}

/* A program that is there as a file from then on; each of its runs leaves a byte. */
static void put_program(const char *path, const char *script)
{
	FILE *f = fopen(path, "w");

	cr_assert_not_null(f);
	fprintf(f, "#!/bin/bash\nprintf x >>%s\n%s", runs, script);
	fclose(f);
	cr_assert_eq(chmod(path, 0755), 0);
}

/* How often the programs were run. */
static off_t count_runs(void)
{
	struct stat st;

	cr_assert_eq(stat(runs, &st), 0);
	return st.st_size;
}

static void open_engine(const char *wanted)
{
	struct torpor_engine_options options = {
		.state_dir = dir, .qemu = qemu, .qemu_microvm = wanted};

	ok(torpor_engine_open(&options, &engine));
}

/* What runs CONFIG: "" is the engine's own. */
static const char *found(void)
{
	static char program[4096];
	struct tp_boot_files files = {.kernel = TICKER};
	struct tp_qemu_use use = {0};

	ok(tp_machine_find_qemu(engine, &config, &files, "guest", &call, &use));
	cr_assert_not_null(use.version);
	snprintf(program, sizeof(program), "%s", use.program ? use.program : "");
	tp_qemu_use_deinit(&use);
	return program;
}

static void resolve(enum tp_accel accel)
{
	ok(tp_machine_resolve(engine, NULL, accel, "qemu64", &call, &config));
	cr_assert_str_eq(config.machine_type, "microvm");
	cr_assert_str_eq(config.cpu_model, "qemu64-v1");
}

/* CONFIG as a QEMU of the same first two numbers would have written it. */
static void make_older(void)
{
	char *last = strrchr(config.qemu_version, '.');

	last[1] = '0';
	last[2] = '\0';
}

Test(machine, the_small_one_runs_microvm_under_kvm)
{
	put_program(qemu, TO_TCG RUN);
	put_program(small, TO_TCG RUN);
	open_engine(NULL);
	resolve(TP_ACCEL_KVM);
	cr_assert_str_eq(found(), small);
	/* Now that it is known it isn't asked nor tried again. */
	off_t before = count_runs();
	cr_assert_str_eq(found(), small);
	cr_assert_eq(count_runs(), before);
}

Test(machine, and_nothing_else)
{
	put_program(qemu, TO_TCG RUN);
	put_program(small, "echo never >&2; exit 1\n");
	open_engine(NULL);
	resolve(TP_ACCEL_TCG);
	cr_assert_str_eq(found(), "");
	config.machine = TP_MACHINE_PC;
	ok(tp_machine_resolve(engine, NULL, TP_ACCEL_KVM, NULL, &call, &config));
	cr_assert_str_eq(found(), "");
	cr_assert_null(tp_machine_small_qemu(engine, TP_MACHINE_PC));
}

Test(machine, one_that_does_not_start_is_passed_over)
{
	put_program(qemu, TO_TCG RUN);
	put_program(small, "echo broken >&2; exit 1\n");
	open_engine(NULL);
	resolve(TP_ACCEL_KVM);
	cr_assert_str_eq(found(), "");
}

/* It takes the probe's ten seconds to know. */
Test(machine, one_that_boots_nothing_is_passed_over)
{
	put_program(qemu, TO_TCG RUN);
	put_program(small, TO_TCG "for i in \"${!args[@]}\"; do\n"
				  "[ \"${args[i]}\" != '" TICKER "' ] || args[i]='" SILENT "'\n"
				  "done\n" RUN);
	open_engine(NULL);
	resolve(TP_ACCEL_KVM);
	cr_assert_str_eq(found(), "");
	off_t before = count_runs();
	cr_assert_str_eq(found(), "");
	cr_assert_eq(count_runs(), before, "it was tried again");
}

Test(machine, a_state_of_another_version_stays_with_the_large_one_if_that_takes_it)
{
	put_program(qemu, TO_TCG RUN);
	put_program(small, TO_TCG RUN);
	open_engine(NULL);
	resolve(TP_ACCEL_KVM);
	make_older();
	cr_assert_str_eq(found(), "");
}

Test(machine, the_small_one_helps_out)
{
	put_program(qemu, TO_TCG RUN);
	put_program(small, TO_TCG RUN);
	open_engine(NULL);
	resolve(TP_ACCEL_KVM);
	make_older();
	put_program(qemu, "echo gone >&2; exit 1\n");
	cr_assert_str_eq(found(), small);
}

Test(machine, nobody_takes_what_a_newer_one_wrote)
{
	struct tp_boot_files files = {.kernel = TICKER};
	struct tp_qemu_use use = {0};

	put_program(qemu, TO_TCG RUN);
	put_program(small, TO_TCG RUN);
	open_engine(NULL);
	resolve(TP_ACCEL_KVM);
	free(config.qemu_version);
	config.qemu_version = tp_strdup("99.0.0");
	struct torpor_error *err =
		tp_machine_find_qemu(engine, &config, &files, "guest", &call, &use);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_MISMATCH);
	cr_assert_not_null(
		strstr(torpor_error_message(err), "is the older"), "%s", torpor_error_message(err));
	torpor_error_free(err);
}

Test(machine, which_one_that_is)
{
	put_program(qemu, TO_TCG RUN);
	open_engine(NULL);
	cr_assert_null(tp_machine_small_qemu(engine, TP_MACHINE_MICROVM), "there is none");
	torpor_engine_close(engine);
	put_program(small, TO_TCG RUN);
	open_engine(NULL);
	cr_assert_str_eq(tp_machine_small_qemu(engine, TP_MACHINE_MICROVM), small);
	torpor_engine_close(engine);
	open_engine("");
	cr_assert_null(tp_machine_small_qemu(engine, TP_MACHINE_MICROVM), "it isn't wanted");
	torpor_engine_close(engine);
	open_engine(qemu);
	cr_assert_str_eq(tp_machine_small_qemu(engine, TP_MACHINE_MICROVM), qemu);
}
