/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tests with real guests share: one template for the whole run, and short ways to say things.
 *
 * The state directory is made by whichever test comes first, in the build directory; a lock makes
 * the others wait for its template. TORPOR_TEST_STATE and TORPOR_TEST_GUEST name the places.
 */
#ifndef TP_TESTS_INTEGRATION_SUPPORT_H
#define TP_TESTS_INTEGRATION_SUPPORT_H

#include <criterion/criterion.h>
#include <torpor/torpor.h>

#define IT_TEMPLATE "minimal"

/* Fails the test with what ERR says, unless it is NULL. */
#define it_ok(call)                                                                                \
	do {                                                                                       \
		struct torpor_error *it_err_ = (call);                                             \
		cr_assert_null(                                                                    \
			it_err_, "%s: %s", #call, it_err_ ? torpor_error_message(it_err_) : "");   \
	} while (0)

/* Fails the test unless CALL fails with CODE; frees the error. */
#define it_fails(call, code)                                                                       \
	do {                                                                                       \
		struct torpor_error *it_err_ = (call);                                             \
		cr_assert_not_null(it_err_, "%s succeeded", #call);                                \
		cr_assert_eq(torpor_error_code(it_err_), code, "%s: %s", #call,                    \
			torpor_error_message(it_err_));                                            \
		torpor_error_free(it_err_);                                                        \
	} while (0)

/* The directory with vmlinuz and initrd.img. */
const char *it_guest_dir(void);

/* Opens an engine over the shared state directory, its template made if need be. */
struct torpor_engine *it_open(void);
struct torpor_engine *it_open_with(struct torpor_engine_options options);
struct torpor_template *it_template(struct torpor_engine *engine);

/* A session of a name that no other test uses. */
struct torpor_session *it_start(struct torpor_template *tmpl);

/* Runs SCRIPT in the guest, which must succeed; what it printed, without the last newline, is
 * valid until the next call. */
const char *it_run(struct torpor_session *session, const char *script);

/* A name that no other test uses. */
const char *it_name(const char *prefix);

/* Whether a process of that pid and start time exists. */
bool it_process_exists(int pid, uint64_t start_time);

/* Processes whose parent is this one, and whose name has QEMU in it. */
unsigned int it_qemu_children(void);
/* Whether this run is with the launcher libvirt. */
bool it_with_libvirt(void);
/* What is said of one that was killed: libvirt doesn't tell the signal. */
const char *it_killed(void);
/* The same of one that was still being started. */
const char *it_killed_early(void);
/* Whether PID, as its directory under /proc is called, is a guest that the process OWNER has
 * started. */
bool it_is_qemu_of(int owner, const char *pid);

/* Files in images/ that are not complete. */
unsigned int it_partial_files(const struct torpor_engine *engine);

#endif
