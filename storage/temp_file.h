/* SPDX-License-Identifier: Apache-2.0 */
/* Temporary files that become an image, or disappear. Internal to storage. */
#ifndef TP_STORAGE_TEMP_FILE_H
#define TP_STORAGE_TEMP_FILE_H

#include "base/error.h"

#define TP_TEMP_MAX_NAME 230 /* bytes of the name to be: leaves room for what is put around it */

/*
 * Creates ".NAME.<16 hex digits>.part" in DIRFD, the first eight our pid, and locks it (F_OFD_SETLK), so that sweeping
 * spares it as long as *FD_OUT is open. *TEMP_NAME_OUT is the caller's to free.
 */
struct torpor_error *tp_temp_create(
	int dirfd, const char *name, int *fd_out, char **temp_name_out) TP_MUST_USE;

/*
 * Unlocks and closes FD. Closing alone would do, but not at once: threads that wrote through a ring
 * may hold the file for a moment longer. Takes -1. Returns -1.
 */
int tp_temp_close(int fd);

#endif
