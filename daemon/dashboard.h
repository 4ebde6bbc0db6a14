/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dashboard's files, as they were built (web/) and embedded (daemon/dashboard.py). There are
 * none where it was built without.
 */
#ifndef TP_DAEMON_DASHBOARD_H
#define TP_DAEMON_DASHBOARD_H

#include <stdbool.h>
#include <stddef.h>

struct dashboard_file {
	const char *path; /* "/", "/favicon.svg", "/assets/NAME" */
	const char *type;
	const char *etag; /* weak, quotes and all: of both forms */
	const unsigned char *plain;
	size_t plain_len;
	const unsigned char *gzip; /* NULL: it wouldn't be smaller */
	size_t gzip_len;
};

/* Ended by a NULL path. */
extern const struct dashboard_file dashboard_files[];

#endif
