/* SPDX-License-Identifier: Apache-2.0 */
/* In place of the launcher, where libvirt's headers weren't there to build it. */
#include "engine/libvirt.h"

struct torpor_error *tp_libvirt_launcher_new(
	const struct tp_libvirt_options *options, struct tp_launcher **launcher_out)
{
	(void)options;
	(void)launcher_out;
	return tp_error_hint(tp_error(TORPOR_E_UNSUPPORTED, "use", "libvirt",
				     "this Torpor was built without it"),
		"Build it with libvirt's headers (Debian: libvirt-dev), or use the launcher "
		"\"direct\".");
}
