/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of JSON into what the report is made of. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/mem.h"
#include "benchmarks/report/report.h"

#define FILE_MAX ((size_t)(256 * TP_MIB))

const struct report_figure_kind report_figures[REPORT_FIGURES] = {
	[REPORT_STANDSTILL] = {"standstill_ns", "standstill", "ns", false},
	[REPORT_DURABLE] = {"durable_ns", "durable", "ns", false},
	[REPORT_GONE] = {"gone_ns", "gone", "ns", false},
	[REPORT_BYTES] = {"bytes", "on disk", "bytes", false},
	[REPORT_PROCESS] = {"process_ns", "process start", "ns", true},
	[REPORT_RUNNING] = {"running_ns", "running", "ns", false},
	[REPORT_BARE] = {NULL, "running without process start", "ns", true},
	[REPORT_ANSWER] = {"answer_ns", "first answer", "ns", false},
	[REPORT_CPU] = {"cpu_ns", "CPU", "ns", true},
	[REPORT_PEAK] = {"peak_bytes", "peak memory", "bytes", true},
	[REPORT_REMAINING] = {"remaining_bytes", "remaining memory", "bytes", true},
};

const char *const report_op_names[REPORT_OPS] = {
	[REPORT_SAVE] = "save",
	[REPORT_RESTORE] = "restore",
	[REPORT_BOOT] = "boot",
	[REPORT_CLAIM] = "claim",
	[REPORT_FORK] = "fork",
};

/* --- parts of an object; WHERE is "FILE:LINE" --- */

static struct torpor_error *refuse(const char *where, const char *key, const char *why)
{
	return tp_error(TORPOR_E_CORRUPT, "read", where, "\"%s\" %s", key, why);
}

static struct torpor_error *get_text(
	const json_t *line, const char *where, const char *key, const char **out)
{
	json_t *value = json_object_get(line, key);

	if (!json_is_string(value) || *json_string_value(value) == '\0')
		return refuse(where, key, "is no text");
	*out = json_string_value(value);
	return NULL;
}

/* Where null is fine, and means NULL. */
static struct torpor_error *get_text_or_null(
	const json_t *line, const char *where, const char *key, const char **out)
{
	if (json_is_null(json_object_get(line, key))) {
		*out = NULL;
		return NULL;
	}
	return get_text(line, where, key, out);
}

static struct torpor_error *get_bool(
	const json_t *line, const char *where, const char *key, bool *out)
{
	json_t *value = json_object_get(line, key);

	if (!json_is_boolean(value))
		return refuse(where, key, "is neither true nor false");
	*out = json_is_true(value);
	return NULL;
}

static struct torpor_error *get_count(
	const json_t *line, const char *where, const char *key, uint64_t max, uint64_t *out)
{
	json_t *value = json_object_get(line, key);

	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
		(uint64_t)json_integer_value(value) > max)
		return refuse(where, key, "is no whole number that makes sense");
	*out = (uint64_t)json_integer_value(value);
	return NULL;
}

/* What wasn't measured is left out, or null. */
static struct torpor_error *get_number(
	const json_t *line, const char *where, const char *key, double *out)
{
	json_t *value = json_object_get(line, key);

	if (value && !json_is_null(value) && !json_is_number(value))
		return refuse(where, key, "is no number");
	*out = json_is_number(value) ? json_number_value(value) : NAN;
	return NULL;
}

static struct torpor_error *get_figure(
	const json_t *line, const char *where, const struct report_figure_kind *kind, double *out)
{
	*out = NAN;
	if (!kind->key)
		return NULL;
	TP_TRY(get_number(line, where, kind->key, out));
	if (*out < 0)
		return refuse(where, kind->key, "is below 0");
	if (*out == 0 && !kind->zero_counts)
		*out = NAN;
	return NULL;
}

/* --- peers --- */

size_t report_peer_named(const struct report *r, const char *name)
{
	size_t i = 0;

	while (i < r->n_peers && strcmp(r->peers[i].name, name) != 0)
		i++;
	return i;
}

static struct report_peer *need_peer(struct report *r, const char *name)
{
	size_t i = report_peer_named(r, name);

	if (i == r->n_peers) {
		r->peers = tp_reallocarray(r->peers, r->n_peers + 1, sizeof(*r->peers));
		r->peers[r->n_peers++] = (struct report_peer){.name = tp_strdup(name)};
	}
	return &r->peers[i];
}

