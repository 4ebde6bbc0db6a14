/* SPDX-License-Identifier: Apache-2.0 */
/* Making a clone one of its own: random generator, clock, host name, machine id. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include "guest/helper.h"

#define NSEC_PER_SEC 1000000000

/* --- this machine --- */

/* Credits the seed, and makes the generator use it for the very next byte (random(4)). */
static int seed_this_machine(const uint8_t *seed, size_t len)
{
	/* struct rand_pool_info, whose bytes have no size of their own. */
	struct {
		int entropy_count; /* bits */
		int buf_size;
		uint8_t bytes[TP_WIRE_MAX_SEED];
	} pool = {.entropy_count = (int)len * 8, .buf_size = (int)len};
	static_assert(offsetof(__typeof__(pool), bytes) == sizeof(struct rand_pool_info),
		"as the kernel has it");
	int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	int error = 0;

	if (fd < 0)
		return errno;
	memcpy(pool.bytes, seed, len);
	if (ioctl(fd, RNDADDENTROPY, &pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
		error = errno;
	explicit_bzero(&pool, sizeof(pool));
	close(fd);
	return error;
}

static int set_clock_of_this_machine(int64_t realtime_ns)
{
	struct timespec ts = {
		.tv_sec = realtime_ns / NSEC_PER_SEC,
		.tv_nsec = realtime_ns % NSEC_PER_SEC,
	};

	return clock_settime(CLOCK_REALTIME, &ts) < 0 ? errno : 0;
}

/* In one step, so that nothing that passes between reading and setting is lost (adjtimex(2)). */
static int shift_clock_of_this_machine(int64_t by_ns)
{
	int64_t seconds = by_ns / NSEC_PER_SEC;
	int64_t rest = by_ns % NSEC_PER_SEC;

	if (rest < 0) {
		seconds--;
		rest += NSEC_PER_SEC;
	}
	struct timex shift = {
		.modes = ADJ_SETOFFSET | ADJ_NANO,
		.time = {.tv_sec = seconds, .tv_usec = rest}, /* ADJ_NANO: nanoseconds */
	};
	return clock_adjtime(CLOCK_REALTIME, &shift) < 0 ? errno : 0;
}

static int set_hostname_of_this_machine(const char *name, size_t len)
{
	return sethostname(name, len) < 0 ? errno : 0;
}

const struct tp_guest_world tp_guest_this_machine = {
	.seed = seed_this_machine,
	.set_clock = set_clock_of_this_machine,
	.shift_clock = shift_clock_of_this_machine,
	.set_hostname = set_hostname_of_this_machine,
	.hostname_path = "/etc/hostname",
	.machine_id_path = "/etc/machine-id",
};

/* --- the steps --- */

/* Replaces a small file at once: readers see the old or the new one, whole. */
static int replace_file(const char *path, const char *bytes, size_t len)
{
	char temp[256];
	int error = 0;

	if ((size_t)snprintf(temp, sizeof(temp), "%s.new", path) >= sizeof(temp))
		return ENAMETOOLONG;
	int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return errno;
	ssize_t n = write(fd, bytes, len);
	if (n < 0)
		error = errno;
	else if ((size_t)n != len)
		error = ENOSPC;
	close(fd);
	if (!error && rename(temp, path) < 0)
		error = errno;
	if (error)
		unlink(temp);
	return error;
}

static int set_hostname(const struct tp_guest_world *world, const struct tp_wire_fresh *fresh)
{
	char line[TP_WIRE_MAX_HOSTNAME + 1];
	int error = world->set_hostname(fresh->hostname, fresh->hostname_len);

	if (error)
		return error;
	memcpy(line, fresh->hostname, fresh->hostname_len);
	line[fresh->hostname_len] = '\n';
	return replace_file(world->hostname_path, line, fresh->hostname_len + 1u);
}

static int set_machine_id(const struct tp_guest_world *world, const struct tp_wire_fresh *fresh)
{
	char line[2 * TP_WIRE_ID_SIZE + 1];

	for (unsigned int i = 0; i < TP_WIRE_ID_SIZE; i++) {
		line[2 * i] = "0123456789abcdef"[fresh->machine_id[i] >> 4];
		line[2 * i + 1] = "0123456789abcdef"[fresh->machine_id[i] & 15];
	}
	line[2 * TP_WIRE_ID_SIZE] = '\n';
	return replace_file(world->machine_id_path, line, sizeof(line));
}

static int run_step(const struct tp_guest_world *world, const struct tp_wire_fresh *fresh,
	enum tp_wire_step step)
{
	switch (step) {
	case TP_WIRE_STEP_SEED:
		return world->seed(fresh->seed, fresh->seed_len);
	case TP_WIRE_STEP_CLOCK:
		return world->set_clock(fresh->realtime_ns);
	case TP_WIRE_STEP_CLOCK_SHIFT:
		return world->shift_clock(fresh->realtime_ns);
	case TP_WIRE_STEP_HOSTNAME:
		return set_hostname(world, fresh);
	case TP_WIRE_STEP_MACHINE_ID:
		return set_machine_id(world, fresh);
	case TP_WIRE_STEP_KEEP:
		return 0; /* by whoever calls */
	}
	return ENOSYS; /* a newer host's */
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

void tp_guest_fresh(const struct tp_guest_world *world, const struct tp_wire_fresh *fresh,
	struct tp_wire_fresh_done *done)
{
	*done = (struct tp_wire_fresh_done){.nonce = fresh->nonce};
	/* The random generator comes first: until then clones draw the same numbers. */
	for (unsigned int bit = 0; bit < 32; bit++) {
		uint32_t step = 1u << bit;
		if (!(fresh->steps & step))
			continue;
		int error = run_step(world, fresh, (enum tp_wire_step)step);
		if (error)
			done->failed |= step;
		else
			done->done |= step;
		if (!done->error)
			done->error = error;
	}
	done->realtime_ns = clock_ns(CLOCK_REALTIME);
	done->boottime_ns = clock_ns(CLOCK_BOOTTIME);
}
