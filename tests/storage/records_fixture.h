/* SPDX-License-Identifier: Apache-2.0 */
/* Records in a directory of each test's own. */
#ifndef TESTS_STORAGE_RECORDS_FIXTURE_H
#define TESTS_STORAGE_RECORDS_FIXTURE_H

#include "records_support.h"

extern char *dir;
extern struct tp_records *records;

void records_setup(void);
void records_teardown(void);
/* Closes them, and opens them anew. */
void reopen(void);

#endif
