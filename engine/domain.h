/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A domain of libvirt that Torpor didn't start: asked for what it is, taken still, its QEMU spoken
 * to through libvirt. One thread at a time uses a struct tp_domain.
 *
 * libvirt's calls have no deadline; each here checks CALL before. Built without libvirt, opening is
 * UNSUPPORTED, and there is nothing else to call.
 */
#ifndef TP_ENGINE_DOMAIN_H
#define TP_ENGINE_DOMAIN_H

#include <jansson.h>
#include <stdbool.h>

#include "base/call.h"
#include "base/error.h"

struct tp_domain;

/*
 * The domain of that name (or UUID) in the libvirt at URI (NULL: its default). NOT_FOUND if there
 * is none; BUSY unless it runs or is paused.
 */
struct torpor_error *tp_domain_open(const char *uri, const char *name, const struct tp_call *call,
	struct tp_domain **domain_out) TP_MUST_USE;
/* The domain goes on. Takes NULL. Returns NULL. */
struct tp_domain *tp_domain_close(struct tp_domain *domain);
TP_DEFINE_CLEANUP(struct tp_domain *, tp_domain_close)

/* Valid as long as DOMAIN. */
const char *tp_domain_name(const struct tp_domain *domain);
const uint8_t *tp_domain_uuid(const struct tp_domain *domain); /* 16 bytes */

/* What libvirt would migrate it as, XML; and QEMU's command line for it. The caller's to free. */
struct torpor_error *tp_domain_xml(
	struct tp_domain *domain, const struct tp_call *call, char **xml_out) TP_MUST_USE;
struct torpor_error *tp_domain_command_line(
	struct tp_domain *domain, const struct tp_call *call, char **text_out) TP_MUST_USE;

/* Stops its vCPUs, or lets them go on. *WAS_RUNNING_OUT: whether they ran before. */
struct torpor_error *tp_domain_suspend(
	struct tp_domain *domain, const struct tp_call *call, bool *was_running_out) TP_MUST_USE;
struct torpor_error *tp_domain_resume(struct tp_domain *domain) TP_MUST_USE;

/* Ends it; a transient one is forgotten by libvirt, too. */
struct torpor_error *tp_domain_destroy(struct tp_domain *domain) TP_MUST_USE;

/* As tp_qmp_execute. ARGS is taken. */
struct torpor_error *tp_domain_execute(struct tp_domain *domain, const char *command, json_t *args,
	int pass_fd, const struct tp_call *call, json_t **return_out) TP_MUST_USE;

/* Whether qemu-guest-agent answers in it within a few seconds. */
bool tp_domain_agent_answers(struct tp_domain *domain);

#endif
