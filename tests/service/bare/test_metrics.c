/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is counted, read back with a parser that takes nothing that Prometheus' text format (0.0.4)
 * doesn't allow.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "bare.h"
#include "base/buf.h"
#include "base/mem.h"
#include "service/metrics.h"

/* --- the parser --- */

struct sample {
	char *name;
	char *labels; /* as "a=1,b=2", values as they were before escaping */
	double value;
};

static struct parsed {
	struct sample samples[20000];
	size_t n;
	char *family; /* whose lines these are */
	char *type;
	bool helped;
	char *families[100];
	size_t n_families;
} parsed;

static bool name_char(char c, bool first)
{
	return c == '_' || c == ':' || isalpha((unsigned char)c) ||
	       (!first && isdigit((unsigned char)c));
}

static char *take_name(const char **at)
{
	const char *start = *at;

	while (name_char(**at, *at == start))
		(*at)++;
	cr_assert_gt(*at, start, "no name at \"%.40s\"", start);
	return tp_strndup(start, (size_t)(*at - start));
}

static void expect(const char **at, char c)
{
	cr_assert_eq(**at, c, "'%c' is missing at \"%.40s\"", c, *at);
	(*at)++;
}

/* "value", unescaped. */
static char *take_value(const char **at)
{
	TP_BUF struct tp_buf value = {0};

	expect(at, '"');
	for (; **at != '"'; (*at)++) {
		char c = **at;
		cr_assert(c != '\n' && c != '\0', "a value isn't ended");
		if (c == '\\') {
			(*at)++;
			cr_assert(**at == 'n' || **at == '\\' || **at == '"', "\\%c", **at);
			c = **at;
			if (c == 'n')
				c = '\n';
		}
		tp_buf_put_u8(&value, (uint8_t)c);
	}
	expect(at, '"');
	tp_buf_put_u8(&value, '\0');
	return (char *)TP_TAKE(value.data);
}

static char *take_labels(const char **at)
{
	char *labels = tp_strdup("");

	if (**at != '{')
		return labels;
	expect(at, '{');
	while (**at != '}') {
		TP_FREE char *before = labels;
		TP_FREE char *name = take_name(at);
		expect(at, '=');
		TP_FREE char *value = take_value(at);
		labels = tp_asprintf("%s%s%s=%s", before, *before ? "," : "", name, value);
		if (**at != '}')
			expect(at, ',');
	}
	expect(at, '}');
	return labels;
}

static bool belongs(const char *name)
{
	static const char *const suffixes[] = {"_bucket", "_sum", "_count"};
	size_t len = strlen(parsed.family);

	if (strcmp(name, parsed.family) == 0)
		return strcmp(parsed.type, "histogram") != 0;
	if (strncmp(name, parsed.family, len) != 0 || strcmp(parsed.type, "histogram") != 0)
		return false;
	for (size_t i = 0; i < TP_ARRAY_LEN(suffixes); i++) {
		if (strcmp(name + len, suffixes[i]) == 0)
			return true;
	}
	return false;
}

static void parse_sample(const char *at)
{
	struct sample *sample = &parsed.samples[parsed.n++];
	char *end;

	sample->name = take_name(&at);
	cr_assert(belongs(sample->name), "%s stands among %s", sample->name, parsed.family);
	sample->labels = take_labels(&at);
	expect(&at, ' ');
	sample->value = strtod(at, &end);
	cr_assert(end > at && *end == '\0', "no number: \"%s\"", at);
	for (size_t i = 0; i + 1 < parsed.n; i++)
		cr_assert_not(strcmp(parsed.samples[i].name, sample->name) == 0 &&
				      strcmp(parsed.samples[i].labels, sample->labels) == 0,
			"%s{%s} comes twice", sample->name, sample->labels);
}

static void parse_comment(const char *at)
{
	bool help = strncmp(at, "# HELP ", 7) == 0;

	cr_assert(help || strncmp(at, "# TYPE ", 7) == 0, "%s", at);
	at += 7;
	char *name = take_name(&at);
	expect(&at, ' ');
	if (help) {
		for (size_t i = 0; i < parsed.n_families; i++)
			cr_assert_str_neq(parsed.families[i], name, "the family comes twice");
		cr_assert_eq(strncmp(name, "torpor_", 7), 0);
		cr_assert_gt(strlen(at), 0, "%s has no help", name);
		parsed.families[parsed.n_families++] = name;
		parsed.family = name;
		parsed.helped = true;
		return;
	}
	cr_assert(parsed.helped);
	cr_assert_str_eq(parsed.family, name);
	cr_assert(strcmp(at, "counter") == 0 || strcmp(at, "gauge") == 0 ||
			  strcmp(at, "histogram") == 0,
		"%s", at);
	if (strcmp(at, "counter") == 0)
		cr_assert(strstr(name, "_total") || strstr(name, "_id"), "%s counts", name);
	free(parsed.type);
	parsed.type = tp_strdup(at);
	parsed.helped = false;
	free(name);
}

static void parse(char *text)
{
	size_t len = strlen(text);

	memset(&parsed, 0, sizeof(parsed));
	cr_assert_gt(len, 0);
	cr_assert_eq(text[len - 1], '\n');
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		if (line[0] == '#')
			parse_comment(line);
		else
			parse_sample(line);
	}
}

static double value_of(const char *name, const char *labels)
{
	for (size_t i = 0; i < parsed.n; i++) {
		if (strcmp(parsed.samples[i].name, name) == 0 &&
			strcmp(parsed.samples[i].labels, labels) == 0)
			return parsed.samples[i].value;
	}
	return -1;
}

