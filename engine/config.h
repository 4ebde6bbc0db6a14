/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest is: the same for a template, its clones and its reboots, and recorded in images.
 *
 * Device state is only valid for the machine it was saved on, so two guests that are to exchange
 * state must have equal configurations, down to QEMU's version.
 */
#ifndef TP_ENGINE_CONFIG_H
#define TP_ENGINE_CONFIG_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

enum tp_machine {
	TP_MACHINE_PC,
	TP_MACHINE_MICROVM,
	TP_MACHINE_Q35,
};

enum tp_accel {
	TP_ACCEL_KVM,
	TP_ACCEL_TCG,
};

/* Bounds, both ends allowed. Memory is a multiple of TP_CONFIG_MEMORY_UNIT. */
#define TP_CONFIG_MEMORY_MIN  TP_MIB
#define TP_CONFIG_MEMORY_MAX  (1024 * TP_GIB)
#define TP_CONFIG_MEMORY_UNIT TP_MIB
#define TP_CONFIG_VCPUS_MAX   255u
/* Of each string, in bytes without the NUL. */
#define TP_CONFIG_STRING_MAX 255u

/* Strings are owned. All fields are set in a configuration that tp_guest_config_check passes. */
struct tp_guest_config {
	/* As QEMU resolves it: "pc-i440fx-7.2", "pc-q35-7.2", "microvm". Letters, digits, '.', '_',
	 * '-'. */
	char *machine_type;
	enum tp_machine machine;
	enum tp_accel accel;
	/* Named and versioned, with feature edits: "qemu64-v1,-svm". */
	char *cpu_model;
	uint64_t memory_bytes;
	unsigned int vcpus;
	/* "7.2.22": digits and dots. */
	char *qemu_version;
	/* Has the ports of the guest agent and Torpor's helper; false for guests without virtio. */
	bool channels;
	/* A machine that Torpor didn't put together (engine/foreign.h); NULL: it did. Never
	 * changed. */
	json_t *foreign;
};

void tp_guest_config_deinit(struct tp_guest_config *config);
static inline void tp_guest_config_deinit_cleanup_(struct tp_guest_config *config)
{
	tp_guest_config_deinit(config);
}
#define TP_GUEST_CONFIG __attribute__((cleanup(tp_guest_config_deinit_cleanup_)))

/* A deep copy. */
struct tp_guest_config tp_guest_config_copy(const struct tp_guest_config *config);

/* INVALID, naming the field, if a field is missing, out of its range, or has a foreign character.
 */
struct torpor_error *tp_guest_config_check(const struct tp_guest_config *config) TP_MUST_USE;

/* The name of the first field in which A and B differ ("memory", "cpu" ...), static; NULL if none.
 */
const char *tp_guest_config_difference(
	const struct tp_guest_config *a, const struct tp_guest_config *b);

/* A new reference. CONFIG must pass tp_guest_config_check. */
json_t *tp_guest_config_to_json(const struct tp_guest_config *config);

/*
 * The reverse, for JSON that nobody vouches for: every member must be there, with the right type
 * and within its bounds, and no other (CORRUPT otherwise).
 */
struct torpor_error *tp_guest_config_from_json(
	json_t *json, struct tp_guest_config *config_out) TP_MUST_USE;

/* "pc", "microvm", "q35"; "kvm", "tcg". Static storage. */
const char *tp_machine_name(enum tp_machine machine);
const char *tp_accel_name(enum tp_accel accel);

/* The reverse; false if NAME is none of them. */
bool tp_machine_from_name(const char *name, enum tp_machine *machine_out);
bool tp_accel_from_name(const char *name, enum tp_accel *accel_out);

/* Whether MODEL is a CPU model's name with feature edits: NAME, then any number of ,+X or ,-X. */
bool tp_cpu_model_ok(const char *model);

/* Whether NAME can name a guest: 1 to 64 letters, digits, '.', '_', '-', the first no '.' or '-'.
 */
bool tp_guest_name_ok(const char *name);

#endif
