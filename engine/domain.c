/* SPDX-License-Identifier: Apache-2.0 */
/* Domains of libvirt. */
#include "engine/domain.h"

#include <string.h>

#include "base/mem.h"
#include "engine/libvirt_lib.h"

#define AGENT_PATIENCE_S 5

struct tp_domain {
	virConnectPtr connect;
	virDomainPtr domain;
	char *name; /* libvirt forgets its last error when it is asked for one */
	uint8_t uuid[VIR_UUID_BUFLEN];
};

static struct torpor_error *fail(const struct tp_domain *domain, const char *step)
{
	return tp_vir_error(step, tp_domain_name(domain));
}

/* ---- open and close ---- */

static struct torpor_error *look_up(struct tp_domain *domain, const char *name)
{
	domain->domain = tp_vir.virDomainLookupByName(domain->connect, name);
	if (!domain->domain)
		domain->domain = tp_vir.virDomainLookupByUUIDString(domain->connect, name);
	if (!domain->domain)
		return tp_error(TORPOR_E_NOT_FOUND, "look up domain", name,
			"libvirt has none of that name");
	domain->name = tp_strdup(tp_vir.virDomainGetName(domain->domain));
	if (tp_vir.virDomainIsActive(domain->domain) != 1)
		return tp_error(TORPOR_E_BUSY, "look up domain", name, "it doesn't run");
	if (tp_vir.virDomainGetUUID(domain->domain, domain->uuid) < 0)
		return fail(domain, "look up domain");
	return NULL;
}

struct torpor_error *tp_domain_open(const char *uri, const char *name, const struct tp_call *call,
	struct tp_domain **domain_out)
{
	TP_CLEANUP(tp_domain_close) struct tp_domain *domain = tp_calloc(1, sizeof(*domain));

	TP_TRY(tp_call_check(call, "open domain", name));
	TP_TRY(tp_vir_load());
	domain->connect = tp_vir.virConnectOpen(uri);
	if (!domain->connect)
		return tp_error_hint(tp_vir_error("connect to libvirt", uri),
			"Name another libvirt with --connect; qemu:///system needs its daemon, and "
			"the right to talk to it.");
	const char *type = tp_vir.virConnectGetType(domain->connect);
	if (!type || strcmp(type, "QEMU") != 0)
		return tp_error(TORPOR_E_UNSUPPORTED, "connect to libvirt", uri,
			"its domains are run by %s, not by QEMU",
			type ? type : "nobody knows what");
	TP_TRY(look_up(domain, name));
	*domain_out = TP_TAKE(domain);
	return NULL;
}

struct tp_domain *tp_domain_close(struct tp_domain *domain)
{
	if (!domain)
		return NULL;
	if (domain->domain)
		tp_vir.virDomainFree(domain->domain);
	if (domain->connect)
		tp_vir.virConnectClose(domain->connect);
	free(domain->name);
	free(domain);
	return NULL;
}

const char *tp_domain_name(const struct tp_domain *domain)
{
	return domain->name;
}

const uint8_t *tp_domain_uuid(const struct tp_domain *domain)
{
	return domain->uuid;
}

/* ---- what it is ---- */

static struct torpor_error *take_text(
	const struct tp_domain *domain, const char *step, char *text, char **text_out)
{
	if (!text)
		return fail(domain, step);
	*text_out = text;
	return NULL;
}

struct torpor_error *tp_domain_xml(
	struct tp_domain *domain, const struct tp_call *call, char **xml_out)
{
	static const char step[] = "ask for the XML of";

	TP_TRY(tp_call_check(call, step, tp_domain_name(domain)));
	return take_text(domain, step,
		tp_vir.virDomainGetXMLDesc(domain->domain, VIR_DOMAIN_XML_MIGRATABLE), xml_out);
}

struct torpor_error *tp_domain_command_line(
	struct tp_domain *domain, const struct tp_call *call, char **text_out)
{
	static const char step[] = "ask for the command line of";
	TP_FREE char *xml = NULL;

	TP_TRY(tp_call_check(call, step, tp_domain_name(domain)));
	TP_TRY(take_text(domain, step, tp_vir.virDomainGetXMLDesc(domain->domain, 0), &xml));
	return take_text(domain, step,
		tp_vir.virConnectDomainXMLToNative(domain->connect, "qemu-argv", xml, 0), text_out);
}

/* ---- running ---- */

struct torpor_error *tp_domain_suspend(
	struct tp_domain *domain, const struct tp_call *call, bool *was_running_out)
{
	int state;

	TP_TRY(tp_call_check(call, "suspend", tp_domain_name(domain)));
	if (tp_vir.virDomainGetState(domain->domain, &state, NULL, 0) < 0)
		return fail(domain, "ask for the state of");
	if (state != VIR_DOMAIN_RUNNING && state != VIR_DOMAIN_PAUSED)
		return tp_error(TORPOR_E_BUSY, "suspend", tp_domain_name(domain),
			"it neither runs nor is paused");
	if (state == VIR_DOMAIN_RUNNING && tp_vir.virDomainSuspend(domain->domain) < 0)
		return fail(domain, "suspend");
	*was_running_out = state == VIR_DOMAIN_RUNNING;
	return NULL;
}

struct torpor_error *tp_domain_resume(struct tp_domain *domain)
{
	return tp_vir.virDomainResume(domain->domain) < 0 ? fail(domain, "resume") : NULL;
}

struct torpor_error *tp_domain_destroy(struct tp_domain *domain)
{
	return tp_vir.virDomainDestroy(domain->domain) < 0 ? fail(domain, "destroy") : NULL;
}

/* ---- QMP ---- */

static struct torpor_error *read_reply(
	const char *text, const char *command, const char *name, json_t **return_out)
{
	json_t *reply = json_loads(text, 0, NULL);
	json_t *refusal = json_object_get(reply, "error");
	json_t *value = json_object_get(reply, "return");
	struct torpor_error *err = NULL;

	if (refusal) {
		const char *why = json_string_value(json_object_get(refusal, "desc"));
		err = tp_error(TORPOR_E_QEMU, command, name, "%s", why ? why : "QEMU refused");
	} else if (!value) {
		err = tp_error(TORPOR_E_QEMU, command, name, "its reply is malformed");
	} else if (return_out) {
		*return_out = json_incref(value);
	}
	json_decref(reply);
	return err;
}

struct torpor_error *tp_domain_execute(struct tp_domain *domain, const char *command, json_t *args,
	int pass_fd, const struct tp_call *call, json_t **return_out)
{
	json_t *request = json_pack("{s:s, s:o*}", "execute", command, "arguments", args);
	TP_FREE char *text = json_dumps(request, JSON_COMPACT);
	char *reply = NULL;

	json_decref(request);
	TP_TRY(tp_call_check(call, command, tp_domain_name(domain)));
	int failed = pass_fd < 0
			     ? tp_vir.virDomainQemuMonitorCommand(domain->domain, text, &reply, 0)
			     : tp_vir.virDomainQemuMonitorCommandWithFiles(
				       domain->domain, text, 1, &pass_fd, NULL, NULL, &reply, 0);
	if (failed < 0)
		return fail(domain, command);
	struct torpor_error *err = read_reply(reply, command, tp_domain_name(domain), return_out);
	free(reply);
	return err;
}

bool tp_domain_agent_answers(struct tp_domain *domain)
{
	char *reply = tp_vir.virDomainQemuAgentCommand(
		domain->domain, "{\"execute\":\"guest-ping\"}", AGENT_PATIENCE_S, 0);
	bool answers = reply != NULL;

	free(reply);
	return answers;
}
