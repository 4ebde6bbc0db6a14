/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What takes over where the kernel refuses something: the stream path without rights over the
 * guest, plain I/O without io_uring, pagemap without PAGEMAP_SCAN.
 *
 * The kernel refuses by seccomp, in all threads of the test's process (one for each test) and what
 * it starts from then on; rights are also really taken away, by dropping CAP_SYS_PTRACE.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "snapshot/procmem.h"
#include "storage/io.h"
#include "support.h"

TestSuite(paths, .timeout = 300);

/* --- Refusing --- */

/* Lets system call NR fail with ERRNUM; with an argument, only where the second one is it. */
static void refuse(long nr, int errnum, const uint32_t *second)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, second ? *second : 0, 0, second ? 1 : 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)errnum),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = TP_ARRAY_LEN(filter), .filter = filter};

	cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	cr_assert_eq(
		syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program),
		0, "%s", strerror(errno));
}

static void refuse_memory(void)
{
	refuse(SYS_process_vm_readv, EPERM, NULL);
	refuse(SYS_process_vm_writev, EPERM, NULL);
}

static void refuse_pagemap_scan(void)
{
	/* _IOWR('f', 16, 96 bytes), linux/fs.h since 6.7 */
	static const uint32_t request = _IOC(_IOC_READ | _IOC_WRITE, 'f', 16, 96);

	refuse(SYS_ioctl, ENOTTY, &request);
	cr_assert_eq(tp_procmem_scan_method(), TP_SCAN_PAGEMAP);
}

/* Takes the right over other processes away, as far as this process has it. */
static void drop_ptrace(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];
	const uint32_t bit = UINT32_C(1) << CAP_SYS_PTRACE;

	cr_assert_eq(syscall(SYS_capget, &header, data), 0);
	data[0].effective &= ~bit;
	data[0].permitted &= ~bit;
	data[0].inheritable &= ~bit;
	cr_assert_eq(syscall(SYS_capset, &header, data), 0);
}

/* --- A session that is looked at --- */

static struct torpor_engine *engine;
static struct torpor_template *tmpl;

static struct torpor_session *start(enum torpor_path path, enum torpor_scan scan)
{
	engine = it_open_with((struct torpor_engine_options){.path = path, .scan = scan});
	tmpl = it_template(engine);
	struct torpor_session *session = it_start(tmpl);
	it_run(session, "head -c 3000000 /dev/urandom > /data; sha256sum /data > /sum");
	return session;
}

static void end(struct torpor_session *session)
{
	it_ok(torpor_session_destroy(session, NULL));
	torpor_template_close(tmpl);
	engine = torpor_engine_close(engine);
	cr_assert_eq(it_qemu_children(), 0, "a guest outlived its engine");
}

static void check_running(struct torpor_session *session)
{
	struct torpor_session_info info;

	it_ok(torpor_session_info(session, &info));
	cr_assert_eq(info.state, TORPOR_SESSION_RUNNING);
	it_run(session, "sha256sum -c /sum");
}

/* Parks and resumes, both by PATH. */
static struct torpor_park_report there_and_back(
	struct torpor_session *session, enum torpor_path path)
{
	struct torpor_park_report park;
	struct torpor_resume_report resume;

	it_ok(torpor_session_park(session, NULL, &park));
	cr_assert_eq(park.path, path);
	cr_assert_gt(park.pages, 700);
	it_ok(torpor_session_resume(session, NULL, &resume));
	cr_assert_eq(resume.path, path);
	check_running(session);
	return park;
}

/* Fails the test unless ERR is of CODE and says what can be done. Frees it. */
static void expect_hint(struct torpor_error *err, enum torpor_errc code)
{
	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), code, "%s", torpor_error_message(err));
	cr_assert_not_null(torpor_error_hint(err), "no hint: %s", torpor_error_message(err));
	fprintf(stderr, "as it should: %s\n", torpor_error_message(err));
	torpor_error_free(err);
}

/* --- Rights --- */

Test(paths, with_all_rights_it_is_direct)
{
	struct torpor_session *session = start(TORPOR_PATH_AUTO, TORPOR_SCAN_AUTO);

	there_and_back(session, TORPOR_PATH_DIRECT);
	end(session);
}

Test(paths, stream_takes_over_when_rights_end)
{
	struct torpor_session *session = start(TORPOR_PATH_AUTO, TORPOR_SCAN_AUTO);

	refuse_memory();
	there_and_back(session, TORPOR_PATH_STREAM);
	there_and_back(session, TORPOR_PATH_STREAM);
	end(session);
}

/* The same where everything about the guest had been found out before. */
Test(paths, stream_takes_over_when_rights_end_late)
{
	struct torpor_session *session = start(TORPOR_PATH_AUTO, TORPOR_SCAN_AUTO);
	struct torpor_park_report report;
	const char *name = it_name("before");

	it_ok(torpor_session_checkpoint(session, name, NULL, &report));
	cr_assert_eq(report.path, TORPOR_PATH_DIRECT);
	refuse_memory();
	it_ok(torpor_session_checkpoint(session, name, NULL, &report));
	cr_assert_eq(report.path, TORPOR_PATH_STREAM);
	check_running(session);
	there_and_back(session, TORPOR_PATH_STREAM);
	end(session);
}

