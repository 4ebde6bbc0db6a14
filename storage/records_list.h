/* SPDX-License-Identifier: Apache-2.0 */
/* The SQL of lists of sessions. Internal to the records. */
#ifndef TP_STORAGE_RECORDS_LIST_H
#define TP_STORAGE_RECORDS_LIST_H

#include "base/macros.h"

/* Which filters a list has; as bits, all of them make 128 shapes. */
enum tp_list_filter {
	TP_LIST_TENANT = 1,
	TP_LIST_STATE = 2,
	TP_LIST_TEMPLATE = 4,
	TP_LIST_LABEL = 8,
	TP_LIST_MATCH = 16,
	TP_LIST_PROCESS = 32,
	TP_LIST_BEHIND = 64,
	TP_LIST_SHAPES = 128,
};

/*
 * Parameters: ?1 tenant, ?2 state, ?3 template, ?4 and ?5 the label's key and value, ?6 the match,
 * ?7 the end of ids that begin with it, ?8 and ?9 the row to come behind, ?10 the limit (-1: none).
 * The caller's to free.
 */
char *tp_records_list_sql(unsigned int shape) TP_MUST_USE;

#endif
