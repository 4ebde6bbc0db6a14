/* SPDX-License-Identifier: Apache-2.0 */
/* A connection to libvirt that comes back, whenever it is lost. */
#include "engine/libvirt_link.h"

#include "fake_libvirt.h"
#include "support.h"

static struct tp_link *link;
static struct tp_call call;

static void set_up(void)
{
	call = tp_call_within(20 * TP_NSEC_PER_SEC);
}

static void tear_down(void)
{
	tp_link_close(link);
}

TestSuite(libvirt_link, .init = set_up, .fini = tear_down);

static void assert_connection(unsigned int n)
{
	virConnectPtr conn = NULL;

	must(tp_link_get(link, &call, &conn, NULL));
	cr_assert_eq(conn, fake_connection(n), "it is another connection");
}

Test(libvirt_link, comes_back)
{
	fake_libvirt(0, 0);
	must(tp_link_open("fake", &link));
	assert_connection(0);
	fake_close(fake_connection(0));
	assert_connection(1);
}

/* Before anybody has it: libvirt tells that only once. */
Test(libvirt_link, comes_back_if_it_is_lost_as_it_is_made)
{
	fake_libvirt(0, 2);
	must(tp_link_open("fake", &link));
	assert_connection(2);
}

Test(libvirt_link, comes_back_if_it_is_lost_as_it_comes_back)
{
	fake_libvirt(1, 3);
	must(tp_link_open("fake", &link));
	fake_close(fake_connection(0));
	assert_connection(3);
}
