/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of torpord.conf as data: where each goes, and what it may be. */
#ifndef TP_DAEMON_CONFIG_KEYS_H
#define TP_DAEMON_CONFIG_KEYS_H

#include "daemon/config.h"

enum tp_key_kind {
	TP_KEY_TEXT,	    /* char *; not empty */
	TP_KEY_PATH,	    /* char *; absolute */
	TP_KEY_PATH_OR_OFF, /* the same; "off" is NULL */
	TP_KEY_LISTEN,	    /* char *; ADDRESS:PORT, or "off": NULL */
	TP_KEY_CGROUP,	    /* char *; path, "auto" (NULL) or "none" ("") */
	TP_KEY_COUNT,	    /* unsigned int, min to max */
	TP_KEY_COUNT64,	    /* uint64_t, min to max */
	TP_KEY_LEVEL,	    /* int, min to max */
	TP_KEY_PERCENT,	    /* unsigned int, written "25%" */
	TP_KEY_SIZE,	    /* uint64_t bytes, min to max */
	TP_KEY_HOST_SIZE,   /* the same, or a share of the host's memory */
	TP_KEY_SECONDS,	    /* int64_t; "never" is 0 */
	TP_KEY_DURATION,    /* uint64_t ns, min to max */
	TP_KEY_BOOL,
	TP_KEY_MODE,	   /* mode_t */
	TP_KEY_LOG_LEVEL,  /* enum tp_log_level */
	TP_KEY_ON_STOP,	   /* bool: "park" */
	TP_KEY_DATA_PATH,  /* enum torpor_path */
	TP_KEY_ALGORITHMS, /* unsigned int: enum tp_jwt_alg */
};

struct tp_key {
	const char *section;
	const char *name;
	enum tp_key_kind kind;
	size_t offset; /* in struct tp_daemon_config; in struct tp_template_config for "template" */
	uint64_t min, max;
};

extern const struct tp_key tp_config_keys[]; /* ended by a NULL section */

/*
 * Sets KEY in the structure at TARGET to what TEXT says. NULL if that is fine, else what would be,
 * for a sentence that begins with the value: `"x" is no duration: ...`; the caller's to free.
 */
char *tp_key_set(const struct tp_key *key, const char *text, void *target);

#endif