static struct torpor_error *take_peer(struct report *r, const json_t *line, const char *where)
{
	const char *name = NULL, *summary = NULL, *why = NULL;
	bool durable = false, frees = false, available = false;

	TP_TRY(get_text(line, where, "peer", &name));
	TP_TRY(get_text(line, where, "summary", &summary));
	TP_TRY(get_bool(line, where, "durable", &durable));
	TP_TRY(get_bool(line, where, "frees", &frees));
	TP_TRY(get_bool(line, where, "available", &available));
	TP_TRY(get_text_or_null(line, where, "why", &why));
	if (available != (why == NULL))
		return refuse(where, "why", "contradicts \"available\"");
	struct report_peer *peer = need_peer(r, name);
	if (peer->declared)
		return refuse(where, name, "was there before");
	peer->declared = true;
	peer->summary = tp_strdup(summary);
	peer->why = tp_strdup(why);
	peer->durable = durable;
	peer->frees = frees;
	peer->available = available;
	return NULL;
}

/* --- samples --- */

static struct torpor_error *get_op(const json_t *line, const char *where, enum report_op *out)
{
	const char *name;

	TP_TRY(get_text(line, where, "op", &name));
	for (size_t i = 0; i < REPORT_OPS; i++) {
		if (strcmp(report_op_names[i], name) == 0) {
			*out = (enum report_op)i;
			return NULL;
		}
	}
	return refuse(where, "op", "is none that is known");
}

static bool has_figure(const struct report_sample *sample)
{
	for (size_t i = 0; i < REPORT_FIGURES; i++) {
		if (!isnan(sample->values[i]))
			return true;
	}
	return false;
}

static struct torpor_error *get_figures(
	const json_t *line, const char *where, struct report_sample *sample)
{
	double *values = sample->values;

	for (size_t i = 0; i < REPORT_FIGURES; i++)
		TP_TRY(get_figure(line, where, &report_figures[i], &values[i]));
	/* A process that answers only after the guest runs can't be told apart from it. */
	if (values[REPORT_PROCESS] <= values[REPORT_RUNNING])
		values[REPORT_BARE] = values[REPORT_RUNNING] - values[REPORT_PROCESS];
	return NULL;
}

static struct torpor_error *take_sample(struct report *r, const json_t *line, const char *where)
{
	struct report_sample sample = {0};
	const char *peer = NULL, *error = NULL;
	uint64_t round = 0;

	TP_TRY(get_text(line, where, "peer", &peer));
	TP_TRY(get_count(line, where, "round", UINT_MAX, &round));
	TP_TRY(get_count(line, where, "ram", INT64_MAX, &sample.cell.ram));
	TP_TRY(get_count(line, where, "payload", INT64_MAX, &sample.cell.payload));
	TP_TRY(get_op(line, where, &sample.op));
	TP_TRY(get_bool(line, where, "counted", &sample.counted));
	TP_TRY(get_text_or_null(line, where, "error", &error));
	TP_TRY(get_figures(line, where, &sample));
	if (!error && !has_figure(&sample))
		return refuse(where, "error", "is null, and there is no figure either");
	if (error && has_figure(&sample))
		return refuse(where, "error", "isn't null, and yet there are figures");
	sample.round = (unsigned int)round;
	sample.peer = (size_t)(need_peer(r, peer) - r->peers);
	sample.error = tp_strdup(error);
	r->samples = tp_reallocarray(r->samples, r->n_samples + 1, sizeof(*r->samples));
	r->samples[r->n_samples++] = sample;
	return NULL;
}

/* --- facts --- */

static struct torpor_error *take_fact(json_t *context, const json_t *line, const char *where)
{
	json_t *value = json_object_get(line, "value");
	const char *name;

	TP_TRY(get_text(line, where, "context", &name));
	if (!value)
		return refuse(where, name, "has no value");
	if (json_object_get(context, name))
		return refuse(where, name, "was there before");
	json_object_set(context, name, value);
	return NULL;
}

static struct torpor_error *take_line(void *data, const json_t *line, const char *where)
{
	struct report *r = data;

	if (json_object_get(line, "context"))
		return take_fact(r->context, line, where);
	if (json_object_get(line, "round"))
		return take_sample(r, line, where);
	if (json_object_get(line, "peer"))
		return take_peer(r, line, where);
	return tp_error(
		TORPOR_E_CORRUPT, "read", where, "it is neither a fact, nor a peer, nor a sample");
}

/* --- torpor bench --- */

