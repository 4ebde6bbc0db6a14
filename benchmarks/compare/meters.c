/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the machine as a whole spends: the same yardstick for a library call, for a daemon that
 * starts processes of its own, and for a compressor behind a pipe.
 */
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "compare.h"

#define PEAK_STEP_MS 2

uint64_t cmp_cpu_busy_ns(void)
{
	unsigned long long user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, soft = 0;
	FILE *f = fopen("/proc/stat", "re");

	if (!f)
		return 0;
	int n = fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle,
		&iowait, &irq, &soft);
	fclose(f);
	uint64_t ticks = user + nice + system + irq + soft;
	return n == 7 ? ticks * (TP_NSEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK)) : 0;
}

/* The value of a line "NAME: VALUE" or "NAME VALUE" in one of /proc's files; 0 if there is none. */
static uint64_t value_of(const char *text, const char *name)
{
	size_t len = strlen(name);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, len) == 0 && (line[len] == ':' || line[len] == ' '))
			return strtoull(line + len + 1, NULL, 10);
	}
	return 0;
}

static void read_text(const char *path, char *text, size_t size)
{
	FILE *f = fopen(path, "re");
	size_t len = 0;

	if (f) {
		len = fread(text, 1, size - 1, f);
		fclose(f);
	}
	text[len] = '\0';
}

uint64_t cmp_memory_used(void)
{
	char text[8192];

	read_text("/proc/meminfo", text, sizeof(text));
	uint64_t dropped = value_of(text, "MemFree") + value_of(text, "Buffers") +
			   value_of(text, "Cached") + value_of(text, "SReclaimable");
	return (value_of(text, "MemTotal") + value_of(text, "Shmem") - dropped) * TP_KIB;
}

uint64_t cmp_swapped(void)
{
	char text[16384];

	read_text("/proc/vmstat", text, sizeof(text));
	return value_of(text, "pswpin") + value_of(text, "pswpout");
}

uint64_t cmp_throttled(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t sum = 0;
	char text[64];

	for (long i = 0; i < cores; i++) {
		TP_FREE char *path = tp_asprintf("/sys/devices/system/cpu/cpu%ld/thermal_throttle/"
						 "core_throttle_count",
			i);
		read_text(path, text, sizeof(text));
		sum += strtoull(text, NULL, 10);
	}
	return sum;
}

struct cmp_peak {
	pthread_t thread;
	atomic_bool over;
	uint64_t highest; /* the thread's, until it was joined */
};

static void *watch_memory(void *data)
{
	struct cmp_peak *peak = data;

	while (!atomic_load(&peak->over)) {
		peak->highest = TP_MAX(peak->highest, cmp_memory_used());
		poll(NULL, 0, PEAK_STEP_MS);
	}
	return NULL;
}

struct cmp_peak *cmp_peak_start(void)
{
	struct cmp_peak *peak = tp_calloc(1, sizeof(*peak));

	if (pthread_create(&peak->thread, NULL, watch_memory, peak) == 0)
		return peak;
	free(peak);
	return NULL;
}

uint64_t cmp_peak_end(struct cmp_peak *peak)
{
	if (!peak)
		return 0;
	atomic_store(&peak->over, true);
	pthread_join(peak->thread, NULL);
	uint64_t highest = TP_MAX(peak->highest, cmp_memory_used());
	free(peak);
	return highest;
}