static void parse_metrics(struct tp_service_metrics *metrics)
{
	TP_BUF struct tp_buf out = {0};

	tp_metrics_write(metrics, &out);
	tp_buf_put_u8(&out, '\0');
	parse((char *)out.data);
}

/* --- the tests --- */

Test(metrics, counters_by_label)
{
	struct tp_service_metrics *metrics = tp_metrics_new();

	tp_metrics_count(metrics, TP_FAMILY_REFUSALS, "rate", NULL);
	tp_metrics_count(metrics, TP_FAMILY_REFUSALS, "rate", NULL);
	tp_metrics_count(metrics, TP_FAMILY_REFUSALS, "queue-full", NULL);
	tp_metrics_count(metrics, TP_FAMILY_FAILURES, "park", "minimal");
	parse_metrics(metrics);
	cr_assert_eq(value_of("torpor_refusals_total", "reason=rate"), 2);
	cr_assert_eq(value_of("torpor_refusals_total", "reason=queue-full"), 1);
	cr_assert_eq(value_of("torpor_failures_total", "operation=park,template=minimal"), 1);
	tp_metrics_free(metrics);
}

Test(metrics, histograms_add_up)
{
	struct tp_service_metrics *metrics = tp_metrics_new();
	static const uint64_t times[] = {1, 1000000, 1000001, 3000000, 60000000000, 60000000001};

	for (size_t i = 0; i < TP_ARRAY_LEN(times); i++)
		tp_metrics_observe(metrics, TP_FAMILY_CLAIM, "minimal", "warm", times[i]);
	tp_metrics_observe(metrics, TP_FAMILY_COMMIT, NULL, NULL, 2000000000);
	parse_metrics(metrics);
	cr_assert_eq(value_of("torpor_claim_duration_seconds_bucket",
			     "template=minimal,source=warm,le=0.001"),
		2);
	cr_assert_eq(value_of("torpor_claim_duration_seconds_bucket",
			     "template=minimal,source=warm,le=0.0025"),
		3);
	cr_assert_eq(value_of("torpor_claim_duration_seconds_bucket",
			     "template=minimal,source=warm,le=60"),
		5);
	cr_assert_eq(value_of("torpor_claim_duration_seconds_bucket",
			     "template=minimal,source=warm,le=+Inf"),
		6);
	cr_assert_eq(
		value_of("torpor_claim_duration_seconds_count", "template=minimal,source=warm"), 6);
	cr_assert_float_eq(
		value_of("torpor_claim_duration_seconds_sum", "template=minimal,source=warm"),
		120.005000003, 1e-8);
	cr_assert_eq(value_of("torpor_commit_duration_seconds_count", ""), 1);
	cr_assert_eq(value_of("torpor_commit_duration_seconds_bucket", "le=1"), 0);
	cr_assert_eq(value_of("torpor_commit_duration_seconds_bucket", "le=2.5"), 1);
	tp_metrics_free(metrics);
}

Test(metrics, values_are_escaped)
{
	struct tp_service_metrics *metrics = tp_metrics_new();

	tp_metrics_count(metrics, TP_FAMILY_REFUSALS, "a\"b\\c\nd", NULL);
	parse_metrics(metrics);
	cr_assert_eq(value_of("torpor_refusals_total", "reason=a\"b\\c\nd"), 1);
	tp_metrics_free(metrics);
}

Test(metrics, names_cannot_fill_memory)
{
	struct tp_service_metrics *metrics = tp_metrics_new();
	char name[32];

	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "t%d", i);
		tp_metrics_observe(metrics, TP_FAMILY_PARK, name, NULL, 1);
	}
	parse_metrics(metrics);
	cr_assert_eq(value_of("torpor_park_duration_seconds_count", "template=other"),
		10000 - TP_METRICS_SERIES);
	cr_assert_eq(value_of("torpor_park_duration_seconds_count", "template=t0"), 1);
	tp_metrics_free(metrics);
}

Test(metrics, a_whole_service_is_shown)
{
	char *dir = bare_dir();
	struct tp_service *service = bare_open(dir);
	struct tp_supply_options options = {0};

	service->supply = tp_supply_new(&options);
	bare_put_session(service, "parked0000000000", TP_DEFAULT_TENANT, "parked", "u");
	bare_put_session(service, "error00000000000", TP_DEFAULT_TENANT, "error", NULL);
	tp_service_count_request(service, "/v1/sessions/{id}", 200, 1500000);
	tp_service_count_refusal(service, "connections");
	TP_FREE char *text = tp_service_metrics(service);
	parse(text);
	cr_assert_eq(value_of("torpor_sessions", "state=parked"), 1);
	cr_assert_eq(value_of("torpor_sessions", "state=error"), 1);
	cr_assert_eq(value_of("torpor_sessions", "state=running"), 0);
	cr_assert_eq(value_of("torpor_requests_total", "route=/v1/sessions/{id},status=200"), 1);
	cr_assert_eq(
		value_of("torpor_request_duration_seconds_count", "route=/v1/sessions/{id}"), 1);
	cr_assert_eq(value_of("torpor_refusals_total", "reason=connections"), 1);
	cr_assert_gt(value_of("torpor_process_resident_bytes", ""), 1e6);
	cr_assert_gt(value_of("torpor_process_open_fds", ""), 3);
	cr_assert_gt(value_of("torpor_records_commits_total", ""), 0);
	cr_assert_eq(parsed.n_families, TP_FAMILY_COUNT);
	service->supply = tp_supply_free(service->supply);
	bare_close(service);
	bare_remove_dir(dir);
}
