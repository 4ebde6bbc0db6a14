/* SPDX-License-Identifier: Apache-2.0 */
/* The connection to libvirt. */
#include "engine/libvirt_link.h"

#include <pthread.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

/* A libvirtd that doesn't answer for so long is given up, and connected to anew. */
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_COUNT	     6

/* Between two tries to connect: nothing tells that libvirtd is there again. */
#define RETRY_FIRST_NS	 (50 * TP_NSEC_PER_MSEC)
#define RETRY_AT_MOST_NS (2 * TP_NSEC_PER_SEC)

/* What was registered on one connection. */
struct subscription {
	int monitor;
	int lifecycle;
	int agent;
};

struct tp_link {
	char *uri;
	pthread_t keeper;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* anything below; on CLOCK_MONOTONIC */
	virConnectPtr conn;	/* NULL while there is none */
	struct subscription subscription;
	uint64_t generation;
	bool lost;	      /* conn has closed, and is the keeper's to replace */
	virConnectPtr closed; /* what closed and wasn't conn: it may become it in a moment */
	bool stopping;
	struct tp_link_client *clients;
	unsigned int refs; /* its opener's, and one for each callback that is registered */
};

static void link_unref(void *data)
{
	struct tp_link *link = data;

	pthread_mutex_lock(&link->lock);
	bool last = --link->refs == 0;
	pthread_mutex_unlock(&link->lock);
	if (!last)
		return;
	pthread_cond_destroy(&link->changed);
	pthread_mutex_destroy(&link->lock);
	free(link->uri);
	free(link);
}

static void *link_ref(struct tp_link *link)
{
	pthread_mutex_lock(&link->lock);
	link->refs++;
	pthread_mutex_unlock(&link->lock);
	return link;
}

/* ---- events ---- */

/* Under the lock. */
static struct tp_link_client *client_of(struct tp_link *link, virDomainPtr domain)
{
	char uuid[VIR_UUID_STRING_BUFLEN];

	if (tp_vir.virDomainGetUUIDString(domain, uuid) < 0)
		return NULL;
	for (struct tp_link_client *client = link->clients; client; client = client->next) {
		if (strcmp(client->uuid, uuid) == 0)
			return client;
	}
	return NULL;
}

static void on_monitor_event(virConnectPtr conn, virDomainPtr domain, const char *event,
	long long seconds, unsigned int micros, const char *details, void *data)
{
	struct tp_link *link = data;

	(void)conn;
	pthread_mutex_lock(&link->lock);
	struct tp_link_client *client = client_of(link, domain);
	if (client)
		client->ops->monitor_event(client, event, seconds, micros, details);
	pthread_mutex_unlock(&link->lock);
}

static const char *why_stopped(int detail)
{
	switch (detail) {
	case VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN:
		return "libvirt says that it shut down";
	case VIR_DOMAIN_EVENT_STOPPED_DESTROYED:
		return "it was destroyed through libvirt";
	case VIR_DOMAIN_EVENT_STOPPED_CRASHED:
		return "libvirt says that it crashed";
	case VIR_DOMAIN_EVENT_STOPPED_SAVED:
		return "it was saved through libvirt";
	case VIR_DOMAIN_EVENT_STOPPED_MIGRATED:
		return "it was migrated through libvirt";
	default:
		return "libvirt says that it failed";
	}
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr domain, int event, int detail, void *data)
{
	struct tp_link *link = data;

	(void)conn;
	pthread_mutex_lock(&link->lock);
	struct tp_link_client *client = client_of(link, domain);
	if (client && event == VIR_DOMAIN_EVENT_STOPPED)
		client->ops->stopped(client, why_stopped(detail));
	else if (client &&
		 (event == VIR_DOMAIN_EVENT_SUSPENDED || event == VIR_DOMAIN_EVENT_RESUMED))
		client->ops->stirred(client, event == VIR_DOMAIN_EVENT_RESUMED);
	pthread_mutex_unlock(&link->lock);
	return 0;
}

static void on_agent(virConnectPtr conn, virDomainPtr domain, int state, int reason, void *data)
{
	struct tp_link *link = data;

	(void)conn;
	(void)reason;
	pthread_mutex_lock(&link->lock);
	struct tp_link_client *client = client_of(link, domain);
	if (client)
		client->ops->agent(
			client, state == VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED);
	pthread_mutex_unlock(&link->lock);
}

static void on_close(virConnectPtr conn, int reason, void *data)
{
	struct tp_link *link = data;

	(void)reason;
	pthread_mutex_lock(&link->lock);
	if (conn != link->conn) {
		link->closed = conn;
	} else if (!link->stopping) {
		link->lost = true;
		pthread_cond_broadcast(&link->changed);
	}
	pthread_mutex_unlock(&link->lock);
}

