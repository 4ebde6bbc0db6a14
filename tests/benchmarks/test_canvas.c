/* SPDX-License-Identifier: Apache-2.0 */
/* Places on a picture: axes hold what they are made for, and names don't hide each other. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "benchmarks/report/canvas.h"

Test(canvas, an_axis_holds_its_values_between_ticks)
{
	struct canvas_scale scale = canvas_scale("ns", 3.2e6, 4.1e9, 100, 700);

	cr_assert_eq(canvas_tick("ns", scale.first), 2e6);
	cr_assert_eq(canvas_tick("ns", scale.last), 5e9);
	cr_assert_float_eq(canvas_at(&scale, 2e6), 100, 1e-6);
	cr_assert_float_eq(canvas_at(&scale, 5e9), 700, 1e-6);
	cr_assert_float_eq(canvas_at(&scale, 1e8), 400, 1e-6, "the middle of a logarithmic axis");
	cr_assert_eq(canvas_at(&scale, 0), 100, "nothing is drawn outside");
}

Test(canvas, an_axis_of_a_single_value_has_a_length)
{
	struct canvas_scale scale = canvas_scale("ns", 1e6, 1e6, 0, 100);

	cr_assert_gt(scale.last, scale.first);
	cr_assert_geq(canvas_at(&scale, 1e6), 0);
	cr_assert_leq(canvas_at(&scale, 1e6), 100);
}

Test(canvas, an_axis_may_grow_upwards)
{
	struct canvas_scale scale = canvas_scale("ns", 1e6, 1e8, 400, 100);

	cr_assert_float_eq(canvas_at(&scale, 1e6), 400, 1e-6);
	cr_assert_float_eq(canvas_at(&scale, 1e7), 250, 1e-6);
}

static unsigned int labels(const struct canvas_scale *scale)
{
	unsigned int n = 0;

	for (unsigned int i = scale->first; i <= scale->last; i++)
		n += canvas_is_labelled(scale, i);
	return n;
}

Test(canvas, an_axis_has_two_labels_at_least_and_few_at_most)
{
	struct canvas_scale narrow = canvas_scale("ns", 2.1e6, 4e6, 0, 1);
	struct canvas_scale decades = canvas_scale("ns", 1e5, 1e11, 0, 1);
	struct canvas_scale bytes = canvas_scale("bytes", 17e3, 110e6, 0, 1);

	cr_assert_eq(labels(&narrow), 2);
	cr_assert_eq(labels(&decades), 7);
	cr_assert_eq(labels(&bytes), 4, "16 KiB, 256 KiB, 4 MiB, 64 MiB");
	cr_assert_eq(canvas_tick("bytes", bytes.first), 16384);
}

static void assert_places(const double *places, const double *expected, size_t n)
{
	for (size_t i = 0; i < n; i++)
		cr_assert_float_eq(places[i], expected[i], 1e-9, "%zu is at %g", i, places[i]);
}

Test(canvas, names_move_apart_and_keep_their_order)
{
	double close[] = {50, 52, 53, 90};
	double low[] = {-20, -19};
	double high[] = {97, 98, 99};
	double fine[] = {10, 40};

	canvas_spread_out(close, 4, 15, 0, 200);
	assert_places(close, (const double[]){50, 65, 80, 95}, 4);
	canvas_spread_out(low, 2, 15, 0, 200);
	assert_places(low, (const double[]){0, 15}, 2);
	canvas_spread_out(high, 3, 15, 0, 100);
	assert_places(high, (const double[]){70, 85, 100}, 3);
	canvas_spread_out(fine, 2, 15, 0, 100);
	assert_places(fine, (const double[]){10, 40}, 2);
	canvas_spread_out(NULL, 0, 15, 0, 100);
}

Test(canvas, families_differ_in_more_than_colour)
{
	static const char *const names[] = {
		"torpor-direct", "libvirt-raw", "qemu-zstd", "qemu10-mapped", "cold-boot", "floor"};

	for (size_t i = 0; i < TP_ARRAY_LEN(names); i++) {
		for (size_t j = 0; j < i; j++) {
			const struct canvas_family *a = canvas_family_of(names[i]);
			const struct canvas_family *b = canvas_family_of(names[j]);
			cr_assert_neq(a->mark, b->mark, "%s and %s", names[i], names[j]);
			cr_assert_str_neq(a->css, b->css);
		}
	}
	cr_assert_eq(canvas_family_of("torpor-claim"), canvas_family_of("torpor-direct"));
	cr_assert_eq(canvas_family_of("whatever-comes"), canvas_family_of("cold-boot"));
}

Test(canvas, text_is_escaped)
{
	TP_FREE char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	canvas_text(out, 1, 2, CANVAS_END, "muted", "a<b> & \"%s\"", "c\td");
	fclose(out);
	cr_assert_str_eq(text, "<text x=\"1.0\" y=\"2.0\" text-anchor=\"end\" class=\"muted\">"
			       "a&lt;b&gt; &amp; \"c d\"</text>\n");
}
