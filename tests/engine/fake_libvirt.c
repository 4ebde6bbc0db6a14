/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of libvirt that a connection consists of. */
#include "fake_libvirt.h"

#include <criterion/criterion.h>

#include "support.h"

#define CONNECTIONS_MAX 8

struct fake {
	virConnectCloseFunc closed; /* NULL once it was told */
	void *data[4];		    /* of each callback, with what frees it */
	virFreeCallback free[4];
};

static struct fake fakes[CONNECTIONS_MAX];
static unsigned int n_fakes;
static unsigned int lost_from;
static unsigned int lost_end;

static struct fake *fake_of(virConnectPtr conn)
{
	return (struct fake *)conn;
}

virConnectPtr fake_connection(unsigned int n)
{
	return (virConnectPtr)&fakes[n];
}

void fake_close(virConnectPtr conn)
{
	virConnectCloseFunc closed = fake_of(conn)->closed;

	fake_of(conn)->closed = NULL;
	if (closed)
		closed(conn, VIR_CONNECT_CLOSE_REASON_EOF, fake_of(conn)->data[0]);
}

static virConnectPtr open_one(const char *uri)
{
	(void)uri;
	cr_assert_lt(n_fakes, CONNECTIONS_MAX);
	return fake_connection(n_fakes++);
}

static int leave(virConnectPtr conn)
{
	(void)conn;
	return 0;
}

static int keep_alive(virConnectPtr conn, int interval, unsigned int count)
{
	(void)conn;
	(void)interval;
	(void)count;
	return 0;
}

static int add(virConnectPtr conn, int i, void *data, virFreeCallback free_data)
{
	fake_of(conn)->data[i] = data;
	fake_of(conn)->free[i] = free_data;
	return i;
}

static int drop(virConnectPtr conn, int i)
{
	fake_of(conn)->free[i](fake_of(conn)->data[i]);
	return 0;
}

static int add_close(
	virConnectPtr conn, virConnectCloseFunc closed, void *data, virFreeCallback free_data)
{
	fake_of(conn)->closed = closed;
	return add(conn, 0, data, free_data);
}

static int drop_close(virConnectPtr conn, virConnectCloseFunc closed)
{
	(void)closed;
	return drop(conn, 0);
}

static int add_monitor(virConnectPtr conn, virDomainPtr domain, const char *event,
	virConnectDomainQemuMonitorEventCallback callback, void *data, virFreeCallback free_data,
	unsigned int flags)
{
	(void)domain;
	(void)event;
	(void)callback;
	(void)flags;
	return add(conn, 1, data, free_data);
}

/* Lifecycle, then agents: with those it is made. */
static int add_event(virConnectPtr conn, virDomainPtr domain, int event,
	virConnectDomainEventGenericCallback callback, void *data, virFreeCallback free_data)
{
	int i = event == VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE ? 3 : 2;
	unsigned int n = (unsigned int)(fake_of(conn) - fakes);

	(void)domain;
	(void)callback;
	add(conn, i, data, free_data);
	if (i == 3 && n >= lost_from && n < lost_end)
		fake_close(conn);
	return i;
}

void fake_libvirt(unsigned int from, unsigned int end)
{
	must(tp_vir_load_with_events());
	n_fakes = 0;
	lost_from = from;
	lost_end = end;
	tp_vir.virConnectOpen = open_one;
	tp_vir.virConnectClose = leave;
	tp_vir.virConnectRef = leave;
	tp_vir.virConnectSetKeepAlive = keep_alive;
	tp_vir.virConnectRegisterCloseCallback = add_close;
	tp_vir.virConnectUnregisterCloseCallback = drop_close;
	tp_vir.virConnectDomainQemuMonitorEventRegister = add_monitor;
	tp_vir.virConnectDomainQemuMonitorEventDeregister = drop;
	tp_vir.virConnectDomainEventRegisterAny = add_event;
	tp_vir.virConnectDomainEventDeregisterAny = drop;
}