/* ---- connecting ---- */

/* What isn't there (-1) was never registered. */
static void unsubscribe(virConnectPtr conn, const struct subscription *s)
{
	/* Errors are those of a connection that is gone: libvirt forgets the callbacks first. */
	tp_vir.virConnectUnregisterCloseCallback(conn, on_close);
	if (s->monitor >= 0)
		tp_vir.virConnectDomainQemuMonitorEventDeregister(conn, s->monitor);
	if (s->lifecycle >= 0)
		tp_vir.virConnectDomainEventDeregisterAny(conn, s->lifecycle);
	if (s->agent >= 0)
		tp_vir.virConnectDomainEventDeregisterAny(conn, s->agent);
}

static int listen_for(struct tp_link *link, virConnectPtr conn, int event,
	virConnectDomainEventGenericCallback callback)
{
	int id = tp_vir.virConnectDomainEventRegisterAny(
		conn, NULL, event, callback, link_ref(link), link_unref);

	if (id < 0)
		link_unref(link);
	return id;
}

static struct torpor_error *subscribe(
	struct tp_link *link, virConnectPtr conn, struct subscription *s)
{
	*s = (struct subscription){-1, -1, -1};
	if (tp_vir.virConnectRegisterCloseCallback(conn, on_close, link_ref(link), link_unref) <
		0) {
		link_unref(link);
		return tp_vir_error("watch", "connection");
	}
	s->monitor = tp_vir.virConnectDomainQemuMonitorEventRegister(
		conn, NULL, NULL, on_monitor_event, link_ref(link), link_unref, 0);
	if (s->monitor < 0) {
		link_unref(link);
		return tp_vir_error("listen for", "QEMU's events");
	}
	s->lifecycle = listen_for(
		link, conn, VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle));
	if (s->lifecycle < 0)
		return tp_vir_error("listen for", "lifecycle events");
	s->agent = listen_for(link, conn, VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE,
		VIR_DOMAIN_EVENT_CALLBACK(on_agent));
	if (s->agent < 0)
		return tp_vir_error("listen for", "agents");
	return NULL;
}

static struct torpor_error *connect_once(
	struct tp_link *link, virConnectPtr *conn_out, struct subscription *subscription_out)
{
	/* Its address may be that of one that has closed. */
	pthread_mutex_lock(&link->lock);
	link->closed = NULL;
	pthread_mutex_unlock(&link->lock);
	virConnectPtr conn = tp_vir.virConnectOpen(link->uri);
	if (!conn)
		return tp_error_hint(tp_vir_error("connect to", link->uri),
			"Is libvirtd running, and may this user talk to it? `virsh -c %s list` "
			"tells.",
			link->uri);
	/* An in-process driver (qemu:///embed) has nothing to keep alive, and says so. */
	(void)tp_vir.virConnectSetKeepAlive(conn, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT);
	struct torpor_error *err = subscribe(link, conn, subscription_out);
	if (err) {
		unsubscribe(conn, subscription_out);
		tp_vir.virConnectClose(conn);
		return err;
	}
	*conn_out = conn;
	return NULL;
}

/* Under the lock. That it has closed since it was made was told, and isn't told again. */
static void take_connection(
	struct tp_link *link, virConnectPtr conn, const struct subscription *subscription)
{
	link->conn = conn;
	link->lost = link->closed == conn;
	link->subscription = *subscription;
	link->generation++;
	for (struct tp_link_client *client = link->clients; client; client = client->next)
		client->ops->reconnected(client);
	pthread_cond_broadcast(&link->changed);
}

/* Under the lock, which is let go meanwhile. */
static void drop_connection(struct tp_link *link)
{
	virConnectPtr conn = TP_TAKE(link->conn);
	struct subscription subscription = link->subscription;

	link->lost = false;
	pthread_mutex_unlock(&link->lock);
	unsubscribe(conn, &subscription);
	tp_vir.virConnectClose(conn);
	pthread_mutex_lock(&link->lock);
}

/* Under the lock: waits NS, or until something has changed. */
static void wait_for(struct tp_link *link, uint64_t ns)
{
	uint64_t until = tp_now_ns() + ns;
	struct timespec at = {
		.tv_sec = (time_t)(until / TP_NSEC_PER_SEC),
		.tv_nsec = (long)(until % TP_NSEC_PER_SEC),
	};

	pthread_cond_timedwait(&link->changed, &link->lock, &at);
}

