/* SPDX-License-Identifier: Apache-2.0 */
/* Proving an accelerator. */
#include "engine/accel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "engine/kept.h"

#define PRINT_EARLY "console=ttyS0 earlyprintk=serial,ttyS0 ignore_loglevel"

void tp_accel_result_deinit(struct tp_accel_result *result)
{
	free(result->why_not);
	*result = (struct tp_accel_result){0};
}

/* ---- the probe ---- */

/* The console's end without a byte: QEMU has ended. */
static char *describe_end(struct tp_guest *guest, const struct tp_call *call)
{
	TP_GUEST_EXIT struct tp_guest_exit how = {0};
	struct torpor_error *err =
		tp_wait_fd(tp_guest_pidfd(guest), POLLIN, call, "wait for the end of", "probe");

	if (!err)
		err = tp_guest_exit_reason(guest, &how);
	if (err) {
		torpor_error_free(err);
		return tp_strdup("the console closed before the kernel printed");
	}
	return tp_asprintf("QEMU ended before the kernel printed%s%s", *how.output_tail ? ": " : "",
		how.output_tail);
}

/*
 * Linux's real-mode part prints through the firmware before anything is proven, so of Linux the
 * first line of its kernel proper is wanted, of other kernels the first byte.
 */
static bool is_linux(const char *kernel)
{
	/* The boot protocol's signature (Linux: Documentation/arch/x86/boot.rst). */
	char signature[4] = "";
	TP_FD int fd = open(kernel, O_RDONLY | O_CLOEXEC);

	return fd >= 0 && pread(fd, signature, sizeof(signature), 0x202) == sizeof(signature) &&
	       memcmp(signature, "HdrS", sizeof(signature)) == 0;
}

static bool is_proof(const char *text, size_t len, bool linux_kernel)
{
	static const char first_line[] = "Linux version ";

	if (!linux_kernel)
		return len > 0;
	return memmem(text, len, first_line, sizeof(first_line) - 1) != NULL;
}

static uint64_t bound_of(const struct tp_accel_probe *probe)
{
	return probe->within_ns ? probe->within_ns : TP_ACCEL_PROBE_NS;
}

/*
 * Turns the end of PROBE's bound, which gave ERR, into a result: WHAT. Takes ERR, and gives it back
 * where it is something else, or CALL is over, too.
 */
static struct torpor_error *explain_timeout(struct torpor_error *err,
	const struct tp_accel_probe *probe, const struct tp_call *call, const char *what,
	char **why_not_out)
{
	if (torpor_error_code(err) != TORPOR_E_TIMEOUT)
		return err;
	torpor_error_free(err);
	TP_TRY(tp_call_check(call, "wait for", "probe"));
	*why_not_out = tp_asprintf(
		"%s within %g s", what, (double)bound_of(probe) / (double)TP_NSEC_PER_SEC);
	return NULL;
}

/*
 * Waits for the proof. *WHY_NOT_OUT is NULL if it came. An error only if CALL, of which SOON is a
 * part, is over.
 */
static struct torpor_error *await_output(struct tp_guest *guest, int console_fd,
	const struct tp_accel_probe *probe, const struct tp_call *call, const struct tp_call *soon,
	char **why_not_out)
{
	bool linux_kernel = is_linux(probe->kernel);
	char text[16 * 1024];
	size_t len = 0;

	while (!is_proof(text, len, linux_kernel) && len < sizeof(text)) {
		struct torpor_error *err =
			tp_wait_fd(console_fd, POLLIN, soon, "wait for the console of", "probe");
		if (err)
			return explain_timeout(
				err, probe, call, "the kernel printed nothing", why_not_out);
		ssize_t n = read(console_fd, text + len, sizeof(text) - len);
		if (n <= 0) {
			*why_not_out = describe_end(guest, soon);
			return NULL;
		}
		len += (size_t)n;
	}
	*why_not_out = is_proof(text, len, linux_kernel)
			       ? NULL
			       : tp_strdup("the kernel's console is full of something else");
	return NULL;
}

/* A guest that QEMU refuses to start is a result as well: no KVM, no such CPU. */
static struct torpor_error *boot_and_watch(struct tp_launcher *launcher,
	const struct tp_accel_probe *probe, const struct tp_guest_spec *spec, int console_fd,
	int console_write_fd, const struct tp_call *call, char **why_not_out)
{
	struct tp_call soon = tp_call_bounded(call, bound_of(probe));
	TP_CLEANUP(tp_guest_free) struct tp_guest *guest = NULL;

	struct torpor_error *err = tp_launcher_start(launcher, spec, &soon, &guest);
	/* QEMU's is the only one now, so that its end can be seen. */
	tp_close(console_write_fd);
	if (err && torpor_error_code(err) == TORPOR_E_QEMU) {
		*why_not_out = tp_strdup(torpor_error_message(err));
		torpor_error_free(err);
		return NULL;
	}
	if (err)
		return explain_timeout(err, probe, call, "QEMU did not start", why_not_out);
	return await_output(guest, console_fd, probe, call, &soon, why_not_out);
}

