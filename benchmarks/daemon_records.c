/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon_records: does it matter how many sessions are parked?
 *
 * One session is parked, and then copied, row and file, until there are 100, 10,000 and 100,000.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "benchmarks/daemon.h"
#include "storage/image_writer.h"
#include "storage/records.h"

#define BATCH	    500 /* copies recorded by one commit */
#define MAX_IMAGE   (16 * TP_MIB)
#define REPEATS	    5 /* of what goes over all of them */
#define LIMIT_RATIO 2.0
#define COPY_ID	    "zz%014u"

static const struct {
	const char *name;
	unsigned int sessions;
} levels[] = {{"records_few", 100}, {"records_many", 10000}, {"records_most", 100000}};

struct records {
	struct bench *b;
	struct bench_host host;
	char *images;	/* the directory */
	char *original; /* id of the session that was parked */
	char *image;	/* its file's bytes */
	size_t image_len;
	unsigned int copies;
};

/* --- copies --- */

static struct torpor_error *copy_file(struct records *r, const char *id)
{
	TP_FREE char *path = tp_asprintf("%s/%s", r->images, id);
	TP_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return tp_error_errno(errno, "create", path);
	return tp_pwrite_full(fd, r->image, r->image_len, 0, path);
}

static struct torpor_error *add_copy(struct records *r, const struct tp_session_row *original,
	const struct tp_image_row *original_image, struct tp_change *change)
{
	struct tp_session_row session = *original;
	struct tp_image_row image = *original_image;
	TP_FREE char *id = tp_asprintf(COPY_ID, r->copies);
	TP_FREE char *name = tp_asprintf("copy-%u", r->copies);

	TP_TRY(copy_file(r, id));
	session.id = id;
	session.name = name;
	session.created_ns -= ++r->copies;
	image.name = id;
	image.session = id;
	tp_change_put_session(change, &session);
	tp_change_put_image(change, &image);
	return NULL;
}

static struct torpor_error *add_until(struct records *r, struct tp_records *records,
	const struct tp_session_row *session, const struct tp_image_row *image, unsigned int end)
{
	while (r->copies < end) {
		TP_CLEANUP(tp_change_free) struct tp_change *change = tp_change_new();
		unsigned int batch_end = TP_MIN(r->copies + BATCH, end);
		while (r->copies < batch_end)
			TP_TRY(add_copy(r, session, image, change));
		TP_TRY(tp_records_commit(records, TP_TAKE(change)));
	}
	return NULL;
}

/* Sessions with files of their own, until there are COUNT. Nobody else has the records now. */
static struct torpor_error *add_copies(struct records *r, unsigned int count)
{
	struct tp_session_row session = {0};
	struct tp_image_row image = {0};
	struct tp_records *records;

	TP_TRY(tp_records_open(r->host.dir, "records.db", &records));
	struct torpor_error *err = tp_records_session(records, NULL, r->original, &session);
	if (!err)
		err = tp_records_image(records, r->original, &image);
	if (!err)
		err = add_until(r, records, &session, &image, count);
	tp_session_row_deinit(&session);
	tp_image_row_deinit(&image);
	tp_records_close(records);
	return err;
}

/* --- figures --- */

static void add_time(struct records *r, const char *level, const char *what, uint64_t start_ns)
{
	bench_add_to(r->b, level, what, "ns", (double)(tp_now_ns() - start_ns));
}

static struct torpor_error *time_get(
	struct records *r, const char *level, const char *what, const char *path)
{
	TP_FREE char *text = NULL;
	uint64_t start = tp_now_ns();

	TP_TRY(torpor_client_request(
		r->host.client, "GET", path, NULL, &r->b->options->call, NULL, &text));
	add_time(r, level, what, start);
	return NULL;
}

static struct torpor_error *time_claim(struct records *r, const char *level)
{
	struct torpor_remote_session session = {0};
	uint64_t answer_ns;

	TP_TRY(bench_host_claim(r->b, &r->host, &session, &answer_ns));
	bench_add_to(r->b, level, "claim", "ns", (double)answer_ns);
	struct torpor_error *err = bench_host_destroy(r->b, &r->host, session.id);
	torpor_remote_session_deinit(&session);
	return err;
}

/* One of them, each time another one; it is parked again. */
static struct torpor_error *time_resume(struct records *r, const char *level, unsigned int sample)
{
	TP_FREE char *id = tp_asprintf(COPY_ID, (unsigned int)(sample * 7919ull % r->copies));
	const struct torpor_call *call = &r->b->options->call;
	uint64_t start = tp_now_ns();

	TP_TRY(torpor_client_resume(r->host.client, id, call, NULL));
	add_time(r, level, "resume", start);
	return torpor_client_park(r->host.client, id, call, NULL);
}

static struct torpor_error *measure_one(struct records *r, const char *level, unsigned int sample)
{
	TP_FREE char *path = tp_asprintf("/v1/sessions/%s", r->original);

	TP_TRY(bench_host_stocked(r->b, &r->host));
	TP_TRY(bench_settle(r->b));
	TP_TRY(time_get(r, level, "list", "/v1/sessions"));
	TP_TRY(time_get(r, level, "show", path));
	TP_TRY(time_claim(r, level));
	TP_TRY(bench_host_stocked(r->b, &r->host));
	TP_TRY(bench_settle(r->b));
	return time_resume(r, level, sample);
}