/* Under the lock, which is let go meanwhile. */
static void connect_again(struct tp_link *link)
{
	uint64_t wait_ns = RETRY_FIRST_NS;

	tp_log(TP_LOG_WARNING, "the connection to libvirt at %s is lost; guests go on", link->uri);
	while (!link->stopping && !link->conn) {
		virConnectPtr conn = NULL;
		struct subscription subscription;
		pthread_mutex_unlock(&link->lock);
		struct torpor_error *err = connect_once(link, &conn, &subscription);
		pthread_mutex_lock(&link->lock);
		if (!err) {
			take_connection(link, conn, &subscription);
			tp_log(TP_LOG_INFO, "libvirt at %s answers again", link->uri);
			return;
		}
		torpor_error_free(err);
		wait_for(link, wait_ns);
		wait_ns = TP_MIN(wait_ns * 2, RETRY_AT_MOST_NS);
	}
}

static void *keep_connected(void *data)
{
	struct tp_link *link = data;

	pthread_mutex_lock(&link->lock);
	while (!link->stopping) {
		if (link->lost) {
			drop_connection(link);
			connect_again(link);
		} else {
			pthread_cond_wait(&link->changed, &link->lock);
		}
	}
	pthread_mutex_unlock(&link->lock);
	return NULL;
}

/* ---- using ---- */

static struct tp_link *link_new(const char *uri)
{
	struct tp_link *link = tp_calloc(1, sizeof(*link));
	pthread_condattr_t attr;

	link->uri = tp_strdup(uri);
	link->refs = 1;
	pthread_mutex_init(&link->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&link->changed, &attr);
	pthread_condattr_destroy(&attr);
	return link;
}

struct torpor_error *tp_link_open(const char *uri, struct tp_link **link_out)
{
	TP_TRY(tp_vir_load_with_events());
	struct tp_link *link = link_new(uri);
	virConnectPtr conn = NULL;
	struct subscription subscription;
	struct torpor_error *err = connect_once(link, &conn, &subscription);
	if (err) {
		link_unref(link);
		return err;
	}
	pthread_mutex_lock(&link->lock);
	take_connection(link, conn, &subscription);
	pthread_mutex_unlock(&link->lock);
	int errnum = pthread_create(&link->keeper, NULL, keep_connected, link);
	if (errnum) {
		unsubscribe(link->conn, &link->subscription);
		tp_vir.virConnectClose(link->conn);
		link_unref(link);
		return tp_error_errno(errnum, "start", "thread for libvirt");
	}
	*link_out = link;
	return NULL;
}

struct tp_link *tp_link_close(struct tp_link *link)
{
	if (!link)
		return NULL;
	pthread_mutex_lock(&link->lock);
	assert(!link->clients);
	link->stopping = true;
	pthread_cond_broadcast(&link->changed);
	pthread_mutex_unlock(&link->lock);
	pthread_join(link->keeper, NULL);
	if (link->conn) {
		unsubscribe(link->conn, &link->subscription);
		tp_vir.virConnectClose(link->conn);
	}
	link_unref(link);
	return NULL;
}

void tp_link_add(struct tp_link *link, struct tp_link_client *client)
{
	pthread_mutex_lock(&link->lock);
	client->next = link->clients;
	link->clients = client;
	pthread_mutex_unlock(&link->lock);
}

void tp_link_remove(struct tp_link *link, struct tp_link_client *client)
{
	pthread_mutex_lock(&link->lock);
	for (struct tp_link_client **at = &link->clients; *at; at = &(*at)->next) {
		if (*at == client) {
			*at = client->next;
			break;
		}
	}
	pthread_mutex_unlock(&link->lock);
}

/* Under the lock. NULL once there is a connection. */
static struct torpor_error *await_connection(struct tp_link *link, const struct tp_call *call)
{
	while (!link->conn || link->lost) {
		struct torpor_error *err = tp_call_check(call, "connect to", link->uri);
		if (err)
			return tp_error_recode(err, TORPOR_E_QEMU);
		/* A cancellation is no change of the link's, so it is looked for now and then. */
		uint64_t now = tp_now_ns();
		wait_for(link, TP_MIN(call->deadline_ns - now, RETRY_FIRST_NS));
	}
	return NULL;
}

struct torpor_error *tp_link_get(struct tp_link *link, const struct tp_call *call,
	virConnectPtr *conn_out, uint64_t *generation_out)
{
	pthread_mutex_lock(&link->lock);
	struct torpor_error *err = await_connection(link, call);
	if (!err) {
		tp_vir.virConnectRef(link->conn);
		*conn_out = link->conn;
		if (generation_out)
			*generation_out = link->generation;
	}
	pthread_mutex_unlock(&link->lock);
	return err;
}