struct torpor_error *tp_accel_probe(struct tp_launcher *launcher,
	const struct tp_accel_probe *probe, const struct tp_call *call,
	struct tp_accel_result *result_out)
{
	static atomic_uint counter;
	TP_FREE char *name =
		tp_asprintf("probe-%ld-%u", (long)getpid(), atomic_fetch_add(&counter, 1));
	TP_FREE char *append = tp_asprintf(
		"%s%s" PRINT_EARLY, probe->append ? probe->append : "", probe->append ? " " : "");
	/* The strings stay the caller's. */
	struct tp_guest_config config = *probe->config;
	TP_FD int ram_fd = -1;
	int console[2];
	char *why_not = NULL;
	uint64_t started = tp_now_ns();

	config.channels = false;
	TP_TRY(tp_memfd("torpor-probe", config.memory_bytes, &ram_fd));
	if (pipe2(console, O_CLOEXEC) < 0)
		return tp_error_errno(errno, "make a pipe for", "probe");
	TP_FD int console_fd = console[0];
	struct tp_guest_spec spec = {
		.config = &config,
		.name = name,
		.role = TP_ROLE_BOOT,
		.program = probe->program,
		.traits = probe->traits,
		.kernel = probe->kernel,
		.initrd = probe->initrd,
		.append = append,
		.ram_fd = ram_fd,
		.ram_shared = true,
		.console_fd = console[1],
	};
	TP_TRY(boot_and_watch(launcher, probe, &spec, console_fd, console[1], call, &why_not));
	*result_out = (struct tp_accel_result){
		.ok = !why_not,
		.why_not = why_not,
		.time_ns = tp_now_ns() - started,
	};
	return NULL;
}

/* ---- what was found out before ---- */

/* All that a result depends on. */
static struct torpor_error *make_key(
	const char *qemu, const struct tp_accel_probe *probe, char **key_out)
{
	TP_FREE char *program = NULL;
	TP_FREE char *kernel = NULL;
	TP_FREE char *initrd = NULL;

	TP_TRY(tp_guest_config_check(probe->config));
	TP_TRY(tp_program_identity(qemu, &program));
	TP_TRY(tp_file_identity(probe->kernel, &kernel));
	TP_TRY(tp_file_identity(probe->initrd, &initrd));
	json_t *json = tp_guest_config_to_json(probe->config);
	TP_FREE char *config = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(json);
	*key_out = tp_asprintf("%s|%s|%s|%s|%s", program, kernel, initrd, config,
		probe->append ? probe->append : "");
	return NULL;
}

static bool result_from_json(json_t *json, struct tp_accel_result *result_out)
{
	int ok;
	const char *why_not = NULL;
	json_int_t time_ns;

	if (json_unpack(json, "{s:b, s?s, s:I}", "ok", &ok, "why_not", &why_not, "time_ns",
		    &time_ns) < 0 ||
		time_ns < 0 || (!ok && !why_not))
		return false;
	*result_out = (struct tp_accel_result){
		.ok = ok,
		.why_not = ok ? NULL : tp_strdup(why_not),
		.time_ns = (uint64_t)time_ns,
	};
	return true;
}

/* A reason that isn't UTF-8 can't be kept, and the probe is repeated. */
static void remember(const struct tp_kept *kept, const struct tp_accel_result *result)
{
	tp_kept_put(kept, json_pack("{s:b, s:s*, s:I}", "ok", (int)result->ok, "why_not",
				  result->why_not, "time_ns", (json_int_t)result->time_ns));
}

struct torpor_error *tp_accel_prove(struct tp_launcher *launcher, const char *qemu,
	const struct tp_accel_probe *probe, const char *cache_path, const struct tp_call *call,
	struct tp_accel_result *result_out)
{
	TP_FREE char *key = NULL;
	TP_KEPT struct tp_kept kept = {0};

	TP_TRY(make_key(qemu, probe, &key));
	TP_TRY(tp_kept_open(cache_path, key, &kept));
	if (result_from_json(tp_kept_entry(&kept), result_out))
		return NULL;
	TP_TRY(tp_accel_probe(launcher, probe, call, result_out));
	remember(&kept, result_out);
	return NULL;
}
