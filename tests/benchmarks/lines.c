/* SPDX-License-Identifier: Apache-2.0 */
#include "lines.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

static struct tp_buf lines;
static struct report_cell at = {256 * TP_MIB, 0};

void line(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	TP_FREE char *text = tp_vasprintf(fmt, ap);
	va_end(ap);
	tp_buf_put(&lines, text, strlen(text));
	tp_buf_put(&lines, "\n", 1);
}

void peer_line(const char *name, bool durable, bool frees)
{
	line("{\"peer\":\"%s\",\"summary\":\"what %s runs\",\"durable\":%s,\"frees\":%s,"
	     "\"available\":true,\"why\":null}",
		name, name, durable ? "true" : "false", frees ? "true" : "false");
}

void cell(uint64_t ram, uint64_t payload)
{
	at = (struct report_cell){ram, payload};
}

static void put_sample(unsigned int round, const char *peer, const char *op, const char *figures,
	bool counted, const char *error)
{
	line("{\"round\":%u,\"peer\":\"%s\",\"ram\":%llu,\"payload\":%llu,\"op\":\"%s\"%s%s,"
	     "\"counted\":%s,\"error\":%s%s%s}",
		round, peer, (unsigned long long)at.ram, (unsigned long long)at.payload, op,
		*figures ? "," : "", figures, counted ? "true" : "false", error ? "\"" : "",
		error ? error : "null", error ? "\"" : "");
}

void sample_line(unsigned int round, const char *peer, const char *op, const char *figures)
{
	put_sample(round, peer, op, figures, true, NULL);
}

void uncounted_line(unsigned int round, const char *peer, const char *op, const char *figures)
{
	put_sample(round, peer, op, figures, false, NULL);
}

void failed_line(unsigned int round, const char *peer, const char *op, const char *error)
{
	put_sample(round, peer, op, "", true, error);
}

void sample_lines(unsigned int first, unsigned int last, const char *peer, const char *op,
	const char *figure, double value)
{
	TP_FREE char *text = tp_asprintf("\"%s\":%.0f", figure, value);

	for (unsigned int round = first; round <= last; round++)
		sample_line(round, peer, op, text);
}

/* The caller unlinks and frees *PATH_OUT. */
static void write_lines(char **path_out)
{
	char path[] = "/tmp/torpor-lines-XXXXXX";
	int fd = mkstemp(path);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, lines.data, lines.len), (ssize_t)lines.len);
	close(fd);
	tp_buf_deinit(&lines);
	lines = (struct tp_buf){0};
	*path_out = tp_strdup(path);
}

struct torpor_error *read_lines(struct report *r)
{
	TP_FREE char *path = NULL;

	write_lines(&path);
	struct torpor_error *err = report_read_samples(r, path);
	unlink(path);
	return err;
}

struct torpor_error *read_bench_lines(struct report *r)
{
	TP_FREE char *path = NULL;

	write_lines(&path);
	struct torpor_error *err = report_read_bench(&r->bench, path);
	unlink(path);
	return err;
}

static void must(struct torpor_error *err)
{
	cr_assert_null(err, "%s", err ? torpor_error_message(err) : "");
}

void must_read(struct report *r)
{
	must(read_lines(r));
}

void must_read_bench(struct report *r)
{
	must(read_bench_lines(r));
}

struct report_key key_of(const struct report *r, const char *peer, enum report_op op)
{
	return (struct report_key){report_peer_named(r, peer), at, op};
}
