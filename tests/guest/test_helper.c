/* SPDX-License-Identifier: Apache-2.0 */
/* The real helper against the engine's client: pings and FRESH. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "real_helper.h"

static void check_file(const char *name, const void *bytes, size_t len)
{
	char path[PATH_MAX];
	TP_FREE char *data = NULL;
	size_t size;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	CHECK_OK(tp_read_file(AT_FDCWD, path, 4096, &data, &size));
	cr_assert_eq(size, len, "%s: %zu bytes", name, size);
	cr_assert_eq(memcmp(data, bytes, len), 0, "%s: %s", name, data);
}

HELPER_TEST(a_ping_tells_boot_id_and_time)
{
	HOST_CLIENT;
	TP_FREE char *boot_id = NULL;
	char text[64] = "";
	struct tp_helper_pong pong;
	size_t len;

	CHECK_OK(tp_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &boot_id, &len));
	for (int i = 0; i < 2; i++) {
		CHECK_OK(tp_helper_ping(h, &call, &pong));
		uint64_t now = tp_realtime_ns();
		cr_assert_lt(now - (uint64_t)pong.realtime_ns, 60 * TP_NSEC_PER_SEC);
	}
	for (int i = 0; i < 16; i++)
		sprintf(text + strlen(text), "%s%02x", strchr("\4\6\10\12", i) && i ? "-" : "",
			pong.boot_id[i]);
	cr_assert_eq(strncmp(text, boot_id, 36), 0, "%s, not %s", text, boot_id);
	cr_assert(tp_helper_drained(h));
}

HELPER_TEST(fresh_changes_everything_that_was_asked)
{
	HOST_CLIENT;
	struct tp_fresh fresh = sound_fresh();
	struct tp_fresh_done done;

	CHECK_OK(tp_helper_send_fresh(h, &fresh, &call));
	CHECK_OK(tp_helper_wait_fresh(h, &fresh, &call, &done));
	cr_assert_eq(done.done, TP_WIRE_ALL_STEPS);
	cr_assert_eq(done.failed, 0);
	cr_assert_eq(done.count, 1, "the helper's own warming up doesn't count");
	check_file("seed", fresh.seed, 32);
	check_file("clock", &fresh.realtime_ns, 8);
	check_file("uts", "clone-1", 7);
	check_file("hostname", "clone-1\n", 8);
	check_file("machine-id", "deadbeef000000000000000000000000\n", 33);
}

HELPER_TEST(fresh_does_only_what_was_asked)
{
	HOST_CLIENT;
	struct tp_fresh fresh = sound_fresh();
	struct tp_fresh_done done;
	char path[PATH_MAX];

	fresh.steps = TP_WIRE_STEP_MACHINE_ID;
	CHECK_OK(tp_helper_send_fresh(h, &fresh, &call));
	CHECK_OK(tp_helper_wait_fresh(h, &fresh, &call, &done));
	snprintf(path, sizeof(path), "%s/seed", dir);
	cr_assert_lt(access(path, F_OK), 0);
	snprintf(path, sizeof(path), "%s/hostname", dir);
	cr_assert_lt(access(path, F_OK), 0);
}

HELPER_TEST(a_failed_step_fails_unless_it_is_optional)
{
	HOST_CLIENT;
	struct tp_fresh fresh = sound_fresh();
	struct tp_fresh_done done;

	fresh.realtime_ns = 13; /* fake_clock refuses it */
	CHECK_OK(tp_helper_send_fresh(h, &fresh, &call));
	CHECK_FAILS(tp_helper_wait_fresh(h, &fresh, &call, &done), TORPOR_E_GUEST);
	fresh.nonce++;
	fresh.optional = TP_WIRE_STEP_CLOCK;
	CHECK_OK(tp_helper_send_fresh(h, &fresh, &call));
	CHECK_OK(tp_helper_wait_fresh(h, &fresh, &call, &done));
	cr_assert_eq(done.failed, TP_WIRE_STEP_CLOCK);
	cr_assert_eq(done.done, TP_WIRE_ALL_STEPS & ~(uint32_t)TP_WIRE_STEP_CLOCK);
	cr_assert_eq(done.error, EPERM);
	cr_assert_eq(done.count, 2);
}

HELPER_TEST(the_clock_can_be_shifted_back)
{
	HOST_CLIENT;
	struct tp_fresh fresh = {
		.nonce = 77, .steps = TP_WIRE_STEP_CLOCK_SHIFT, .realtime_ns = -5000000};
	struct tp_fresh_done done;

	CHECK_OK(tp_helper_send_fresh(h, &fresh, &call));
	CHECK_OK(tp_helper_wait_fresh(h, &fresh, &call, &done));
	cr_assert_eq(done.done, TP_WIRE_STEP_CLOCK_SHIFT);
}

HELPER_TEST(nonsense_is_not_sent)
{
	HOST_CLIENT;
	struct tp_fresh fresh = sound_fresh();

	fresh.hostname = "a b";
	CHECK_FAILS(tp_helper_send_fresh(h, &fresh, &call), TORPOR_E_INVALID);
	fresh = sound_fresh();
	fresh.seed_len = 31;
	CHECK_FAILS(tp_helper_send_fresh(h, &fresh, &call), TORPOR_E_INVALID);
	fresh = sound_fresh();
	fresh.steps |= 1u << 31;
	CHECK_FAILS(tp_helper_send_fresh(h, &fresh, &call), TORPOR_E_INVALID);
	fresh = sound_fresh();
	fresh.realtime_ns = -1;
	CHECK_FAILS(tp_helper_send_fresh(h, &fresh, &call), TORPOR_E_INVALID);
}

HELPER_TEST(cancelled_before_the_guest_answers)
{
	HOST_CLIENT;
	TP_FD int cancel_fd = eventfd(1, EFD_CLOEXEC);
	struct tp_call cancelled = {.deadline_ns = TP_NO_DEADLINE, .cancel_fd = cancel_fd};
	struct tp_helper_pong pong;

	kill(helper_pid, SIGSTOP);
	for (int i = 0; i < 10; i++)
		CHECK_FAILS(tp_helper_ping(h, &cancelled, &pong), TORPOR_E_CANCELLED);
	kill(helper_pid, SIGCONT);
	CHECK_OK(tp_helper_ping(h, &call, &pong));
}

HELPER_TEST(drained_tells_what_was_not_taken)
{
	HOST_CLIENT;
	struct tp_fresh fresh = sound_fresh();
	struct tp_fresh_done done;
	struct tp_helper_pong pong;

	cr_assert(tp_helper_drained(h), "nothing was sent");
	CHECK_OK(tp_helper_ping(h, &call, &pong));
	cr_assert(tp_helper_drained(h));
	kill(helper_pid, SIGSTOP);
	waitpid(helper_pid, NULL, WUNTRACED);
	CHECK_OK(tp_helper_send_fresh(h, &fresh, &call));
	cr_assert_not(tp_helper_drained(h));
	kill(helper_pid, SIGCONT);
	CHECK_OK(tp_helper_wait_fresh(h, &fresh, &call, &done));
	cr_assert(tp_helper_drained(h));
}
