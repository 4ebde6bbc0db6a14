/* SPDX-License-Identifier: Apache-2.0 */
/* Domains: what libvirt is told, and what its answers are taken for. */
#include <string.h>

#include "base/mem.h"
#include "engine/libvirt_domain.h"
#include "support.h"

static char *xml_of(const struct tp_guest_config *config, bool channels, const char *arg)
{
	char *args[] = {(char *)"-incoming", (char *)arg, NULL};
	struct tp_libvirt_domain domain = {
		.name = "shell-1-2",
		.uuid = "05c5ad5c-8c6e-44a3-b092-538364190032",
		.emulator = "/opt/a&b/qemu",
		.run_id = "8-1-2a",
		.agent_path = channels ? "/run/it's/agent" : NULL,
		.helper_path = channels ? "/run/it's/helper" : NULL,
		.args = args,
	};

	return tp_libvirt_domain_xml(&domain, config);
}

static void assert_has(const char *xml, const char *part)
{
	cr_assert(strstr(xml, part), "no %s in %s", part, xml);
}

Test(libvirt_domain, has_the_machine_and_nothing_else)
{
	struct tp_guest_config config = pc_config();
	TP_FREE char *xml = xml_of(&config, true, "defer");

	assert_has(xml, "<domain type='qemu' ");
	assert_has(xml, "<memory unit='b'>67108864</memory><vcpu>1</vcpu>");
	assert_has(xml, "machine='pc-i440fx-7.2'>hvm</type>");
	assert_has(xml, "<tb-cache unit='MiB'>32</tb-cache>");
	assert_has(xml, "<controller type='usb' model='none'/>");
	assert_has(xml, "<memballoon model='none'/>");
	/* At the place that a template's device state has it in. */
	assert_has(xml, "slot='4' function='0'/>");
	assert_has(xml, "name='org.qemu.guest_agent.0'/>"
			"<address type='virtio-serial' controller='0' bus='0' port='1'/>");
	assert_has(xml, "name='org.torpor.0'/>"
			"<address type='virtio-serial' controller='0' bus='0' port='2'/>");
	assert_has(xml, "<on_reboot>destroy</on_reboot>");
	config.accel = TP_ACCEL_KVM;
	TP_FREE char *bare = xml_of(&config, false, "defer");
	assert_has(bare, "<domain type='kvm' ");
	cr_assert_not(strstr(bare, "tb-cache"));
	cr_assert_not(strstr(bare, "<channel"));
	cr_assert_not(strstr(bare, "virtio-serial"));
}

Test(libvirt_domain, says_what_it_is_given_as_text)
{
	struct tp_guest_config config = pc_config();
	TP_FREE char *xml = xml_of(&config, true, "<&'\">");

	assert_has(xml, "<emulator>/opt/a&#38;b/qemu</emulator>");
	assert_has(xml, "path='/run/it&#39;s/agent'");
	assert_has(xml, "<qemu:arg value='&#60;&#38;&#39;&#34;&#62;'/>");
}

Test(libvirt_domain, is_known_by_its_metadata)
{
	struct tp_guest_label label = {.session = "o'mine", .tenant = "a&b"};
	TP_FREE char *metadata = tp_libvirt_domain_metadata("8-1-2a", &label);

	cr_assert_str_eq(metadata, "<guest run='8-1-2a' session='o&#39;mine' tenant='a&#38;b'/>");
	cr_assert(tp_libvirt_domain_is_of(metadata, "8-1-2a"));
	cr_assert(tp_libvirt_domain_is_of("<guest run=\"8-1-2a\"/>", "8-1-2a"));
	cr_assert_not(tp_libvirt_domain_is_of(metadata, "8-1-2"));
	cr_assert_not(tp_libvirt_domain_is_of("<guest rerun='8-1-2a'/>", "8-1-2a"));
	cr_assert_not(tp_libvirt_domain_is_of(NULL, "8-1-2a"));
}

Test(libvirt_domain, the_user_of_qemu_is_found)
{
	static const char apparmor[] = "<secmodel><model>apparmor</model><doi>0</doi></secmodel>";
	static const char dac[] = "<secmodel>\n<model>dac</model>\n<doi>0</doi>\n"
				  "<baselabel type='kvm'>+64055:+108</baselabel>\n"
				  "<baselabel type='qemu'>+64055:+108</baselabel>\n</secmodel>";
	TP_FREE char *both = tp_asprintf("<capabilities>%s%s</capabilities>", apparmor, dac);
	unsigned int uid = 0;
	unsigned int gid = 0;

	cr_assert(tp_libvirt_domain_owner(both, &uid, &gid));
	cr_assert_eq(uid, 64055);
	cr_assert_eq(gid, 108);
	cr_assert_not(tp_libvirt_domain_owner(apparmor, &uid, &gid));
	/* Another model's label isn't taken for it. */
	cr_assert_not(tp_libvirt_domain_owner("<secmodel><model>dac</model></secmodel><secmodel>"
				      "<baselabel>+1:+2</baselabel></secmodel>",
		&uid, &gid));
	cr_assert_not(tp_libvirt_domain_owner("", &uid, &gid));
}
