/* SPDX-License-Identifier: Apache-2.0 */
/* Guests for the samples: claimed, filled, left alone, parked, resumed, ended. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "benchmarks/bench_priv.h"
#include "benchmarks/payload.h"

#define QUICK_DIVISOR 20

void bench_say(const char *fmt, ...)
{
	va_list ap;

	fputs("bench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

unsigned int bench_scaled(const struct bench *b, unsigned int full)
{
	return b->options->quick ? TP_MAX(full / QUICK_DIVISOR, 2u) : full;
}

char *bench_name(struct bench *b)
{
	return tp_asprintf("bench-%d-%u", getpid(), b->next_name++);
}

void bench_add_to(
	struct bench *b, const char *prefix, const char *suffix, const char *unit, double value)
{
	TP_FREE char *name = tp_asprintf("%s.%s", prefix, suffix);

	bench_add(b, name, unit, value);
}

struct torpor_error *bench_claim(struct bench *b, struct torpor_template *tmpl,
	struct torpor_resume_report *report_out, struct torpor_session **session_out)
{
	TP_FREE char *name = bench_name(b);
	struct torpor_session_spec spec = {.name = name};

	return torpor_session_start(tmpl, &spec, &b->options->call, report_out, session_out);
}

struct torpor_error *bench_end(struct torpor_session **session)
{
	/* Clean-up, so also after a cancel: with the default bound. */
	return *session ? torpor_session_destroy(TP_TAKE(*session), NULL) : NULL;
}

void bench_batch_end(struct bench_batch *batch)
{
	for (unsigned int i = 0; i < batch->n; i++)
		tp_error_log(bench_end(&batch->session[i]));
	batch->n = 0;
}

struct torpor_error *bench_quiet(struct bench *b, unsigned int ms)
{
	struct tp_call call = tp_call_from(&b->options->call, ms * TP_NSEC_PER_MSEC);
	struct pollfd nothing = {.fd = -1};
	struct torpor_error *err = tp_wait_fds(&nothing, 1, &call, "stay", "quiet");

	if (torpor_error_code(err) != TORPOR_E_TIMEOUT)
		return err;
	torpor_error_free(err);
	return NULL;
}

/* --- Payload --- */

/* The payload as a file, kept for the next of the same size. */
static struct torpor_error *make_payload(struct bench *b, uint64_t bytes)
{
	struct bench_payload payload = bench_payload_of(bytes);
	TP_FREE uint8_t *piece = tp_malloc(TP_MIB);
	uint64_t at = 0;
	size_t len;
	TP_FD int fd = -1;

	if (b->payload_fd >= 0 && b->payload_bytes == bytes)
		return NULL;
	b->payload_fd = tp_close(b->payload_fd);
	TP_TRY(tp_memfd("torpor-payload", bytes, &fd));
	while ((len = bench_payload_take(&payload, piece, TP_MIB)) > 0) {
		TP_TRY(tp_pwrite_full(fd, piece, len, at, "payload"));
		at += len;
	}
	b->payload_fd = TP_TAKE_FD(fd);
	b->payload_bytes = bytes;
	return NULL;
}

struct torpor_error *bench_put_payload(
	struct bench *b, struct torpor_session *session, uint64_t bytes)
{
	TP_FREE char *script = bench_payload_script(bytes);
	const char *const argv[] = {"sh", "-c", script, NULL};
	struct torpor_exec_result result;

	if (bytes == 0)
		return NULL;
	TP_TRY(make_payload(b, bytes));
	if (lseek(b->payload_fd, 0, SEEK_SET) < 0)
		return tp_error_errno(errno, "rewind", "payload");
	struct torpor_exec exec = {.argv = argv, .stdin_fd = b->payload_fd, .has_stdin = true};
	TP_TRY(torpor_session_exec(session, &exec, &b->options->call, &result));
	if (!result.exited || result.status != 0)
		return tp_error(TORPOR_E_INTERNAL, "put payload into", "guest",
			"its shell ended with status %d", result.status);
	return NULL;
}

struct torpor_error *bench_batch_start(struct bench *b, struct torpor_template *tmpl,
	unsigned int n, bool dirty, struct bench_batch *batch)
{
	assert(batch->n + n <= TP_ARRAY_LEN(batch->session));
	for (unsigned int i = 0; i < n; i++) {
		struct torpor_session **session = &batch->session[batch->n];
		TP_TRY(bench_claim(b, tmpl, NULL, session));
		batch->n++;
		if (dirty)
			TP_TRY(bench_put_payload(b, *session, BENCH_PAYLOAD));
	}
	return bench_quiet(b, b->quiet_ms);
}

/* --- What is measured --- */

struct torpor_error *bench_park(struct bench *b, struct torpor_session *session, const char *figure,
	struct torpor_park_report *report_out)
{
	struct torpor_park_report report;

	TP_TRY(torpor_session_park(session, &b->options->call, &report));
	if (report.path != TORPOR_PATH_DIRECT)
		return tp_error_hint(tp_error(TORPOR_E_UNSUPPORTED, "measure", figure,
					     "the guest was not captured by the direct path"),
			"Run as root, or with the rights that `torpor doctor` asks for.");
	bench_add_to(b, figure, "captured", "ns", (double)report.captured_ns);
	bench_add_to(b, figure, "durable", "ns", (double)report.durable_ns);
	bench_add_to(b, figure, "gone", "ns", (double)report.gone_ns);
	bench_add_to(b, figure, "pages_scanned", "pages", (double)report.pages_scanned);
	bench_add_to(b, figure, "pages", "pages", (double)report.pages);
	*report_out = report;
	return NULL;
}

struct torpor_error *bench_resume(struct bench *b, struct torpor_session *session,
	const char *figure, struct torpor_resume_report *report_out)
{
	struct torpor_resume_report report;
	struct torpor_ping_report ping;

	TP_TRY(torpor_session_resume(session, &b->options->call, &report));
	TP_TRY(torpor_session_ping(session, &b->options->call, &ping));
	if (report.source != TORPOR_SOURCE_SHELL || report.shells_replaced)
		return tp_error(TORPOR_E_INTERNAL, "measure", figure, "no sound shell waited");
	bench_add_to(b, figure, "loaded", "ns", (double)report.loaded_ns);
	bench_add_to(b, figure, "running", "ns", (double)report.running_ns);
	bench_add_to(b, figure, "ready", "ns", (double)report.ready_ns);
	bench_add_to(b, figure, "agent", "ns", (double)ping.since_resume_ns);
	*report_out = report;
	return NULL;
}
