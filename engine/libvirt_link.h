/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection to libvirt that comes back: when libvirtd ends or is started anew, guests go on, and
 * so does what is said to them once it answers again.
 */
#ifndef TP_ENGINE_LIBVIRT_LINK_H
#define TP_ENGINE_LIBVIRT_LINK_H

#include <stdbool.h>

#include "base/call.h"
#include "engine/libvirt_lib.h"

struct tp_link;
struct tp_link_client;

/*
 * What is told about one domain, on libvirt's event thread and under the link's lock: none may
 * block, or call the link.
 */
struct tp_link_client_ops {
	/* DETAILS is JSON, or NULL. SECONDS is -1 where QEMU gives no time. */
	void (*monitor_event)(struct tp_link_client *client, const char *event, long long seconds,
		unsigned int micros, const char *details);
	/* Its vCPUs were stopped or continued, by whomever. */
	void (*stirred)(struct tp_link_client *client, bool continued);
	/* It has ended; WHY is libvirt's account, in words. Nothing follows. */
	void (*stopped)(struct tp_link_client *client, const char *why);
	/* The guest's agent has opened its port, or closed it. */
	void (*agent)(struct tp_link_client *client, bool connected);
	/* There was no connection for a while, and now there is: anything may have been missed. */
	void (*reconnected)(struct tp_link_client *client);
};

struct tp_link_client {
	char uuid[VIR_UUID_STRING_BUFLEN];
	const struct tp_link_client_ops *ops;
	struct tp_link_client *next; /* the link's */
};

/* URI as libvirt takes it ("qemu:///system"). */
struct torpor_error *tp_link_open(const char *uri, struct tp_link **link_out) TP_MUST_USE;

/* No client may be left; calls on its connections that are under way fail. NULL is fine. */
struct tp_link *tp_link_close(struct tp_link *link);
TP_DEFINE_CLEANUP(struct tp_link *, tp_link_close)

/* For as long as CLIENT is added it belongs to the link; events that come meanwhile are told. */
void tp_link_add(struct tp_link *link, struct tp_link_client *client);
void tp_link_remove(struct tp_link *link, struct tp_link_client *client);

/*
 * The connection, to be given back with virConnectClose. If it is lost its return is waited for, as
 * long as CALL lasts. *GENERATION_OUT (may be NULL) counts connections: what was made on an earlier
 * one (a virDomainPtr) is of no use.
 */
struct torpor_error *tp_link_get(struct tp_link *link, const struct tp_call *call,
	virConnectPtr *conn_out, uint64_t *generation_out) TP_MUST_USE;

#endif
