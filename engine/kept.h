/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was found out about this host and is kept in a file, so that it needn't be found out again:
 * a JSON object from keys to answers. An answer holds for one boot of the host; what else it
 * depends on (files, settings) is told by its key.
 */
#ifndef TP_ENGINE_KEPT_H
#define TP_ENGINE_KEPT_H

#include <jansson.h>

#include "base/error.h"

/* What changes when the file does: path, size, time of change. PATH may be NULL. The caller's. */
struct torpor_error *tp_file_identity(const char *path, char **identity_out) TP_MUST_USE;

/* NAME as execvp would find it: a path, or a name to look up in PATH. NOT_FOUND. The caller's. */
struct torpor_error *tp_program_find(const char *name, char **path_out) TP_MUST_USE;

/* The identity of that file. */
struct torpor_error *tp_program_identity(const char *name, char **identity_out) TP_MUST_USE;

/* The file as it was read, and the key that was asked for. */
struct tp_kept {
	char *path;
	char *boot_id;
	char *key; /* the boot included */
	json_t *all;
};

void tp_kept_deinit(struct tp_kept *kept);
static inline void tp_kept_deinit_cleanup_(struct tp_kept *kept)
{
	tp_kept_deinit(kept);
}
#define TP_KEPT __attribute__((cleanup(tp_kept_deinit_cleanup_)))

/* Reads the file at PATH; one that is missing or damaged is as good as empty. */
struct torpor_error *tp_kept_open(
	const char *path, const char *key, struct tp_kept *kept_out) TP_MUST_USE;

/* The answer to that key, borrowed; NULL if there is none. */
json_t *tp_kept_entry(const struct tp_kept *kept);

/*
 * Keeps ENTRY (taken; NULL is passed over) as the answer, and replaces the file by rename. Answers
 * of other boots go. Who comes second wins: what is lost is only found out again. A file that can't
 * be written is logged.
 */
void tp_kept_put(const struct tp_kept *kept, json_t *entry);

#endif
