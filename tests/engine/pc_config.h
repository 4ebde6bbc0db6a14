/* SPDX-License-Identifier: Apache-2.0 */
/* The guest that the engine's tests start, for programs without Criterion too. */
#ifndef TP_TESTS_ENGINE_PC_CONFIG_H
#define TP_TESTS_ENGINE_PC_CONFIG_H

#include "base/call.h"
#include "engine/config.h"

/* Long, and only reached by what hangs: KVM on a busy host can take twenty seconds. */
#define OBJECT_TIMEOUT_NS (120 * TP_NSEC_PER_SEC)

/* A pc guest of 64 MiB under TCG. The strings are static: no deinit. */
struct tp_guest_config pc_config(void);

#endif
