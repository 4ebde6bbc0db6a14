/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an image says about itself besides memory and devices: its config section, JSON text.
 *
 *   {"guest": {...engine/config.h...},
 *    "template": {"name", "append", "helper", "agent", "boot_ns"},
 *    "session": {"name", "hostname", "machine_id", "reboots"}}     (not in templates)
 *
 * Read back it is as untrusted as the rest of the file.
 */
#ifndef TP_SNAPSHOT_RECORD_H
#define TP_SNAPSHOT_RECORD_H

#include <stdbool.h>

#include "base/error.h"
#include "engine/config.h"

#define TP_MACHINE_ID_LEN 16

struct tp_record {
	struct tp_guest_config guest;

	char *template_name;
	char *append;	  /* kernel command line of a boot, or NULL */
	bool helper;	  /* Torpor's helper answered in the template */
	bool agent;	  /* qemu-guest-agent did */
	uint64_t boot_ns; /* what the template's boot took */

	bool is_session; /* the rest is set */
	char *session_name;
	char *hostname;
	uint8_t machine_id[TP_MACHINE_ID_LEN];
	uint32_t reboots;
};

void tp_record_deinit(struct tp_record *record);
static inline void tp_record_deinit_cleanup_(struct tp_record *record)
{
	tp_record_deinit(record);
}
#define TP_RECORD __attribute__((cleanup(tp_record_deinit_cleanup_)))

/* Copies SRC, which may be a template's; DST must not hold anything. */
void tp_record_copy(struct tp_record *dst, const struct tp_record *src);

/* JSON text, keys sorted, so that equal records give equal text. The caller's to free. */
char *tp_record_format(const struct tp_record *record);

/* CORRUPT for anything that isn't such a record; OBJECT names the image in messages. */
struct torpor_error *tp_record_parse(
	const char *text, const char *object, struct tp_record *record_out) TP_MUST_USE;

#endif
