/* SPDX-License-Identifier: Apache-2.0 */
/* bench-report: samples into table.md and pictures. Not installed: `scripts/bench` runs it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "benchmarks/report/report.h"

/* What was drawn before, of other samples, must not stay. */
static struct torpor_error *remove_old(const char *path)
{
	if (unlink(path) != 0 && errno != ENOENT)
		return tp_error_errno(errno, "remove", path);
	return NULL;
}

static struct torpor_error *write_file(const char *path, const char *text, size_t len)
{
	FILE *out = fopen(path, "we");

	if (!out)
		return tp_error_errno(errno, "create", path);
	bool whole = fwrite(text, 1, len, out) == len;
	if (fclose(out) != 0 || !whole)
		return tp_error_errno(errno, "write", path);
	return NULL;
}

static struct torpor_error *draw(
	const struct report *r, const char *dir, const struct report_picture *picture, bool *drawn)
{
	TP_FREE char *path = tp_asprintf("%s/%s", dir, picture->file);
	TP_FREE char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return tp_error_errno(errno, "draw", picture->file);
	*drawn = picture->draw(r, picture, out);
	if (fclose(out) != 0)
		return tp_error_errno(errno, "draw", picture->file);
	return *drawn ? write_file(path, text, len) : remove_old(path);
}

static struct torpor_error *write_table(const struct report *r, const char *dir, const bool *drawn)
{
	TP_FREE char *path = tp_asprintf("%s/table.md", dir);
	TP_FREE char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return tp_error_errno(errno, "write", path);
	report_write_table(r, drawn, out);
	if (fclose(out) != 0)
		return tp_error_errno(errno, "write", path);
	return write_file(path, text, len);
}

static struct torpor_error *read_all(struct report *r, const char *dir)
{
	TP_FREE char *samples = tp_asprintf("%s/samples.jsonl", dir);
	TP_FREE char *bench = tp_asprintf("%s/torpor.jsonl", dir);
	TP_FREE char *daemon = tp_asprintf("%s/daemon.jsonl", dir);

	TP_TRY(report_read_samples(r, samples));
	TP_TRY(report_read_bench(&r->bench, bench));
	TP_TRY(report_read_bench(&r->daemon, daemon));
	return report_read_published(r, PUBLISHED_JSON);
}

static struct torpor_error *run(const char *dir)
{
	REPORT_SCOPE struct report r = {0};
	TP_FREE bool *drawn = tp_calloc(report_n_pictures, sizeof(*drawn));

	TP_TRY(read_all(&r, dir));
	for (size_t i = 0; i < report_n_pictures; i++)
		TP_TRY(draw(&r, dir, &report_pictures[i], &drawn[i]));
	return write_table(&r, dir, drawn);
}

int main(int argc, char **argv)
{
	if (argc != 2 || argv[1][0] == '-') {
		fputs("usage: bench-report DIR\n\n"
		      "Reads DIR/samples.jsonl and, where they are there, DIR/torpor.jsonl and\n"
		      "DIR/daemon.jsonl; writes DIR/table.md and pictures (SVG) beside it. "
		      "benchmarks/README.md says how\n"
		      "to read them.\n",
			stderr);
		return 2;
	}
	TP_ERROR struct torpor_error *err = run(argv[1]);
	if (err)
		fprintf(stderr, "bench-report: %s\n", torpor_error_message(err));
	return err ? 1 : 0;
}
