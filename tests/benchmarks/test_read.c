/* SPDX-License-Identifier: Apache-2.0 */
/* What the report takes from files, and what it refuses, saying where. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "lines.h"

#define SAMPLE                                                                                     \
	"\"round\":3,\"peer\":\"a\",\"ram\":268435456,\"payload\":0,\"op\":\"save\","              \
	"\"counted\":true,\"error\":null"
#define PEER "\"peer\":\"a\",\"summary\":\"what\",\"durable\":true,\"frees\":false"

Test(read, lines_become_facts_peers_and_samples)
{
	REPORT_SCOPE struct report r = {0};

	line("{\"context\":\"qemu\",\"value\":\"7.2.22\"}");
	line("{" PEER ",\"available\":true,\"why\":null}");
	line("{\"peer\":\"b\",\"summary\":\"what\",\"durable\":true,\"frees\":true,"
	     "\"available\":false,\"why\":\"no KVM\"}");
	line("{" SAMPLE ",\"standstill_ns\":5,\"durable_ns\":7.5,\"bytes\":4096,"
	     "\"peak_bytes\":null}");
	line("{\"round\":4,\"peer\":\"c\",\"ram\":1,\"payload\":2,\"op\":\"fork\","
	     "\"counted\":false,\"error\":\"it broke\"}");
	must_read(&r);

	cr_assert_str_eq(json_string_value(json_object_get(r.context, "qemu")), "7.2.22");
	cr_assert_eq(r.n_peers, 3);
	cr_assert(r.peers[0].declared && r.peers[0].durable && !r.peers[0].frees);
	cr_assert(r.peers[0].available);
	cr_assert_null(r.peers[0].why);
	cr_assert_str_eq(r.peers[1].why, "no KVM");
	cr_assert_not(r.peers[2].declared, "it has samples, and no line");
	cr_assert_eq(r.n_samples, 2);
	const struct report_sample *s = &r.samples[0];
	cr_assert_eq(s->round, 3);
	cr_assert_eq(s->peer, 0);
	cr_assert_eq(s->cell.ram, 256 * TP_MIB);
	cr_assert_eq(s->op, REPORT_SAVE);
	cr_assert(s->counted);
	cr_assert_null(s->error);
	cr_assert_eq(s->values[REPORT_STANDSTILL], 5);
	cr_assert_eq(s->values[REPORT_DURABLE], 7.5);
	cr_assert_eq(s->values[REPORT_BYTES], 4096);
	cr_assert(isnan(s->values[REPORT_PEAK]), "null: not measured");
	cr_assert(isnan(s->values[REPORT_GONE]), "left out: not measured");
	s = &r.samples[1];
	cr_assert_eq(s->op, REPORT_FORK);
	cr_assert_eq(s->cell.payload, 2);
	cr_assert_not(s->counted);
	cr_assert_str_eq(s->error, "it broke");
	for (size_t i = 0; i < REPORT_FIGURES; i++)
		cr_assert(isnan(s->values[i]));
}

Test(read, running_without_the_process_follows)
{
	REPORT_SCOPE struct report r = {0};

	sample_line(1, "a", "restore", "\"process_ns\":100,\"running_ns\":130");
	sample_line(2, "a", "restore", "\"process_ns\":0,\"running_ns\":130");
	sample_line(3, "a", "restore", "\"running_ns\":130");
	sample_line(4, "a", "restore", "\"process_ns\":131,\"running_ns\":130");
	must_read(&r);
	cr_assert_eq(r.samples[0].values[REPORT_BARE], 30);
	cr_assert_eq(r.samples[1].values[REPORT_BARE], 130);
	cr_assert(isnan(r.samples[2].values[REPORT_BARE]));
	cr_assert(isnan(r.samples[3].values[REPORT_BARE]), "it can't be told");
}

Test(read, nothing_takes_no_time)
{
	REPORT_SCOPE struct report r = {0};

	sample_line(1, "floor", "save", "\"durable_ns\":5,\"gone_ns\":0,\"bytes\":0,\"cpu_ns\":0");
	sample_line(1, "floor", "restore", "\"process_ns\":0,\"running_ns\":5,\"answer_ns\":0");
	sample_line(2, "floor", "save", "\"durable_ns\":5,\"remaining_bytes\":0");
	must_read(&r);
	cr_assert(isnan(r.samples[0].values[REPORT_GONE]));
	cr_assert(isnan(r.samples[0].values[REPORT_BYTES]));
	cr_assert_eq(r.samples[0].values[REPORT_CPU], 0, "less than a tick");
	cr_assert_eq(r.samples[1].values[REPORT_PROCESS], 0, "it was there before");
	cr_assert(isnan(r.samples[1].values[REPORT_ANSWER]));
	cr_assert_eq(r.samples[2].values[REPORT_REMAINING], 0);
}

struct odd {
	char text[256];
	char why[80];
};

ParameterizedTestParameters(read, odd_lines_are_refused)
{
	static struct odd all[] = {
		{"", "it is no JSON"},
		{"{" SAMPLE ",\"bytes\":1", "it is no JSON"},
		{"{" SAMPLE ",\"bytes\":1} {}", "it is no JSON"},
		{"{" SAMPLE ",\"bytes\":1,\"bytes\":2}", "duplicate object key"},
		{"[1]", "it is no object"},
		{"{\"name\":\"x\"}", "neither a fact, nor a peer, nor a sample"},
		{"{\"context\":7,\"value\":1}", "\"context\" is no text"},
		{"{\"context\":\"x\"}", "\"x\" has no value"},
		{"{\"context\":\"qemu\",\"value\":1}", "\"qemu\" was there before"},
		{"{" PEER ",\"available\":true}", "\"why\" is no text"},
		{"{" PEER ",\"available\":true,\"why\":\"no\"}", "contradicts \"available\""},
		{"{" PEER ",\"available\":false,\"why\":null}", "contradicts \"available\""},
		{"{" PEER ",\"available\":1,\"why\":null}", "\"available\" is neither true"},
		{"{\"peer\":\"known\",\"summary\":\"s\",\"durable\":true,\"frees\":true,"
		 "\"available\":true,\"why\":null}",
			"\"known\" was there before"},
		{"{" SAMPLE "}", "is null, and there is no figure either"},
		{"{" SAMPLE ",\"bytes\":0}", "is null, and there is no figure either"},
		{"{" SAMPLE ",\"bytes\":-1}", "\"bytes\" is below 0"},
		{"{" SAMPLE ",\"bytes\":\"1\"}", "\"bytes\" is no number"},
		{"{" SAMPLE ",\"running_ns\":true}", "\"running_ns\" is no number"},
		{"{\"round\":-1,\"peer\":\"a\",\"ram\":1,\"payload\":0,\"op\":\"save\","
		 "\"counted\":true,\"error\":null,\"bytes\":1}",
			"\"round\" is no whole number"},
		{"{\"round\":4294967296,\"peer\":\"a\",\"ram\":1,\"payload\":0,\"op\":\"save\","
		 "\"counted\":true,\"error\":null,\"bytes\":1}",
			"\"round\" is no whole number"},
		{"{\"round\":1,\"peer\":\"a\",\"ram\":1.5,\"payload\":0,\"op\":\"save\","
		 "\"counted\":true,\"error\":null,\"bytes\":1}",
			"\"ram\" is no whole number"},
		{"{\"round\":1,\"peer\":\"a\",\"ram\":1,\"op\":\"save\",\"counted\":true,"
		 "\"error\":null,\"bytes\":1}",
			"\"payload\" is no whole number"},
		{"{\"round\":1,\"peer\":\"a\",\"ram\":1,\"payload\":0,\"op\":\"jump\","
		 "\"counted\":true,\"error\":null,\"bytes\":1}",
			"\"op\" is none that is known"},
		{"{\"round\":1,\"peer\":\"\",\"ram\":1,\"payload\":0,\"op\":\"save\","
		 "\"counted\":true,\"error\":null,\"bytes\":1}",
			"\"peer\" is no text"},
		{"{\"round\":1,\"peer\":\"a\",\"ram\":1,\"payload\":0,\"op\":\"save\","
		 "\"error\":null,\"bytes\":1}",
			"\"counted\" is neither true"},
		{"{\"round\":1,\"peer\":\"a\",\"ram\":1,\"payload\":0,\"op\":\"save\","
		 "\"counted\":true,\"bytes\":1}",
			"\"error\" is no text"},
		{"{\"round\":1,\"peer\":\"a\",\"ram\":1,\"payload\":0,\"op\":\"save\","
		 "\"counted\":true,\"error\":\"broke\",\"bytes\":1}",
			"isn't null, and yet there are figures"},
	};

	return cr_make_param_array(struct odd, all, TP_ARRAY_LEN(all));
}

ParameterizedTest(struct odd *odd, read, odd_lines_are_refused)
{
	REPORT_SCOPE struct report r = {0};

	line("{\"context\":\"qemu\",\"value\":\"7.2.22\"}");
	peer_line("known", true, true);
	sample_line(1, "known", "save", "\"bytes\":1");
	line("%s", odd->text);
	sample_line(2, "known", "save", "\"bytes\":1");
	TP_ERROR struct torpor_error *err = read_lines(&r);
	cr_assert_not_null(err, "%s was taken", odd->text);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_CORRUPT);
	const char *message = torpor_error_message(err);
	cr_assert_not_null(strstr(message, ":4:"), "%s: no line in %s", odd->text, message);
	cr_assert_not_null(strstr(message, "/tmp/torpor-lines-"), "no file in %s", message);
	cr_assert_not_null(strstr(message, odd->why), "%s: %s", odd->text, message);
}

Test(read, a_file_without_samples_is_no_report)
{
	REPORT_SCOPE struct report r = {0};

	peer_line("known", true, true);
	TP_ERROR struct torpor_error *err = read_lines(&r);
	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_INVALID);

	REPORT_SCOPE struct report none = {0};
	TP_ERROR struct torpor_error *missing =
		report_read_samples(&none, "/nonexistent/samples.jsonl");
	cr_assert_not_null(missing);
}

Test(read, the_last_line_may_end_with_the_file)
{
	REPORT_SCOPE struct report r = {0};
	char path[] = "/tmp/torpor-lines-XXXXXX";
	const char text[] = "{" SAMPLE ",\"bytes\":1}";
	int fd = mkstemp(path);

	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	TP_ERROR struct torpor_error *err = report_read_samples(&r, path);
	unlink(path);
	cr_assert_null(err);
	cr_assert_eq(r.n_samples, 1);
}

Test(read, torpor_bench_is_read_if_it_was_run)
{
	REPORT_SCOPE struct report r = {0};

	line("{\"context\":\"quick\",\"value\":true}");
	line("{\"name\":\"park_idle.durable\",\"unit\":\"ns\",\"n\":20,\"failures\":0,\"p50\":7,"
	     "\"p90\":8,\"p99\":null}");
	line("{\"name\":\"ratio_park_idle\",\"unit\":\"ratio\",\"n\":20,\"value_p50\":1.5,"
	     "\"limit\":2,\"met\":true}");
	line("{\"name\":\"scale_ram.slope\",\"unit\":\"ns\",\"n\":3,\"value_p50\":-4}");
	line("{\"name\":\"fork_8\",\"n\":0,\"failures\":3}");
	must_read_bench(&r);
	cr_assert(json_is_true(json_object_get(r.bench.context, "quick")));
	cr_assert_eq(json_object_size(r.bench.lines), 4);

	REPORT_SCOPE struct report without = {0};
	TP_ERROR struct torpor_error *err =
		report_read_bench(&without.bench, "/nonexistent/torpor.jsonl");
	cr_assert_null(err);
	cr_assert_null(without.bench.lines);
}

ParameterizedTestParameters(read, odd_bench_lines_are_refused)
{
	static struct odd all[] = {
		{"{\"n\":20,\"p50\":7}", "\"name\" is no text"},
		{"{\"name\":\"a\",\"p50\":7}", "\"n\" is no whole number"},
		{"{\"name\":\"a\",\"n\":20,\"p50\":\"7\"}", "\"p50\" is no number"},
		{"{\"name\":\"a\",\"n\":20,\"value_p50\":true}", "\"value_p50\" is no number"},
		{"{\"name\":\"known\",\"n\":20}", "\"known\" was there before"},
		{"null", "it is no"},
	};

	return cr_make_param_array(struct odd, all, TP_ARRAY_LEN(all));
}

ParameterizedTest(struct odd *odd, read, odd_bench_lines_are_refused)
{
	REPORT_SCOPE struct report r = {0};

	line("{\"name\":\"known\",\"n\":1,\"p50\":7}");
	line("%s", odd->text);
	TP_ERROR struct torpor_error *err = read_bench_lines(&r);
	cr_assert_not_null(err, "%s was taken", odd->text);
	cr_assert_not_null(strstr(torpor_error_message(err), ":2:"));
	cr_assert_not_null(strstr(torpor_error_message(err), odd->why), "%s: %s", odd->text,
		torpor_error_message(err));
}

/* --- figures of others --- */

