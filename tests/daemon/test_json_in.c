/* SPDX-License-Identifier: Apache-2.0 */
/* Reading objects field by field: what passes, what doesn't, and what the messages say. */
#include "support.h"

#include "daemon/utf8.h"

static json_t *object;
static struct json_in in;

static void begin(const char *text)
{
	json_decref(object);
	object = json_loads(text, JSON_ALLOW_NUL, NULL);
	cr_assert_not_null(object, "%s", text);
	in = json_in_over(object, "test");
}

static void ends_with(const char *part)
{
	must_fail(json_in_end(&in), TORPOR_E_INVALID, part);
	json_decref(object);
	object = NULL;
}

static void ends(void)
{
	must(json_in_end(&in));
	json_decref(object);
	object = NULL;
}

Test(json_in, no_object_is_an_empty_one)
{
	in = json_in_over(NULL, "test");
	cr_assert_null(json_in_text(&in, "a", JSON_IN_OPTIONAL, 1, 5));
	ends();
	in = json_in_over(NULL, "test");
	json_in_text(&in, "a", JSON_IN_REQUIRED, 1, 5);
	ends_with("test: \"a\" is missing");
}

Test(json_in, unknown_fields_are_named)
{
	begin("{\"a\": 1, \"b\": 2}");
	json_in_number(&in, "a", 0, 5, 0);
	ends_with("\"b\" is no field of this request");
	/* However long, and whatever is in it. */
	begin("{\"\\u0007aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\\u20ac\": "
	      "2}");
	ends_with("\"?aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" is no");
}

Test(json_in, null_is_not_sent)
{
	begin("{\"a\": null, \"b\": null, \"c\": null, \"d\": null}");
	cr_assert_eq(json_in_number(&in, "a", 1, 5, 7), 7);
	cr_assert_null(json_in_text(&in, "b", JSON_IN_OPTIONAL, 1, 5));
	cr_assert(json_in_flag(&in, "c", true));
	json_in_name(&in, "d", JSON_IN_REQUIRED);
	ends_with("\"d\" is missing");
}

Test(json_in, the_first_failure_is_kept)
{
	begin("{\"a\": \"x\", \"b\": \"y\", \"c\": \"z\"}");
	json_in_number(&in, "a", 1, 5, 7);
	json_in_number(&in, "b", 1, 5, 7);
	cr_assert_null(json_in_text(&in, "c", JSON_IN_OPTIONAL, 1, 5), "read behind a failure");
	ends_with("\"a\" must be a whole number from 1 to 5");
}

Test(json_in, strings_have_bounds)
{
	begin("{\"a\": \"12345\", \"b\": \"\"}");
	cr_assert_str_eq(json_in_text(&in, "a", JSON_IN_REQUIRED, 5, 5), "12345");
	cr_assert_str_eq(json_in_text(&in, "b", JSON_IN_REQUIRED, 0, 5), "");
	ends();
	begin("{\"a\": \"12345\"}");
	json_in_text(&in, "a", JSON_IN_REQUIRED, 0, 4);
	ends_with("\"a\" must be a string of 0 to 4 bytes");
	begin("{\"a\": \"\"}");
	json_in_text(&in, "a", JSON_IN_REQUIRED, 1, 4);
	ends_with("1 to 4 bytes");
	begin("{\"a\": [\"x\"]}");
	json_in_text(&in, "a", JSON_IN_REQUIRED, 1, 4);
	ends_with("must be a string");
	begin("{\"a\": \"a\\u0000b\"}");
	json_in_text(&in, "a", JSON_IN_REQUIRED, 1, 4);
	ends_with("must be a string");
}

Test(json_in, lines_have_no_controls)
{
	begin("{\"a\": \"a\\tb\"}");
	json_in_line(&in, "a", JSON_IN_REQUIRED, 1, 4);
	ends_with("no control characters");
	begin("{\"a\": \"a\\u007f\"}");
	json_in_line(&in, "a", JSON_IN_REQUIRED, 1, 4);
	ends_with("no control characters");
	begin("{\"a\": \"\\u00e4 b\"}");
	cr_assert_not_null(json_in_line(&in, "a", JSON_IN_REQUIRED, 1, 4));
	ends();
}

Test(json_in, paths_are_absolute)
{
	begin("{\"a\": \"/x\"}");
	cr_assert_str_eq(json_in_path(&in, "a", JSON_IN_REQUIRED, 2), "/x");
	ends();
	begin("{\"a\": \"x/\"}");
	json_in_path(&in, "a", JSON_IN_REQUIRED, 2);
	ends_with("absolute");
	begin("{\"a\": \"/xy\"}");
	json_in_path(&in, "a", JSON_IN_REQUIRED, 2);
	ends_with("1 to 2 bytes");
}

Test(json_in, names)
{
	static const char *const good[] = {"a", "A.b_c-9", "0",
		"0123456789012345678901234567890123456789012345678901234567890123"};
	static const char *const bad[] = {"", ".a", "-a", "_a", "a/b", "a b", "..", "\xc3\xa4",
		"01234567890123456789012345678901234567890123456789012345678901234", "a\n"};

	for (size_t i = 0; i < TP_ARRAY_LEN(good); i++)
		cr_assert(json_in_name_ok(good[i]), "%s", good[i]);
	for (size_t i = 0; i < TP_ARRAY_LEN(bad); i++)
		cr_assert_not(json_in_name_ok(bad[i]), "%s", bad[i]);
	begin("{\"a\": \"x y\"}");
	json_in_name(&in, "a", JSON_IN_OPTIONAL);
	ends_with("\"a\" must be a name: 1 to 64");
}

Test(json_in, choices)
{
	static const char *const choices[] = {"kvm", "tcg", NULL};

	begin("{\"a\": \"tcg\"}");
	cr_assert_eq(json_in_choice(&in, "a", JSON_IN_OPTIONAL, choices), choices[1]);
	ends();
	begin("{\"a\": \"tc\"}");
	json_in_choice(&in, "a", JSON_IN_OPTIONAL, choices);
	ends_with("\"a\" must be one of: kvm, tcg");
	begin("{\"a\": 1}");
	json_in_choice(&in, "a", JSON_IN_OPTIONAL, choices);
	ends_with("must be one of");
}

Test(json_in, numbers_have_bounds)
{
	begin("{\"a\": 5, \"b\": -1, \"c\": 0.5, \"d\": 2}");
	cr_assert_eq(json_in_number(&in, "a", 5, 5, 0), 5);
	cr_assert_eq(json_in_number(&in, "b", -1, 5, 0), -1);
	cr_assert_eq(json_in_real(&in, "c", 0.5, 2, 0), 0.5);
	cr_assert_eq(json_in_real(&in, "d", 0.5, 2, 0), 2.0);
	ends();
	static const char *const bad[] = {"4", "6", "5.0", "\"5\"", "true", "[5]"};
	for (size_t i = 0; i < TP_ARRAY_LEN(bad); i++) {
		TP_FREE char *text = tp_asprintf("{\"a\": %s}", bad[i]);

		begin(text);
		cr_assert_eq(json_in_number(&in, "a", 5, 5, 9), 9);
		ends_with("whole number from 5 to 5");
	}
	begin("{\"a\": 2.1}");
	json_in_real(&in, "a", 0.5, 2, 0);
	ends_with("must be a number from 0.5 to 2");
}

Test(json_in, flags)
{
	begin("{\"a\": true, \"b\": false}");
	cr_assert(json_in_flag(&in, "a", false));
	cr_assert_not(json_in_flag(&in, "b", true));
	ends();
	begin("{\"a\": 1}");
	json_in_flag(&in, "a", false);
	ends_with("must be true or false");
}

static bool short_key(const char *key, size_t len)
{
	return len <= 2 && key[0] != '!';
}

static void map_gives(const char *text, const char *part)
{
	const struct json_in_map bounds = {.entries = 2,
		.key_ok = short_key,
		.keys = "short",
		.value_len = 4,
		.lines = true,
		.entry_bytes = 5,
		.total_bytes = 12};

	begin(text);
	const json_t *map = json_in_map(&in, "m", &bounds);
	if (!part) {
		cr_assert_not_null(map);
		ends();
	} else {
		cr_assert_null(map);
		ends_with(part);
	}
}

Test(json_in, maps_have_bounds)
{
	map_gives("{\"m\": {}}", NULL);
	map_gives("{\"m\": {\"aa\": \"bbb\", \"c\": \"dd\"}}", NULL); /* 5 + 3 + 2 * 2 */
	map_gives("{\"m\": {\"aa\": \"bbb\", \"c\": \"ddd\"}}", "at most 12 bytes in all");
	map_gives("{\"m\": {\"aa\": \"bbbb\"}}", "an entry of more than 5 bytes");
	map_gives("{\"m\": {\"a\": \"bbbbb\"}}", "strings of at most 4 bytes");
	map_gives("{\"m\": {\"a\": 1}}", "strings of at most 4 bytes");
	map_gives("{\"m\": {\"a\": \"\\n\"}}", "control characters");
	map_gives("{\"m\": {\"!\": \"\"}}", "key that is not short");
	map_gives("{\"m\": {\"a\": \"\", \"b\": \"\", \"c\": \"\"}}", "at most 2 strings");
	map_gives("{\"m\": []}", "must be an object");
}

static void strings_give(const char *text, const char *part)
{
	begin(text);
	const json_t *array = json_in_strings(&in, "s", JSON_IN_REQUIRED, 1, 2, 6);
	if (!part) {
		cr_assert_not_null(array);
		ends();
	} else {
		cr_assert_null(array);
		ends_with(part);
	}
}

Test(json_in, arrays_have_bounds)
{
	strings_give("{\"s\": [\"ab\", \"cd\"]}", NULL);
	strings_give("{\"s\": [\"ab\", \"cde\"]}", "at most 6 bytes in all");
	strings_give("{\"s\": []}", "1 to 2 strings");
	strings_give("{\"s\": [\"a\", \"b\", \"c\"]}", "1 to 2 strings");
	strings_give("{\"s\": [1]}", "must hold strings");
	strings_give("{\"s\": [\"a\\u0000\"]}", "must hold strings");
	strings_give("{\"s\": {}}", "must be an array");
	strings_give("{}", "\"s\" is missing");
}

Test(json_in, inner_objects_are_named_in_full)
{
	struct json_in inner;

	begin("{\"o\": {\"a\": 7, \"b\": 1}}");
	cr_assert_not_null(json_in_enter(&in, "o", &inner));
	cr_assert_eq(json_in_number(&inner, "a", 0, 9, 0), 7);
	json_in_leave(&in, &inner);
	ends_with("\"o.b\" is no field");
	begin("{\"o\": {\"a\": 10}}");
	json_in_enter(&in, "o", &inner);
	json_in_number(&inner, "a", 0, 9, 0);
	json_in_leave(&in, &inner);
	ends_with("\"o.a\" must be a whole number from 0 to 9");
	begin("{\"o\": 3}");
	cr_assert_null(json_in_enter(&in, "o", &inner));
	json_in_number(&inner, "a", 0, 9, 0);
	json_in_leave(&in, &inner);
	ends_with("\"o\" must be an object");
}
