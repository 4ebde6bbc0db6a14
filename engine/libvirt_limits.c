/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits through libvirt: it has a cgroup of its own for each domain, and reports and keeps what is
 * set there. What it has no word for is set on the process, or told.
 */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>

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

/* After a call of libvirt's, RC: what it refused isn't enforced, and its words say why. */
static void note(json_t *list, const char *limit, int rc)
{
	TP_FREE char *why = NULL;

	if (rc >= 0)
		return;
	why = tp_asprintf("libvirt: %s", tp_vir.virGetLastErrorMessage());
	unenforced(list, limit, why);
}

static void limit_cpus(virDomainPtr domain, double cpus, json_t *list)
{
	PARAMETERS struct parameters p = {0};

	int rc = tp_vir.virTypedParamsAddULLong(
		&p.v, &p.n, &p.max, VIR_DOMAIN_SCHEDULER_GLOBAL_PERIOD, PERIOD_US);
	if (rc == 0)
		rc = tp_vir.virTypedParamsAddLLong(&p.v, &p.n, &p.max,
			VIR_DOMAIN_SCHEDULER_GLOBAL_QUOTA, (long long)(cpus * PERIOD_US));
	if (rc == 0)
		rc = tp_vir.virDomainSetSchedulerParametersFlags(
			domain, p.v, p.n, VIR_DOMAIN_AFFECT_LIVE);
	note(list, "cpus", rc);
}

static void limit_memory(virDomainPtr domain, uint64_t bytes, json_t *list)
{
	PARAMETERS struct parameters p = {0};

	/* In KiB. As with a cgroup of ours, the kernel begins to reclaim a little before. */
	int rc = tp_vir.virTypedParamsAddULLong(
		&p.v, &p.n, &p.max, VIR_DOMAIN_MEMORY_HARD_LIMIT, bytes / TP_KIB);
	if (rc == 0)
		rc = tp_vir.virTypedParamsAddULLong(
			&p.v, &p.n, &p.max, VIR_DOMAIN_MEMORY_SOFT_LIMIT, bytes / 16 * 15 / TP_KIB);
	if (rc == 0)
		rc = tp_vir.virDomainSetMemoryParameters(domain, p.v, p.n, VIR_DOMAIN_AFFECT_LIVE);
	note(list, "memory_bytes", rc);
}

static void limit_io(
	const struct libvirt_guest *guest, virDomainPtr domain, uint64_t bytes, json_t *list)
{
	const struct libvirt_launcher *launcher =
		(const struct libvirt_launcher *)guest->base.launcher;
	PARAMETERS struct parameters p = {0};
	const char *disk = tp_cgroup_disk(launcher->disk);

	if (!disk) {
		unenforced(list, "io_bytes_per_s", tp_cgroup_why_no_disk(launcher->disk));
		return;
	}
	TP_FREE char *rate = tp_asprintf("/dev/block/%s,%llu", disk, (unsigned long long)bytes);
	int rc = tp_vir.virTypedParamsAddString(
		&p.v, &p.n, &p.max, VIR_DOMAIN_BLKIO_DEVICE_READ_BPS, rate);
	if (rc == 0)
		rc = tp_vir.virTypedParamsAddString(
			&p.v, &p.n, &p.max, VIR_DOMAIN_BLKIO_DEVICE_WRITE_BPS, rate);
	if (rc == 0)
		rc = tp_vir.virDomainSetBlkioParameters(domain, p.v, p.n, VIR_DOMAIN_AFFECT_LIVE);
	note(list, "io_bytes_per_s", rc);
}

/* libvirt has none for a domain that runs. */
static void limit_files(struct tp_guest *guest, uint32_t nofile, json_t *list)
{
	struct rlimit limit = {nofile, nofile};

	if (prlimit(tp_guest_pid(guest), RLIMIT_NOFILE, &limit, NULL) < 0)
		unenforced(list, "nofile", strerror(errno));
}

struct torpor_error *tp_libvirt_limit(
	struct tp_guest *base, const struct tp_limits *limits, json_t **unenforced_out)
{
	struct libvirt_guest *guest = (struct libvirt_guest *)base;
	struct tp_call soon = tp_call_within(5 * TP_NSEC_PER_SEC);
	TP_VIR_DOMAIN virDomainPtr domain = NULL;
	json_t *list;

	bool through_libvirt =
		limits->cpus > 0 || limits->memory_bytes > 0 || limits->io_bytes_per_s > 0;
	if (through_libvirt)
		TP_TRY(tp_libvirt_domain_of(guest, &soon, &domain));
	list = json_array();
	if (limits->cpus > 0)
		limit_cpus(domain, limits->cpus, list);
	if (limits->memory_bytes > 0)
		limit_memory(domain, limits->memory_bytes, list);
	if (limits->io_bytes_per_s > 0)
		limit_io(guest, domain, limits->io_bytes_per_s, list);
	if (limits->pids > 0)
		unenforced(list, "pids", "libvirt has no such limit");
	if (limits->nofile > 0)
		limit_files(base, limits->nofile, list);
	if (limits->net_bytes_per_s > 0)
		unenforced(list, "net_bytes_per_s", "no guest has a network device yet");
	*unenforced_out = list;
	return NULL;
}
