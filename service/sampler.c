/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that looks at processes and memory. */
#include "service/sampler.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "service/keep.h"
#include "service/service_priv.h"

struct tp_sampler {
	struct tp_service *service;
	pthread_t thread;
	pthread_cond_t wake; /* CLOCK_MONOTONIC */

	pthread_mutex_t lock;
	bool stopping; /* by the lock */
};

/* --- a process --- */

static bool read_proc(int pid, const char *file, char **text_out)
{
	char path[64];
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	struct torpor_error *err = tp_read_file(AT_FDCWD, path, 8 * TP_KIB, text_out, &len);
	if (!err)
		return true;
	torpor_error_free(err);
	return false;
}

/* The number behind NAME in /proc/PID/status, in bytes. */
static uint64_t status_bytes(const char *status, const char *name)
{
	const char *at = strstr(status, name);
	uint64_t kib = 0;

	if (at)
		sscanf(at + strlen(name), " %ju", &kib);
	return kib * TP_KIB;
}

/*
 * What the kernel counts as it goes (proc(5)), and not its sum over all pages (smaps_rollup), which
 * takes milliseconds for each guest. A clone's RAM is a private mapping of the base: pages that it
 * wrote are anonymous, those it only read are the base's.
 */
bool tp_sample_memory(int pid, bool own_memory, uint64_t *private_out, uint64_t *shared_out)
{
	TP_FREE char *status = NULL;

	if (!read_proc(pid, "status", &status))
		return false;
	uint64_t anon = status_bytes(status, "\nRssAnon:");
	uint64_t file = status_bytes(status, "\nRssFile:");
	uint64_t shmem = status_bytes(status, "\nRssShmem:");
	*private_out = anon + (own_memory ? shmem : 0);
	*shared_out = file + (own_memory ? 0 : shmem);
	return true;
}

static bool sample_process(const struct tp_live_brief *brief, struct tp_process_sample *sample_out)
{
	struct tp_process_sample sample = {.pid = brief->pid};
	TP_FREE char *stat = NULL;

	if (!read_proc(brief->pid, "stat", &stat) || !tp_cpu_parse(stat, &sample.cpu_ns) ||
		!tp_sample_memory(
			brief->pid, !brief->has_base, &sample.private_bytes, &sample.shared_bytes))
		return false;
	*sample_out = sample;
	return true;
}

/* --- the host --- */

static struct torpor_error *read_memory(struct tp_host_memory *memory_out)
{
	TP_FREE char *meminfo = NULL;
	size_t len;

	TP_TRY(tp_read_file(AT_FDCWD, "/proc/meminfo", 64 * TP_KIB, &meminfo, &len));
	return tp_memory_parse(meminfo, NULL, memory_out);
}

uint64_t tp_sample_per_parked(struct tp_service *service, const char *tenant,
	uint64_t sessions_bytes, uint64_t running, const char **from_out)
{
	uint64_t mean = tp_history_parked_mean(service->history, tenant);

	*from_out = "parks";
	if (mean)
		return mean;
	*from_out = "running";
	if (running)
		return sessions_bytes / running;
	*from_out = "charge";
	pthread_mutex_lock(&service->lock);
	uint64_t overhead = service->config.admission.guest_overhead;
	pthread_mutex_unlock(&service->lock);
	return overhead;
}

struct torpor_error *tp_sample_host(struct tp_service *service, const char *tenant,
	uint64_t sessions_bytes, uint64_t running, struct tp_host_sample *sample_out)
{
	struct tp_host_memory memory = {0};
	struct tp_admission_view admission = {0};
	struct tp_usage usage;
	const char *from;

	TP_TRY(tp_records_usage(service->records, tenant, &usage));
	if (!tenant) {
		TP_TRY(read_memory(&memory));
		tp_admission_view(service->admission, &admission);
	}
	*sample_out = (struct tp_host_sample){
		.total_bytes = memory.total,
		.available_bytes = memory.available,
		.sessions_bytes = sessions_bytes,
		.bases_bytes = admission.bases,
		.image_bytes = usage.image_bytes,
		.running = running,
		.parked = usage.parked,
		.saved_bytes = usage.parked * tp_sample_per_parked(service, tenant, sessions_bytes,
						      running, &from),
	};
	return NULL;
}

/* --- looking --- */

void tp_sampler_look(struct tp_service *service, uint64_t now_ns)
{
	TP_FREE struct tp_live_brief *briefs = NULL;
	size_t n = tp_live_briefs(service, &briefs);
	struct tp_host_sample host;
	uint64_t private_bytes = 0;
	uint64_t running = 0;

	for (size_t i = 0; i < n; i++) {
		struct tp_process_sample sample;
		if (!briefs[i].pid || !sample_process(&briefs[i], &sample))
			continue;
		private_bytes += sample.private_bytes;
		running++;
		tp_history_sample(service->history, briefs[i].id, briefs[i].tenant, briefs[i].state,
			&sample, now_ns);
	}
	struct torpor_error *err = tp_sample_host(service, NULL, private_bytes, running, &host);
	if (err)
		tp_error_log(tp_error_in(err, "look at", "the host"));
	else
		tp_history_host(service->history, &host, now_ns);
}

/* When the next step begins; steps are those of CLOCK_REALTIME. */
static struct timespec next_step(void)
{
	uint64_t step_ns = TP_HISTORY_STEP_S * TP_NSEC_PER_SEC;
	uint64_t until = tp_now_ns() + step_ns - tp_realtime_ns() % step_ns;

	return (struct timespec){
		.tv_sec = (time_t)(until / TP_NSEC_PER_SEC),
		.tv_nsec = (long)(until % TP_NSEC_PER_SEC),
	};
}

static void *run(void *data)
{
	struct tp_sampler *sampler = data;

	pthread_mutex_lock(&sampler->lock);
	while (!sampler->stopping) {
		pthread_mutex_unlock(&sampler->lock);
		tp_sampler_look(sampler->service, tp_realtime_ns());
		pthread_mutex_lock(&sampler->lock);
		struct timespec until = next_step();
		while (!sampler->stopping &&
			pthread_cond_timedwait(&sampler->wake, &sampler->lock, &until) == 0)
			;
	}
	pthread_mutex_unlock(&sampler->lock);
	return NULL;
}

struct torpor_error *tp_sampler_start(struct tp_service *service, struct tp_sampler **sampler_out)
{
	struct tp_sampler *sampler = tp_calloc(1, sizeof(*sampler));
	pthread_condattr_t attr;

	sampler->service = service;
	pthread_mutex_init(&sampler->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&sampler->wake, &attr);
	pthread_condattr_destroy(&attr);
	int errnum = pthread_create(&sampler->thread, NULL, run, sampler);
	if (errnum) {
		pthread_cond_destroy(&sampler->wake);
		pthread_mutex_destroy(&sampler->lock);
		free(sampler);
		return tp_error_errno(errnum, "start a thread for", "the history");
	}
	*sampler_out = sampler;
	return NULL;
}

struct tp_sampler *tp_sampler_stop(struct tp_sampler *sampler)
{
	if (!sampler)
		return NULL;
	pthread_mutex_lock(&sampler->lock);
	sampler->stopping = true;
	pthread_cond_signal(&sampler->wake);
	pthread_mutex_unlock(&sampler->lock);
	pthread_join(sampler->thread, NULL);
	pthread_cond_destroy(&sampler->wake);
	pthread_mutex_destroy(&sampler->lock);
	free(sampler);
	return NULL;
}
