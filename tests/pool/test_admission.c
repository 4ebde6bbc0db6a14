/* SPDX-License-Identifier: Apache-2.0 */
/* Admission: each limit, what is charged, what is given back. The race for the last place is in
 * stress_admission.c. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "pool/admission.h"

static const struct tp_admission_config roomy = {
	.host_memory = 100 * TP_GIB,
	.max_sessions = 1000,
	.guest_overhead = 16 * TP_MIB,
	.guest_share_percent = 25,
};

static const struct tp_tenant_limits plenty = {
	.sessions = 100,
	.memory_bytes = 50 * TP_GIB,
	.parked_bytes = TP_GIB,
};

static struct tp_admission *admission;

static void set_up(void)
{
	admission = tp_admission_new(&roomy);
}

static void tear_down(void)
{
	tp_admission_free(admission);
}

TestSuite(admission, .init = set_up, .fini = tear_down);

static void admit(const char *tenant, unsigned int count, uint64_t memory)
{
	TP_ERROR struct torpor_error *err =
		tp_admit(admission, tenant, &plenty, count, memory, false);

	cr_assert_null(err, "%s", err ? torpor_error_message(err) : "");
}

static void assert_refused(struct torpor_error *refusal, const char *reason, const char *numbers)
{
	TP_ERROR struct torpor_error *err = refusal;

	cr_assert_not_null(err, "%s was to be refused", reason);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_LIMIT);
	cr_assert_str_eq(torpor_error_reason(err), reason);
	cr_assert_gt(torpor_error_retry_after(err), 0);
	cr_assert_not_null(torpor_error_hint(err));
	cr_assert_not_null(
		strstr(torpor_error_message(err), numbers), "%s", torpor_error_message(err));
}

static struct tp_admission_view view(void)
{
	struct tp_admission_view v;

	tp_admission_view(admission, &v);
	return v;
}

static struct tp_tenant_view tenant_view(const char *tenant)
{
	struct tp_tenant_view v;

	tp_admission_tenant(admission, tenant, &v);
	return v;
}

Test(admission, a_tenants_sessions)
{
	struct tp_tenant_limits two = plenty;

	two.sessions = 2;
	admit("alice", 1, TP_MIB);
	assert_refused(
		tp_admit(admission, "alice", &two, 2, TP_MIB, false), "tenant-sessions", "1 of 2");
	cr_assert_eq(tenant_view("alice").sessions, 1, "all or none");
	cr_assert_null(tp_admit(admission, "alice", &two, 1, TP_MIB, false));
	assert_refused(
		tp_admit(admission, "alice", &two, 1, TP_MIB, false), "tenant-sessions", "2 of 2");
	cr_assert_null(tp_admit(admission, "bob", &two, 2, TP_MIB, false), "another's don't count");
	tp_admit_undo(admission, "alice", 1, TP_MIB);
	cr_assert_null(tp_admit(admission, "alice", &two, 1, TP_MIB, false));
}

Test(admission, a_tenants_memory)
{
	struct tp_tenant_limits limits = plenty;

	limits.memory_bytes = TP_GIB;
	cr_assert_null(tp_admit(admission, "alice", &limits, 3, 256 * TP_MIB, false));
	assert_refused(tp_admit(admission, "alice", &limits, 1, 257 * TP_MIB, false),
		"tenant-memory", "768 of 1024 MiB");
	cr_assert_null(tp_admit(admission, "alice", &limits, 1, 256 * TP_MIB, false));
	cr_assert_eq(tenant_view("alice").memory_bytes, TP_GIB);
}

Test(admission, the_hosts_sessions)
{
	struct tp_admission_config config = roomy;

	config.max_sessions = 3;
	tp_admission_configure(admission, &config);
	admit("alice", 2, TP_MIB);
	assert_refused(
		tp_admit(admission, "bob", &plenty, 2, TP_MIB, false), "host-sessions", "2 of 3");
	admit("bob", 1, TP_MIB);
	assert_refused(
		tp_admit(admission, "carol", &plenty, 1, TP_MIB, false), "host-sessions", "3 of 3");
}

Test(admission, the_hosts_memory)
{
	struct tp_admission_config config = roomy;

	/* A base of 1 GiB, and guests of 1 GiB at 16 MiB and a quarter each: room for three. */
	config.host_memory = TP_GIB + 3 * (256 + 16) * TP_MIB;
	tp_admission_configure(admission, &config);
	tp_admission_base(admission, (int64_t)TP_GIB);
	admit("alice", 2, TP_GIB);
	assert_refused(tp_admit(admission, "bob", &plenty, 2, TP_GIB, false), "host-memory",
		"1568 of this host's 1840 MiB");
	admit("bob", 1, TP_GIB);
	cr_assert_eq(view().charged, config.host_memory);
	assert_refused(tp_admit(admission, "bob", &plenty, 1, 0, false), "host-memory", "16 MiB");
	tp_admission_base(admission, -(int64_t)TP_GIB);
	admit("bob", 1, TP_GIB);
	cr_assert_eq(view().bases, 0);
}

