/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real helper, run on this host over a socket pair. What a FRESH changes is a directory of the
 * test's own.
 */
#ifndef TP_TESTS_GUEST_REAL_HELPER_H
#define TP_TESTS_GUEST_REAL_HELPER_H

#include <criterion/criterion.h>
#include <sys/types.h>

#include "base/buf.h"
#include "engine/helper.h"

extern char dir[]; /* the helper's world is in it */
extern pid_t helper_pid;
extern int host_fd; /* our end of the port */
extern struct tp_call call;

void real_helper_start(void);
void real_helper_end(void);

#define HELPER_TEST(name)                                                                          \
	Test(helper, name, .init = real_helper_start, .fini = real_helper_end, .timeout = 60)
#define HOST_CLIENT TP_CLEANUP(tp_helper_free) struct tp_helper *h = tp_helper_new(host_fd)

#define CHECK_OK(expr)                                                                             \
	do {                                                                                       \
		TP_ERROR struct torpor_error *err_ = (expr);                                       \
		cr_assert_null(err_, "%s", torpor_error_message(err_));                            \
	} while (0)

#define CHECK_FAILS(expr, expected)                                                                \
	do {                                                                                       \
		TP_ERROR struct torpor_error *err_ = (expr);                                       \
		cr_assert_not_null(err_);                                                          \
		cr_assert_eq(torpor_error_code(err_), expected, "%s", torpor_error_message(err_)); \
	} while (0)

struct output {
	struct tp_buf bytes[3];
};
void output_deinit(struct output *o);
#define OUTPUT __attribute__((cleanup(output_deinit)))

/* A sink; its data is a struct output. */
struct torpor_error *collect(void *data, int stream, const void *bytes, size_t len);
/* What was collected, as a string. */
const char *text_of(struct output *o, int stream);
/* Runs it in `dir`, and collects its output. */
struct torpor_error *run_shell(
	struct tp_helper *h, const char *script, struct output *o, struct tp_exec_result *result);

/* A name that processes of the helper can wait at. */
void make_fifo(const char *name);
/* Opens the fifo, which waits for the other side, and closes it: that process goes on. */
void meet_at(const char *name, int flags);

/* One that asks for everything. */
struct tp_fresh sound_fresh(void);
void check_fresh_works(struct tp_helper *h);

#endif