/* A shell that was started with rights is filled without them. */
Test(paths, a_shell_from_better_days_is_filled_by_stream)
{
	struct torpor_session *session = start(TORPOR_PATH_AUTO, TORPOR_SCAN_AUTO);
	struct torpor_resume_report resume;

	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_template_prepare(tmpl, 1, NULL));
	refuse_memory();
	it_ok(torpor_session_resume(session, NULL, &resume));
	cr_assert_eq(resume.source, TORPOR_SOURCE_SHELL);
	cr_assert_eq(resume.path, TORPOR_PATH_STREAM);
	check_running(session);
	end(session);
}

Test(paths, direct_is_denied_and_the_guest_runs_on)
{
	struct torpor_session *session = start(TORPOR_PATH_DIRECT, TORPOR_SCAN_AUTO);
	const char *name = it_name("before");

	refuse_memory();
	expect_hint(torpor_session_park(session, NULL, NULL), TORPOR_E_DENIED);
	check_running(session);
	expect_hint(torpor_session_checkpoint(session, name, NULL, NULL), TORPOR_E_DENIED);
	check_running(session);
	end(session);
}

Test(paths, direct_is_denied_late_and_the_guest_runs_on)
{
	struct torpor_session *session = start(TORPOR_PATH_DIRECT, TORPOR_SCAN_AUTO);
	const char *name = it_name("before");

	it_ok(torpor_session_checkpoint(session, name, NULL, NULL));
	refuse_memory();
	expect_hint(torpor_session_park(session, NULL, NULL), TORPOR_E_DENIED);
	check_running(session);
	end(session);
}

/* As for a process of the same user that isn't the guest's parent under Yama: the kernel's own no.
 */
Test(paths, without_the_capability_it_is_stream)
{
	if (geteuid() != 0) {
		fprintf(stderr, "NOT TESTED: only root has CAP_SYS_PTRACE to drop\n");
		return;
	}
	drop_ptrace();
	struct torpor_session *session = start(TORPOR_PATH_AUTO, TORPOR_SCAN_AUTO);
	struct torpor_session_info info;
	it_ok(torpor_session_info(session, &info));
	cr_assert_not_null(tp_procmem_allowed(info.pid), "the kernel allows it all the same");
	there_and_back(session, TORPOR_PATH_STREAM);
	end(session);
}

Test(paths, without_rights_direct_is_denied_from_the_start)
{
	struct torpor_session_spec spec = {.name = it_name("denied")};
	struct torpor_session *session;

	refuse_memory();
	engine = it_open_with((struct torpor_engine_options){.path = TORPOR_PATH_DIRECT});
	tmpl = it_template(engine);
	expect_hint(torpor_session_start(tmpl, &spec, NULL, NULL, &session), TORPOR_E_DENIED);
	torpor_template_close(tmpl);
	engine = torpor_engine_close(engine);
	cr_assert_eq(it_qemu_children(), 0, "a guest was left");
}

/* --- io_uring --- */

Test(paths, without_io_uring_it_is_plain)
{
	refuse(SYS_io_uring_setup, EPERM, NULL);
	cr_assert_not(tp_io_uring_available());
	struct torpor_session *session = start(TORPOR_PATH_AUTO, TORPOR_SCAN_AUTO);
	there_and_back(session, TORPOR_PATH_DIRECT);
	end(session);
}

/* Refused only once it had been found to work. */
Test(paths, io_uring_that_ends_is_replaced)
{
	struct torpor_session *session = start(TORPOR_PATH_AUTO, TORPOR_SCAN_AUTO);

	there_and_back(session, TORPOR_PATH_DIRECT);
	refuse(SYS_io_uring_setup, EPERM, NULL);
	there_and_back(session, TORPOR_PATH_DIRECT);
	end(session);
}

/* --- PAGEMAP_SCAN --- */

Test(paths, without_pagemap_scan_it_is_pagemap)
{
	struct torpor_session *session = start(TORPOR_PATH_AUTO, TORPOR_SCAN_AUTO);
	bool has_ioctl = tp_procmem_scan_method() == TP_SCAN_PAGEMAP_SCAN;
	struct torpor_park_report park = there_and_back(session, TORPOR_PATH_DIRECT);

	if (has_ioctl)
		cr_assert_eq(park.scan, TORPOR_SCAN_PAGEMAP_SCAN);
	else
		fprintf(stderr, "NOT TESTED: this kernel has no PAGEMAP_SCAN to refuse\n");
	refuse_pagemap_scan();
	park = there_and_back(session, TORPOR_PATH_DIRECT);
	cr_assert_eq(park.scan, TORPOR_SCAN_PAGEMAP);
	end(session);
}

Test(paths, pagemap_scan_alone_is_unsupported_and_the_guest_runs_on)
{
	refuse_pagemap_scan();
	struct torpor_session *session = start(TORPOR_PATH_DIRECT, TORPOR_SCAN_PAGEMAP_SCAN);
	it_fails(torpor_session_park(session, NULL, NULL), TORPOR_E_UNSUPPORTED);
	check_running(session);
	end(session);
}