Test(admission, what_is_forced_is_counted)
{
	struct tp_tenant_limits none = {0};
	struct tp_admission_config config = {0};

	tp_admission_configure(admission, &config);
	cr_assert_null(tp_admit(admission, "alice", &none, 5, TP_GIB, true));
	cr_assert_eq(view().sessions, 5);
	cr_assert_eq(tenant_view("alice").memory_bytes, 5 * TP_GIB);
	assert_refused(
		tp_admit(admission, "alice", &none, 1, TP_GIB, false), "tenant-sessions", "5 of 0");
}

Test(admission, stock_is_charged_and_makes_way)
{
	struct tp_admission_config config = roomy;

	config.host_memory = 3 * (256 + 16) * TP_MIB;
	tp_admission_configure(admission, &config);
	cr_assert(tp_admit_stock(admission, TP_GIB));
	cr_assert(tp_admit_stock(admission, TP_GIB));
	cr_assert(tp_admit_stock(admission, TP_GIB));
	cr_assert_not(tp_admit_stock(admission, TP_GIB), "no room for a fourth");
	cr_assert_eq(view().stock, 3);

	admit("alice", 3, TP_GIB);
	cr_assert_gt(view().charged, view().host_memory, "the stock is to be pressed");
	assert_refused(
		tp_admit(admission, "alice", &plenty, 1, TP_GIB, false), "host-memory", "816");
	for (int i = 0; i < 3; i++)
		tp_admit_stock_undo(admission, TP_GIB);
	cr_assert_eq(view().charged, view().host_memory);
	cr_assert_not(tp_admit_stock(admission, TP_GIB));
	tp_admit_undo(admission, "alice", 1, TP_GIB);
	cr_assert(tp_admit_stock(admission, TP_GIB));
}

Test(admission, images)
{
	struct tp_tenant_limits limits = plenty;

	limits.parked_bytes = 100 * TP_KIB;
	cr_assert_null(tp_admit_image(admission, "alice", &limits));
	tp_admission_images(admission, "alice", 60 * 1024);
	cr_assert_null(tp_admit_image(admission, "alice", &limits));
	tp_admission_images(admission, "alice", 60 * 1024);
	assert_refused(tp_admit_image(admission, "alice", &limits), "tenant-parked-bytes",
		"120 KiB, and 100 KiB");
	cr_assert_null(tp_admit_image(admission, "bob", &limits));
	tp_admission_images(admission, "alice", -60 * 1024);
	cr_assert_null(tp_admit_image(admission, "alice", &limits));
	cr_assert_eq(tenant_view("alice").image_bytes, 60 * 1024);
	cr_assert_eq(view().tenants, 1);
	tp_admission_images(admission, "alice", -60 * 1024);
	cr_assert_eq(view().tenants, 0);
}

Test(admission, another_charge_holds_for_those_admitted)
{
	struct tp_admission_config config = roomy;

	admit("alice", 10, TP_GIB);
	cr_assert(tp_admit_stock(admission, TP_GIB));
	config.guest_share_percent = 100;
	config.guest_overhead = 0;
	tp_admission_configure(admission, &config);
	cr_assert_eq(view().charged, 11 * TP_GIB);
	tp_admit_undo(admission, "alice", 10, TP_GIB);
	tp_admit_stock_undo(admission, TP_GIB);
	cr_assert_eq(view().charged, 0);
}

Test(admission, no_sum_wraps_around)
{
	struct tp_tenant_limits all = {UINT64_MAX - 1, UINT64_MAX - 1, UINT64_MAX};

	assert_refused(tp_admit(admission, "alice", &all, UINT32_MAX, UINT64_MAX, false),
		"tenant-memory", "too much");
	assert_refused(tp_admit(admission, "alice", &all, 2, UINT64_MAX / 2, false), "host-memory",
		"too much");
	cr_assert_not(tp_admit_stock(admission, UINT64_MAX));
	cr_assert_eq(view().charged, 0);
}

Test(admission, giving_back_too_much_leaves_zero)
{
	admit("alice", 1, TP_MIB);
	tp_admit_undo(admission, "alice", 5, TP_GIB);
	tp_admit_stock_undo(admission, TP_GIB);
	tp_admission_images(admission, "alice", INT64_MIN);
	tp_admission_base(admission, -1);
	cr_assert_eq(view().charged, 0);
	cr_assert_eq(view().sessions, 0);
	cr_assert_eq(tenant_view("alice").image_bytes, 0);
	admit("alice", 1, TP_MIB);
	cr_assert_eq(tenant_view("alice").sessions, 1);
}

Test(admission, many_tenants_come_and_go)
{
	char name[32];

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 1000; i++) {
			snprintf(name, sizeof(name), "tenant-%d", i);
			if (round == 0)
				admit(name, 1, TP_MIB);
			else
				tp_admit_undo(admission, name, 1, TP_MIB);
		}
		cr_assert_eq(view().sessions, round == 0 ? 1000 : 0);
		cr_assert_eq(view().tenants, round == 0 ? 1000 : 0, "one that has nothing is kept");
	}
	cr_assert_eq(tenant_view("tenant-7").sessions, 0);
}
