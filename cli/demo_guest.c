/* SPDX-License-Identifier: Apache-2.0 */
/* The demo's eyes and hands in the guest. All of it is shell, run through the helper. */
#include "cli/demo.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * The counter appends each number to a file, so that a gap or a repetition shows; it leaves its pid
 * and runs in a session of its own.
 */
static const char prepare_script[] =
	"set -e; mkdir -p /demo; cd /demo; "
	"dd if=/dev/urandom of=random bs=1M count=$(($1 / 2)) 2>/dev/null; "
	"seq 1 $((($1 - $1 / 2) * 150000)) > text; "
	"setsid sh -c 'echo $$ > pid; i=0; "
	"while :; do i=$((i+1)); echo $i >> count; sleep 0.1; done' </dev/null >/dev/null 2>&1 & "
	"while [ ! -s /demo/count ]; do sleep 0.02; done";

/* Five lines: boot id, the counter's pid and start time, how far it is, without a gap?, checksum.
 */
static const char observe_script[] =
	"cd /demo; cat /proc/sys/kernel/random/boot_id; pid=$(cat pid); echo $pid; "
	"sed 's/.*) //' /proc/$pid/stat | cut -d' ' -f20; "
	"awk '$1 != NR {bad = 1} END {print NR; print bad ? \"gap\" : \"whole\"}' count; "
	"cat random text | sha256sum | cut -d' ' -f1";

static const char wait_script[] =
	"cd /demo; while [ $(tail -n 1 count) -le $1 ]; do sleep 0.02; done";

static const char fork_script[] =
	"hostname; cat /etc/machine-id; "
	"dd if=/dev/urandom bs=32 count=1 2>/dev/null | hexdump -v -e '1/1 \"%02x\"'; echo";

/* Output is gathered up to a bound; what a guest prints beyond is dropped. */
struct output {
	char text[1024];
	size_t len;
};

static void gather(void *data, int stream, const void *bytes, size_t len)
{
	struct output *out = data;
	size_t room = sizeof(out->text) - 1 - out->len;
	size_t n = len < room ? len : room;

	(void)stream;
	memcpy(out->text + out->len, bytes, n);
	out->len += n;
	out->text[out->len] = '\0';
}

static struct torpor_error *failed(const struct output *out)
{
	fprintf(stderr, "torpor: a command in the guest failed: %s\n", out->text);
	return NULL;
}

/* Runs SCRIPT with one argument (may be NULL); *OK says whether it succeeded. */
static struct torpor_error *run(struct demo *demo, struct torpor_session *session,
	const char *script, const char *arg, struct output *out, bool *ok)
{
	const char *const argv[] = {"sh", "-c", script, "sh", arg, NULL};
	struct torpor_exec exec = {.argv = argv, .output = gather, .output_data = out};
	struct torpor_exec_result result;
	struct torpor_call call = {
		/* A minute, and two seconds more for each MiB, which an emulated guest may take. */
		.timeout_ns = (60 + 2 * (uint64_t)demo->file_mib) * UINT64_C(1000000000),
		.cancel = demo->cli->cancel,
	};

	out->len = 0;
	out->text[0] = '\0';
	struct torpor_error *err = torpor_session_exec(session, &exec, &call, &result);
	if (err)
		return err;
	*ok = result.exited && result.status == 0;
	return *ok ? NULL : failed(out);
}

/* Takes the next line off *AT into TEXT, cut to its room; false if there is none. */
static bool next_line(const char **at, char text[DEMO_TEXT])
{
	const char *end = strchr(*at, '\n');

	if (!end)
		return false;
	snprintf(text, DEMO_TEXT, "%.*s", (int)(end - *at), *at);
	*at = end + 1;
	return true;
}

struct torpor_error *demo_prepare(struct demo *demo)
{
	struct output out;
	char mib[16];
	bool ok;

	snprintf(mib, sizeof(mib), "%u", demo->file_mib);
	return run(demo, demo->session, prepare_script, mib, &out, &ok);
}

struct torpor_error *demo_observe(struct demo *demo, struct demo_guest *guest_out)
{
	struct output out;
	struct demo_guest guest = {0};
	char counted[DEMO_TEXT] = "";
	char whole[DEMO_TEXT] = "";
	bool ok;
	struct torpor_error *err = run(demo, demo->session, observe_script, NULL, &out, &ok);

	if (err)
		return err;
	const char *at = out.text;
	if (!next_line(&at, guest.boot_id) || !next_line(&at, guest.counter_pid) ||
		!next_line(&at, guest.counter_start) || !next_line(&at, counted) ||
		!next_line(&at, whole) || !next_line(&at, guest.checksums))
		failed(&out);
	guest.counted = strtol(counted, NULL, 10);
	guest.without_gap = strcmp(whole, "whole") == 0;
	*guest_out = guest;
	return NULL;
}

struct torpor_error *demo_wait_counter(struct demo *demo, long from)
{
	struct output out;
	char number[24];
	bool ok;

	snprintf(number, sizeof(number), "%ld", from);
	return run(demo, demo->session, wait_script, number, &out, &ok);
}

static int64_t host_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

struct torpor_error *demo_clock_error(
	struct demo *demo, struct torpor_session *session, int64_t *error_out)
{
	struct output out;
	bool ok;
	int64_t before = host_clock();
	/* busybox's date has whole seconds only; the time of a new file has them all. */
	struct torpor_error *err =
		run(demo, session, ": > /demo/now; stat -c '%Z %z' /demo/now", NULL, &out, &ok);

	if (err)
		return err;
	int64_t after = host_clock();
	long long seconds = 0;
	char fraction[10] = "";
	int64_t guest = 0;
	if (sscanf(out.text, "%lld %*s %*d:%*d:%*d.%9[0-9]", &seconds, fraction) == 2)
		guest = (int64_t)seconds * 1000000000 + strtol(fraction, NULL, 10);
	*error_out = guest < before ? guest - before : guest > after ? guest - after : 0;
	return NULL;
}

struct torpor_error *demo_observe_fork(
	struct demo *demo, struct torpor_session *session, struct demo_fork *fork_out)
{
	struct output out;
	bool ok;
	struct torpor_error *err = run(demo, session, fork_script, NULL, &out, &ok);

	if (err)
		return err;
	const char *at = out.text;
	if (!next_line(&at, fork_out->hostname) || !next_line(&at, fork_out->machine_id) ||
		!next_line(&at, fork_out->random))
		failed(&out);
	return demo_clock_error(demo, session, &fork_out->clock_error_ns);
}