/* The keys that the verdicts look at are numbers or null. A slope may be below 0. */
static struct torpor_error *take_bench_line(void *data, const json_t *line, const char *where)
{
	struct report_bench *bench = data;
	static const char *const figures[] = {"p50", "p99", "value_p50"};
	const char *name;
	uint64_t n;
	double ignored;

	if (json_object_get(line, "context"))
		return take_fact(bench->context, line, where);
	TP_TRY(get_text(line, where, "name", &name));
	TP_TRY(get_count(line, where, "n", UINT_MAX, &n));
	for (size_t i = 0; i < TP_ARRAY_LEN(figures); i++)
		TP_TRY(get_number(line, where, figures[i], &ignored));
	if (json_object_get(bench->lines, name))
		return refuse(where, name, "was there before");
	json_object_set(bench->lines, name, (json_t *)line);
	return NULL;
}

/* --- files --- */

typedef struct torpor_error *take_fn(void *data, const json_t *line, const char *where);

static struct torpor_error *parse_line(
	void *data, const char *text, size_t len, const char *where, take_fn *take)
{
	json_error_t why;
	json_t *line = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);

	if (!line)
		return tp_error(TORPOR_E_CORRUPT, "read", where, "it is no JSON: %s", why.text);
	struct torpor_error *err =
		json_is_object(line) ? take(data, line, where)
				     : tp_error(TORPOR_E_CORRUPT, "read", where, "it is no object");
	json_decref(line);
	return err;
}

static struct torpor_error *each_line(void *data, const char *path, take_fn *take)
{
	TP_FREE char *text = NULL;
	size_t len, number = 0;

	TP_TRY(tp_read_file(AT_FDCWD, path, FILE_MAX, &text, &len));
	for (const char *at = text, *end; at < text + len; at = end + 1) {
		end = memchr(at, '\n', (size_t)(text + len - at));
		if (!end)
			end = text + len;
		TP_FREE char *where = tp_asprintf("%s:%zu", path, ++number);
		TP_TRY(parse_line(data, at, (size_t)(end - at), where, take));
	}
	return NULL;
}

struct torpor_error *report_read_samples(struct report *r, const char *path)
{
	r->context = json_object();
	TP_TRY(each_line(r, path, take_line));
	if (r->n_samples == 0)
		return tp_error(TORPOR_E_INVALID, "read", path, "there is no sample in it");
	return NULL;
}

static void bench_deinit(struct report_bench *bench)
{
	json_decref(bench->context);
	json_decref(bench->lines);
	*bench = (struct report_bench){0};
}

struct torpor_error *report_read_bench(struct report_bench *bench, const char *path)
{
	*bench = (struct report_bench){json_object(), json_object()};
	struct torpor_error *err = each_line(bench, path, take_bench_line);
	if (err && torpor_error_errno(err) == ENOENT) {
		torpor_error_free(err);
		bench_deinit(bench);
		return NULL;
	}
	return err;
}

static struct torpor_error *check_published(const json_t *entry, const char *where)
{
	static const char *const texts[] = {"who", "figure", "unit", "conditions", "source"};
	const char *ignored;

	for (size_t i = 0; i < TP_ARRAY_LEN(texts); i++)
		TP_TRY(get_text(entry, where, texts[i], &ignored));
	if (!json_is_number(json_object_get(entry, "value")))
		return refuse(where, "value", "is no number");
	return NULL;
}

struct torpor_error *report_read_published(struct report *r, const char *path)
{
	json_error_t why;
	json_t *entry;
	size_t i;

	r->published = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
	if (!r->published)
		return tp_error(TORPOR_E_CORRUPT, "read", path, "line %d: %s", why.line, why.text);
	if (!json_is_array(r->published))
		return tp_error(TORPOR_E_CORRUPT, "read", path, "it is no array");
	json_array_foreach (r->published, i, entry) {
		TP_FREE char *where = tp_asprintf("%s: entry %zu", path, i + 1);
		TP_TRY(check_published(entry, where));
	}
	return NULL;
}

void report_deinit(struct report *r)
{
	for (size_t i = 0; i < r->n_peers; i++) {
		free(r->peers[i].name);
		free(r->peers[i].summary);
		free(r->peers[i].why);
	}
	for (size_t i = 0; i < r->n_samples; i++)
		free(r->samples[i].error);
	free(r->peers);
	free(r->samples);
	json_decref(r->context);
	bench_deinit(&r->bench);
	bench_deinit(&r->daemon);
	json_decref(r->published);
	*r = (struct report){0};
}
