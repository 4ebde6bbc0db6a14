/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits through libvirt: it has a cgroup of its own for each domain, and reports and keeps what is
 * set there. What it has no word for is set on the process, or told.
 */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/cgroup.h"
#include "engine/libvirt_priv.h"

#define PERIOD_US 100000

struct parameters {
	virTypedParameterPtr v;
	int n;
	int max;
};

static void parameters_deinit(struct parameters *p)
{
	tp_vir.virTypedParamsFree(p->v, p->n);
}
#define PARAMETERS __attribute__((cleanup(parameters_deinit)))

static void unenforced(json_t *list, const char *limit, const char *why)
{
	TP_FREE char *text = tp_asprintf("%s: %s", limit, why);
	json_array_append_new(list, json_string(text));
}

/* 0 processors: no limit. These are as libvirt's calls: below 0 for a failure. */
static int limit_cpus(virDomainPtr domain, double cpus)
{
	PARAMETERS struct parameters p = {0};
	long long quota = cpus > 0 ? (long long)(cpus * PERIOD_US) : -1;

	int rc = tp_vir.virTypedParamsAddULLong(
		&p.v, &p.n, &p.max, VIR_DOMAIN_SCHEDULER_GLOBAL_PERIOD, PERIOD_US);
	if (rc == 0)
		rc = tp_vir.virTypedParamsAddLLong(
			&p.v, &p.n, &p.max, VIR_DOMAIN_SCHEDULER_GLOBAL_QUOTA, quota);
	if (rc == 0)
		rc = tp_vir.virDomainSetSchedulerParametersFlags(
			domain, p.v, p.n, VIR_DOMAIN_AFFECT_LIVE);
	return rc;
}

/* 0 bytes: no limit. */
static int limit_memory(virDomainPtr domain, uint64_t bytes)
{
	PARAMETERS struct parameters p = {0};
	/* In KiB. As with a cgroup of ours, the kernel begins to reclaim a little before. */
	uint64_t hard = bytes > 0 ? bytes / TP_KIB : VIR_DOMAIN_MEMORY_PARAM_UNLIMITED;
	uint64_t soft = bytes > 0 ? bytes / 16 * 15 / TP_KIB : VIR_DOMAIN_MEMORY_PARAM_UNLIMITED;

	int rc = tp_vir.virTypedParamsAddULLong(
		&p.v, &p.n, &p.max, VIR_DOMAIN_MEMORY_HARD_LIMIT, hard);
	if (rc == 0)
		rc = tp_vir.virTypedParamsAddULLong(
			&p.v, &p.n, &p.max, VIR_DOMAIN_MEMORY_SOFT_LIMIT, soft);
	if (rc == 0)
		rc = tp_vir.virDomainSetMemoryParameters(domain, p.v, p.n, VIR_DOMAIN_AFFECT_LIVE);
	return rc;
}

/* Of DISK; 0 bytes a second: no limit. */
static int limit_io(virDomainPtr domain, const char *disk, uint64_t bytes)
{
	PARAMETERS struct parameters p = {0};
	TP_FREE char *rate = tp_asprintf("/dev/block/%s,%llu", disk, (unsigned long long)bytes);

	int rc = tp_vir.virTypedParamsAddString(
		&p.v, &p.n, &p.max, VIR_DOMAIN_BLKIO_DEVICE_READ_BPS, rate);
	if (rc == 0)
		rc = tp_vir.virTypedParamsAddString(
			&p.v, &p.n, &p.max, VIR_DOMAIN_BLKIO_DEVICE_WRITE_BPS, rate);
	if (rc == 0)
		rc = tp_vir.virDomainSetBlkioParameters(domain, p.v, p.n, VIR_DOMAIN_AFFECT_LIVE);
	return rc;
}

/* libvirt has none for a domain that runs. */
static void limit_files(struct tp_guest *guest, uint32_t nofile, json_t *list)
{
	struct rlimit limit = {nofile, nofile};

	if (prlimit(tp_guest_pid(guest), RLIMIT_NOFILE, &limit, NULL) < 0)
		unenforced(list, "nofile", strerror(errno));
}

static unsigned int asked(const struct tp_limits *limits)
{
	return (limits->cpus > 0 ? TP_LIBVIRT_CPUS : 0u) |
	       (limits->memory_bytes > 0 ? TP_LIBVIRT_MEMORY : 0u) |
	       (limits->io_bytes_per_s > 0 ? TP_LIBVIRT_IO : 0u);
}

/*
 * After a call of libvirt's for WHICH, RC: what it refused isn't enforced, and its words say why. A
 * limit that it doesn't end, and that it may never have had, is tried again the next time.
 */
static void note(struct libvirt_guest *guest, enum tp_libvirt_limits which, bool is_asked,
	const char *limit, int rc, json_t *list)
{
	TP_FREE char *why = NULL;

	if (rc >= 0) {
		guest->limited = is_asked ? guest->limited | which : guest->limited & ~which;
		return;
	}
	why = tp_asprintf("libvirt: %s", tp_vir.virGetLastErrorMessage());
	if (is_asked)
		unenforced(list, limit, why);
	else
		tp_log(TP_LOG_WARNING, "end the limit %s of %s: %s", limit, guest->base.name, why);
}

/* Those that are libvirt's and that WANTED has: as LIMITS says, or not at all. */
static void limit_domain(struct libvirt_guest *guest, virDomainPtr domain,
	const struct tp_limits *limits, unsigned int wanted, json_t *list)
{
	const struct libvirt_launcher *launcher =
		(const struct libvirt_launcher *)guest->base.launcher;
	const char *disk = tp_cgroup_disk(launcher->disk);
	unsigned int is = asked(limits);

	if (wanted & TP_LIBVIRT_CPUS)
		note(guest, TP_LIBVIRT_CPUS, is & TP_LIBVIRT_CPUS, "cpus",
			limit_cpus(domain, limits->cpus), list);
	if (wanted & TP_LIBVIRT_MEMORY)
		note(guest, TP_LIBVIRT_MEMORY, is & TP_LIBVIRT_MEMORY, "memory_bytes",
			limit_memory(domain, limits->memory_bytes), list);
	if ((wanted & TP_LIBVIRT_IO) && disk)
		note(guest, TP_LIBVIRT_IO, is & TP_LIBVIRT_IO, "io_bytes_per_s",
			limit_io(domain, disk, limits->io_bytes_per_s), list);
	else if (is & TP_LIBVIRT_IO)
		unenforced(list, "io_bytes_per_s", tp_cgroup_why_no_disk(launcher->disk));
}

struct torpor_error *tp_libvirt_limit(
	struct tp_guest *base, const struct tp_limits *limits, json_t **unenforced_out)
{
	struct libvirt_guest *guest = (struct libvirt_guest *)base;
	struct tp_call soon = tp_call_within(5 * TP_NSEC_PER_SEC);
	TP_VIR_DOMAIN virDomainPtr domain = NULL;
	json_t *list;

	/* What isn't asked for any more ends. */
	unsigned int wanted = asked(limits) | guest->limited;
	if (wanted)
		TP_TRY(tp_libvirt_domain_of(guest, &soon, &domain));
	list = json_array();
	limit_domain(guest, domain, limits, wanted, list);
	if (limits->pids > 0)
		unenforced(list, "pids", "libvirt has no such limit");
	if (limits->nofile > 0)
		limit_files(base, limits->nofile, list);
	if (limits->net_bytes_per_s > 0)
		unenforced(list, "net_bytes_per_s", "no guest has a network device yet");
	*unenforced_out = list;
	return NULL;
}
