/* SPDX-License-Identifier: Apache-2.0 */
/* Limits through libvirt: what it is told, and when. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/libvirt_priv.h"
#include "fake_libvirt.h"
#include "support.h"

static char told[1024]; /* "cpu_quota=50000 ..." */
static int result;	/* of libvirt's calls */
static struct libvirt_launcher launcher;
static struct libvirt_guest guest;

static virDomainPtr look_up(virConnectPtr conn, const char *uuid)
{
	(void)conn;
	(void)uuid;
	return (virDomainPtr)&guest;
}

static int leave(virDomainPtr domain)
{
	(void)domain;
	return 0;
}

static int tell(virTypedParameterPtr parameters, int n)
{
	for (int i = 0; i < n; i++) {
		const virTypedParameter *p = &parameters[i];
		size_t len = strlen(told);
		if (p->type == VIR_TYPED_PARAM_LLONG)
			snprintf(told + len, sizeof(told) - len, "%s=%lld ", p->field, p->value.l);
		else if (p->type == VIR_TYPED_PARAM_ULLONG)
			snprintf(told + len, sizeof(told) - len, "%s=%llu ", p->field, p->value.ul);
		else
			snprintf(told + len, sizeof(told) - len, "%s=%s ", p->field, p->value.s);
	}
	return result;
}

static int set(virDomainPtr domain, virTypedParameterPtr parameters, int n, unsigned int flags)
{
	cr_assert_eq(domain, (virDomainPtr)&guest);
	cr_assert_eq(flags, (unsigned int)VIR_DOMAIN_AFFECT_LIVE);
	return tell(parameters, n);
}

static void set_up(void)
{
	fake_libvirt(0, 0);
	tp_vir.virDomainLookupByUUIDString = look_up;
	tp_vir.virDomainFree = leave;
	tp_vir.virDomainSetSchedulerParametersFlags = set;
	tp_vir.virDomainSetMemoryParameters = set;
	tp_vir.virDomainSetBlkioParameters = set;
	must(tp_relays_open("fake", &launcher.relays));
	must(tp_cgroup_look("", &launcher.disk));
	guest.base.launcher = &launcher.base;
	guest.base.name = (char *)"s1";
}

static void tear_down(void)
{
	tp_cgroup_close(launcher.disk);
	tp_relays_close(launcher.relays);
}

TestSuite(libvirt_limits, .init = set_up, .fini = tear_down);

/* What is told for LIMITS, and how many of them aren't enforced. */
static void assert_told(const struct tp_limits *limits, const char *expected, size_t unenforced)
{
	json_t *list;

	told[0] = '\0';
	must(tp_libvirt_limit(&guest.base, limits, &list));
	cr_assert_str_eq(told, expected, "%s", told);
	cr_assert_eq(json_array_size(list), unenforced);
	json_decref(list);
}

Test(libvirt_limits, limits_that_are_taken_away_end)
{
	static const struct tp_limits none = {0}, cpus = {.cpus = 0.5},
				      memory = {.memory_bytes = 64 * TP_MIB};

	assert_told(&none, "", 0);
	assert_told(&cpus, "global_period=100000 global_quota=50000 ", 0);
	assert_told(&memory,
		"global_period=100000 global_quota=-1 hard_limit=65536 soft_limit=61440 ", 0);
	assert_told(&none, "hard_limit=9007199254740991 soft_limit=9007199254740991 ", 0);
	assert_told(&none, "", 0);
}

Test(libvirt_limits, what_is_refused_is_told_and_not_ended)
{
	static const struct tp_limits none = {0}, cpus = {.cpus = 0.5};

	result = -1;
	assert_told(&cpus, "global_period=100000 global_quota=50000 ", 1);
	assert_told(&none, "", 0);
}

/* One that was found may have had others' before. */
Test(libvirt_limits, a_guest_that_was_found_may_have_limits)
{
	static const struct tp_limits none = {0};
	static const char ended[] = "global_period=100000 global_quota=-1 "
				    "hard_limit=9007199254740991 soft_limit=9007199254740991 ";

	guest.limited = TP_LIBVIRT_ALL;
	result = -1;
	assert_told(&none, ended, 0);
	result = 0;
	assert_told(&none, ended, 0);
	assert_told(&none, "", 0);
}
