/* SPDX-License-Identifier: Apache-2.0 */
/* Built without libvirt: no domain is ever open. */
#include "engine/domain.h"

struct torpor_error *tp_domain_open(const char *uri, const char *name, const struct tp_call *call,
	struct tp_domain **domain_out)
{
	(void)uri;
	(void)call;
	(void)domain_out;
	return tp_error_hint(tp_error(TORPOR_E_UNSUPPORTED, "open domain", name,
				     "this Torpor was built without libvirt"),
		"Build it with libvirt-dev installed (meson setup -Dlibvirt=enabled).");
}

struct tp_domain *tp_domain_close(struct tp_domain *domain)
{
	(void)domain;
	return NULL;
}

const char *tp_domain_name(const struct tp_domain *domain)
{
	(void)domain;
	return "";
}

const uint8_t *tp_domain_uuid(const struct tp_domain *domain)
{
	static const uint8_t none[16];

	(void)domain;
	return none;
}

static struct torpor_error *never(void)
{
	return tp_error(TORPOR_E_INTERNAL, "use domain", NULL, "there is none without libvirt");
}

struct torpor_error *tp_domain_xml(
	struct tp_domain *domain, const struct tp_call *call, char **xml_out)
{
	(void)domain;
	(void)call;
	(void)xml_out;
	return never();
}

struct torpor_error *tp_domain_command_line(
	struct tp_domain *domain, const struct tp_call *call, char **text_out)
{
	(void)domain;
	(void)call;
	(void)text_out;
	return never();
}

struct torpor_error *tp_domain_suspend(
	struct tp_domain *domain, const struct tp_call *call, bool *was_running_out)
{
	(void)domain;
	(void)call;
	(void)was_running_out;
	return never();
}

struct torpor_error *tp_domain_resume(struct tp_domain *domain)
{
	(void)domain;
	return never();
}

struct torpor_error *tp_domain_destroy(struct tp_domain *domain)
{
	(void)domain;
	return never();
}

struct torpor_error *tp_domain_execute(struct tp_domain *domain, const char *command, json_t *args,
	int pass_fd, const struct tp_call *call, json_t **return_out)
{
	(void)domain;
	(void)command;
	(void)pass_fd;
	(void)call;
	(void)return_out;
	json_decref(args);
	return never();
}

bool tp_domain_agent_answers(struct tp_domain *domain)
{
	(void)domain;
	return false;
}
