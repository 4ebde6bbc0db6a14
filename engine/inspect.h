/* SPDX-License-Identifier: Apache-2.0 */
/* A QEMU without a machine, to be asked things. Starting it takes some 20 ms. */
#ifndef TP_ENGINE_INSPECT_H
#define TP_ENGINE_INSPECT_H

#include "engine/config.h"
#include "engine/direct.h"

struct tp_inspector;

/*
 * Starts it, under ACCEL, bound to this process. Of OPTIONS, `bound` and `run_dir` mean nothing.
 * QEMU where it doesn't start, with its words: no /dev/kvm, for one.
 */
struct torpor_error *tp_inspector_start(const struct tp_direct_options *options,
	enum tp_accel accel, const struct tp_call *call,
	struct tp_inspector **inspector_out) TP_MUST_USE;

/* Takes NULL. Returns NULL. */
struct tp_inspector *tp_inspector_end(struct tp_inspector *inspector);
TP_DEFINE_CLEANUP(struct tp_inspector *, tp_inspector_end)

/* "7.2.22". Valid as long as INSPECTOR. */
const char *tp_inspect_version(const struct tp_inspector *inspector);

/* Asks it; as tp_qmp_execute. */
struct torpor_error *tp_inspect(struct tp_inspector *inspector, const char *command, json_t *args,
	const struct tp_call *call, json_t **reply_out) TP_MUST_USE;

#endif
