/* SPDX-License-Identifier: Apache-2.0 */
/* Records in a directory of each test's own. */
#include "records_fixture.h"

char *dir;
struct tp_records *records;

void records_setup(void)
{
	dir = make_dir();
	records = open_records(dir);
}

void records_teardown(void)
{
	tp_records_close(records);
	remove_dir(dir);
}

void reopen(void)
{
	tp_records_close(records);
	records = open_records(dir);
}