Test(read, published_figures_all_have_a_source)
{
	REPORT_SCOPE struct report r = {0};
	const json_t *entry;
	size_t i;

	TP_ERROR struct torpor_error *err = report_read_published(&r, PUBLISHED_JSON);
	cr_assert_null(err, "%s", err ? torpor_error_message(err) : "");
	cr_assert_gt(json_array_size(r.published), 0);
	json_array_foreach (r.published, i, entry) {
		const char *source = json_string_value(json_object_get(entry, "source"));
		const char *who = json_string_value(json_object_get(entry, "who"));
		cr_assert_eq(strncmp(source, "https://", 8), 0, "%s", source);
		cr_assert_null(strcasestr(who, "torpor"), "ours are measured");
	}
}

static struct torpor_error *read_published(struct report *r, const char *text)
{
	char path[] = "/tmp/torpor-published-XXXXXX";
	int fd = mkstemp(path);

	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	struct torpor_error *err = report_read_published(r, path);
	unlink(path);
	return err;
}

#define FIGURE "\"who\":\"a\",\"figure\":\"b\",\"unit\":\"ms\",\"conditions\":\"c\""

Test(read, a_figure_without_a_source_is_refused)
{
	static const char *const odd[] = {
		"{}",
		"[7]",
		"[{" FIGURE ",\"value\":1}]",
		"[{" FIGURE ",\"value\":1,\"source\":\"\"}]",
		"[{" FIGURE ",\"value\":\"1\",\"source\":\"s\"}]",
		"[{\"who\":\"a\",\"value\":1,\"source\":\"s\"}]",
		"[{" FIGURE ",\"value\":1,\"source\":\"s\"}",
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(odd); i++) {
		REPORT_SCOPE struct report r = {0};
		TP_ERROR struct torpor_error *err = read_published(&r, odd[i]);
		cr_assert_not_null(err, "%s was taken", odd[i]);
	}
	REPORT_SCOPE struct report r = {0};
	TP_ERROR struct torpor_error *err =
		read_published(&r, "[{" FIGURE ",\"value\":1,\"source\":\"s\"}]");
	cr_assert_null(err);
}
