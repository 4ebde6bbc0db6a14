/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries QMP and the guest agent's protocol through libvirt's calls.
 *
 * The monitor and the agent's port of a domain are libvirtd's. What speaks to them here does so on
 * a socket as ever (engine/qmp.h, engine/agent.h), and at its other end a thread makes a call of
 * each line: virDomainQemuMonitorCommandWithFiles, virDomainQemuAgentCommand. QEMU's events come
 * through libvirt's event loop, and join the lines. So everything above is the same for both
 * launchers.
 *
 *   tp_qmp ---socket--- thread ---RPC--- libvirtd ---monitor--- QEMU
 */
#ifndef TP_ENGINE_LIBVIRT_RELAY_H
#define TP_ENGINE_LIBVIRT_RELAY_H

#include "engine/launcher.h"
#include "engine/libvirt_link.h"

/* All relays of one launcher, and the connection that they share. */
struct tp_relays;

struct torpor_error *tp_relays_open(const char *uri, struct tp_relays **relays_out) TP_MUST_USE;
/* All relays must have been closed; calls that are under way are waited for, shortly. NULL is fine.
 */
struct tp_relays *tp_relays_close(struct tp_relays *relays);
TP_DEFINE_CLEANUP(struct tp_relays *, tp_relays_close)

struct tp_link *tp_relays_link(struct tp_relays *relays);
/* As tp_launcher_on_stir; STIR is called on libvirt's event thread, and must call nothing of it. */
void tp_relays_on_stir(struct tp_relays *relays, tp_stir_fn *stir, void *data);

struct tp_relay;

/*
 * For the domain of that UUID, which needn't exist yet: what happens to it is heard from now on.
 * NAME is copied.
 */
struct tp_relay *tp_relay_new(struct tp_relays *relays, const char *name, const char *uuid);

/*
 * Begins to carry; the domain is there by now. The ends are the caller's: closing one ends what is
 * carried on it. AGENT_FD_OUT may be NULL: there is no agent.
 */
struct torpor_error *tp_relay_start(
	struct tp_relay *relay, int *qmp_fd_out, int *agent_fd_out) TP_MUST_USE;

/* Has the domain's title and metadata element replaced, soon. Both are taken. */
void tp_relay_label(struct tp_relay *relay, char *title, char *metadata);

/* What libvirt said of the domain's end, "" if nothing. The caller's to free. */
char *tp_relay_last_words(struct tp_relay *relay) TP_MUST_USE;

/* Its ends must have been closed; what is under way is not waited for. Takes NULL. */
struct tp_relay *tp_relay_close(struct tp_relay *relay);

/* The element in a domain's metadata that is Torpor's. */
#define TP_RELAY_METADATA_KEY "torpor"
#define TP_RELAY_METADATA_URI "urn:torpor:guest:1"

#endif
