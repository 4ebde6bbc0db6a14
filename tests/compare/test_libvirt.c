/* SPDX-License-Identifier: Apache-2.0 */
/* The domain that libvirt is given, and its calls under a deadline. No libvirtd is needed. */
#include <criterion/criterion.h>
#include <libvirt/libvirt.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "benchmarks/compare/libvirt_domain.h"
#include "benchmarks/compare/libvirt_job.h"

/* --- the domain --- */

static char *xml_with(const char *cpu, const char *accel, const char *append)
{
	struct cmp_domain domain = {
		.name = "d", .emulator = "/q", .qmp_path = "/r/q", .helper_path = "/r/h&'<"};
	struct cmp_places places = {
		.kernel = "/k",
		.initrd = "/i",
		.machine = "pc-i440fx-7.2",
		.accel = accel,
		.cpu = cpu,
		.append = append,
	};
	struct cmp_cell cell = {.ram_bytes = 256 * TP_MIB};

	return cmp_domain_xml(&domain, &places, &cell);
}

static void must_hold(const char *xml, const char *part)
{
	cr_assert(strstr(xml, part), "no %s in %s", part, xml);
}

static void must_become(const char *cpu, const char *element_end)
{
	TP_FREE char *xml = xml_with(cpu, "tcg", "quiet");

	must_hold(xml, element_end);
}

Test(domain, is_the_machine_given)
{
	TP_FREE char *tcg = xml_with("Westmere-v1", "tcg", "a=1 b");
	TP_FREE char *kvm = xml_with("Westmere-v1", "kvm", "a=1 b");

	must_hold(tcg, "<domain type='qemu'");
	must_hold(kvm, "<domain type='kvm'");
	must_hold(tcg, "<memory unit='b'>268435456</memory>");
	must_hold(tcg, "machine='pc-i440fx-7.2'");
	must_hold(tcg, "<kernel>/k</kernel><initrd>/i</initrd><cmdline>a=1 b</cmdline>");
	must_hold(tcg, "value='unix:/r/q,server=on,wait=off'");
}

Test(domain, cpu_is_named_as_libvirt_does)
{
	must_become("Westmere-v1", ">Westmere</model></cpu>");
	must_become("Westmere-v12", ">Westmere</model></cpu>");
	must_become("Opteron_G1", ">Opteron_G1</model></cpu>");
	must_become("max", ">max</model></cpu>");
	must_become("v1", ">v1</model></cpu>");
	must_become("qemu64-v1,-pni,+svm", ">qemu64</model><feature policy='disable' name='pni'/>"
					   "<feature policy='require' name='svm'/></cpu>");
}

Test(domain, text_stays_text)
{
	TP_FREE char *xml = xml_with("max", "tcg", "x=\"<&>\"");

	must_hold(xml, "<cmdline>x=&#34;&#60;&#38;&#62;&#34;</cmdline>");
	must_hold(xml, "path='/r/h&#38;&#39;&#60;'");
}

/* --- the calls --- */

struct fake {
	int released_fd; /* what the call waits for */
	int rc;
	bool stopped;
};

/* Blocks until it is released, as a call of libvirt does until the daemon answers. */
static int blocking_call(void *data)
{
	struct fake *fake = data;
	eventfd_t value;

	eventfd_read(fake->released_fd, &value);
	return fake->rc;
}

/* As the first connection would: before, there are no errors to ask for. */
static void initialize(void)
{
	cr_assert_eq(virInitialize(), 0);
}

TestSuite(job, .init = initialize);

static void stop(void *data)
{
	struct fake *fake = data;

	fake->stopped = true;
	fake->rc = -1;
	eventfd_write(fake->released_fd, 1);
}

static struct cmp_job *started(struct fake *fake, const struct tp_call *call)
{
	struct cmp_job *job = NULL;

	fake->released_fd = eventfd(0, EFD_CLOEXEC);
	TP_ERROR struct torpor_error *err = cmp_job_start(blocking_call, fake, call, &job);
	cr_assert_null(err);
	return job;
}

/* CODE 0: success. */
static void must_end(struct cmp_job *job, struct fake *fake, enum torpor_errc code, bool stopped)
{
	TP_ERROR struct torpor_error *err = cmp_job_end(job, "save", "d", stop);

	cr_assert_eq(err ? torpor_error_code(err) : 0, code, "%s",
		err ? torpor_error_message(err) : "success");
	cr_assert_eq(fake->stopped, stopped);
	tp_close(fake->released_fd);
}

Test(job, succeeds)
{
	struct tp_call call = tp_call_within(30 * TP_NSEC_PER_SEC);
	struct fake fake = {0};
	struct cmp_job *job = started(&fake, &call);

	eventfd_write(fake.released_fd, 1);
	must_end(job, &fake, 0, false);
}

Test(job, failure_cancels_who_waits_for_its_effect)
{
	struct tp_call call = tp_call_within(30 * TP_NSEC_PER_SEC);
	struct fake fake = {.rc = -1};
	struct cmp_job *job = started(&fake, &call);

	TP_ERROR struct torpor_error *none = tp_call_check(cmp_job_call(job), "wait for", "d");
	cr_assert_null(none, "cancelled before it has failed");
	eventfd_write(fake.released_fd, 1);
	/* Nothing ever comes here. */
	TP_FD int quiet_fd = eventfd(0, EFD_CLOEXEC);
	TP_ERROR struct torpor_error *err =
		tp_wait_fd(quiet_fd, POLLIN, cmp_job_call(job), "wait for", "d");
	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_CANCELLED);
	must_end(job, &fake, TORPOR_E_QEMU, false);
}

Test(job, is_stopped_at_the_deadline)
{
	struct tp_call call = tp_call_within(0);
	struct fake fake = {0};

	must_end(started(&fake, &call), &fake, TORPOR_E_TIMEOUT, true);
}

Test(job, is_stopped_when_cancelled)
{
	TP_FD int cancel_fd = eventfd(1, EFD_CLOEXEC);
	struct tp_call call = {.deadline_ns = TP_NO_DEADLINE, .cancel_fd = cancel_fd};
	struct fake fake = {0};
	struct cmp_job *job = started(&fake, &call);

	TP_ERROR struct torpor_error *err = tp_call_check(cmp_job_call(job), "wait for", "d");
	cr_assert_not_null(err, "the job's call isn't cancelled with the caller's");
	must_end(job, &fake, TORPOR_E_CANCELLED, true);
}