static bool count(void *data, const struct torpor_remote_session *session)
{
	(void)session;
	++*(unsigned int *)data;
	return true;
}

/* What goes over all of them: every page of the list, the sweep of files, a restart. */
static struct torpor_error *measure_all(struct records *r, const char *level)
{
	TP_FD int images = open(r->images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned int listed = 0;
	uint64_t took_ns;

	if (images < 0)
		return tp_error_errno(errno, "open", r->images);
	TP_TRY(bench_settle(r->b));
	uint64_t start = tp_now_ns();
	TP_TRY(torpor_client_list(r->host.client, NULL, &r->b->options->call, count, &listed));
	add_time(r, level, "list_all", start);
	if (listed < r->copies)
		return tp_error(
			TORPOR_E_INTERNAL, "list", "sessions", "%u of %u came", listed, r->copies);
	start = tp_now_ns();
	TP_TRY(tp_image_sweep(images, NULL, NULL, NULL));
	add_time(r, level, "sweep", start);
	TP_TRY(bench_host_restart(r->b, &r->host, &took_ns));
	bench_add_to(r->b, level, "restart", "ns", (double)took_ns);
	return NULL;
}

/* On the disk: of an image, and of a session in the records. */
static struct torpor_error *measure_bytes(struct records *r, const char *level)
{
	TP_FREE char *image = tp_asprintf("%s/" COPY_ID, r->images, 0);
	TP_FREE char *records = tp_asprintf("%s/records.db", r->host.dir);
	struct stat image_st;
	struct stat records_st;

	if (stat(image, &image_st) < 0)
		return tp_error_errno(errno, "look at", image);
	if (stat(records, &records_st) < 0)
		return tp_error_errno(errno, "look at", records);
	bench_add_to(r->b, level, "image", "bytes", (double)image_st.st_blocks * 512);
	bench_add_to(
		r->b, level, "row", "bytes", (double)records_st.st_blocks * 512 / (r->copies + 1));
	bench_add_to(r->b, level, "sessions", "sessions", r->copies + 1);
	return NULL;
}

static struct torpor_error *measure_level(struct records *r, const char *level, unsigned int count)
{
	TP_TRY(bench_host_halt(&r->host));
	TP_TRY(add_copies(r, count));
	TP_TRY(measure_bytes(r, level));
	TP_TRY(bench_host_run(r->b, &r->host));
	for (unsigned int i = 0; i < r->b->n; i++)
		TP_TRY(measure_one(r, level, i));
	for (unsigned int i = 0; i < REPEATS; i++)
		TP_TRY(measure_all(r, level));
	bench_say("daemon_records: %u parked sessions", count);
	return NULL;
}

/* What touches one session mustn't grow with all; the rest is told, per session. */
static void judge(struct bench *b)
{
	static const char *const figures[] = {"list", "show", "claim", "resume"};

	for (size_t i = 0; i < TP_ARRAY_LEN(figures); i++) {
		TP_FREE char *few = tp_asprintf("%s.%s", levels[0].name, figures[i]);
		double base = bench_percentile(b, few, 50);
		for (size_t k = 1; base > 0 && k < TP_ARRAY_LEN(levels); k++) {
			TP_FREE char *more = tp_asprintf("%s.%s", levels[k].name, figures[i]);
			TP_FREE char *verdict =
				tp_asprintf("ratio_%s_%s", levels[k].name, figures[i]);
			bench_judge(b, verdict, "ratio", bench_percentile(b, more, 50) / base,
				LIMIT_RATIO);
		}
	}
	/* A start goes over all names; with 10,000 that mustn't be felt. */
	double base = bench_percentile(b, "records_few.restart", 50);
	if (base > 0)
		bench_judge(b, "ratio_records_many_restart", "ratio",
			bench_percentile(b, "records_many.restart", 50) / base, LIMIT_RATIO);
}

static struct torpor_error *park_original(struct records *r)
{
	struct torpor_remote_session session = {0};
	uint64_t answer_ns;

	TP_TRY(bench_host_claim(r->b, &r->host, &session, &answer_ns));
	r->original = tp_strdup(session.id);
	torpor_remote_session_deinit(&session);
	TP_TRY(bench_quiet(r->b, r->b->quiet_ms));
	TP_TRY(torpor_client_park(r->host.client, r->original, &r->b->options->call, NULL));
	TP_FREE char *path = tp_asprintf("%s/%s", r->images, r->original);
	return tp_read_file(AT_FDCWD, path, MAX_IMAGE, &r->image, &r->image_len);
}

static struct torpor_error *measure(struct records *r)
{
	TP_TRY(bench_host_start(r->b, &r->host));
	r->images = tp_asprintf("%s/images", r->host.dir);
	TP_TRY(park_original(r));
	for (size_t i = 0; i < TP_ARRAY_LEN(levels); i++)
		TP_TRY(measure_level(r, levels[i].name, bench_scaled(r->b, levels[i].sessions)));
	judge(r->b);
	return NULL;
}

struct torpor_error *bench_run_daemon_records(struct bench *b)
{
	struct records r = {.b = b, .host = {.notify_fd = -1}};

	struct torpor_error *err = measure(&r);
	/* Not one by one: the directory goes, and with it all records. */
	if (r.host.client)
		r.host.client = torpor_client_close(r.host.client);
	bench_host_deinit(&r.host);
	free(r.images);
	free(r.original);
	free(r.image);
	return bench_sample_done(b, "daemon_records", err);
}
