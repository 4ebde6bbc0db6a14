/* SPDX-License-Identifier: Apache-2.0 */
/* The set of names that recovery ticks off. */
#include <stdio.h>

#include "bare.h"
#include "service/names.h"

#define MANY 10000

static const char *name_of(int i)
{
	static char name[32];

	snprintf(name, sizeof(name), "name-%d", i);
	return name;
}

static size_t count_left(const struct tp_names *names)
{
	const char *name = NULL;
	size_t n = 0;

	while ((name = tp_names_next_left(names, name)))
		n++;
	return n;
}

Test(names, an_empty_set_has_nothing)
{
	struct tp_names names = {0};

	cr_assert_not(tp_names_take(&names, "a"));
	cr_assert_null(tp_names_next_left(&names, NULL));
	tp_names_deinit(&names);
}

Test(names, what_is_not_taken_is_left_in_the_order_of_adding)
{
	static const char *const all[] = {"d", "", "b", "bb", "a"};
	struct tp_names names = {0};

	for (size_t i = 0; i < TP_ARRAY_LEN(all); i++)
		tp_names_add(&names, all[i]);
	cr_assert_eq(count_left(&names), TP_ARRAY_LEN(all));
	cr_assert(tp_names_take(&names, "b"));
	cr_assert(tp_names_take(&names, "b"));
	cr_assert(tp_names_take(&names, "d"));
	cr_assert(tp_names_take(&names, "a"));
	cr_assert_not(tp_names_take(&names, "c"));
	const char *left = tp_names_next_left(&names, NULL);
	cr_assert_str_eq(left, "");
	left = tp_names_next_left(&names, left);
	cr_assert_str_eq(left, "bb");
	cr_assert_null(tp_names_next_left(&names, left));
	tp_names_deinit(&names);
}

Test(names, ten_thousand_are_told_apart)
{
	struct tp_names names = {0};

	for (int i = 0; i < MANY; i++)
		tp_names_add(&names, name_of(i));
	for (int i = 0; i < MANY; i += 2)
		cr_assert(tp_names_take(&names, name_of(i)));
	for (int i = MANY; i < 2 * MANY; i++)
		cr_assert_not(tp_names_take(&names, name_of(i)));
	cr_assert_eq(count_left(&names), MANY / 2);
	for (int i = 1; i < MANY; i += 2)
		cr_assert(tp_names_take(&names, name_of(i)));
	cr_assert_eq(count_left(&names), 0);
	tp_names_deinit(&names);
}
