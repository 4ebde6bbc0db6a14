/* SPDX-License-Identifier: Apache-2.0 */
/* The guest that the engine's tests start. */
#include "pc_config.h"

#include "base/mem.h"

struct tp_guest_config pc_config(void)
{
	return (struct tp_guest_config){
		.machine_type = (char *)"pc-i440fx-7.2",
		.machine = TP_MACHINE_PC,
		.accel = TP_ACCEL_TCG,
		.cpu_model = (char *)"qemu64-v1,-svm",
		.memory_bytes = 64 * TP_MIB,
		.vcpus = 1,
		.qemu_version = (char *)"7.2.22",
		.channels = true,
	};
}
