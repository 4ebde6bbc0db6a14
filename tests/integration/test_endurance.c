/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What grows: an idle image's size, images of a session that is parked a hundred times, and the
 * engine's own process. Figures go to stderr.
 */
#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "inside.h"
#include "support.h"

#define CYCLES	     100
#define EARLY_CYCLE  10
#define IDLE_SECONDS 5
#define IDLE_BYTES   20480 /* an idle session's image at 256 MiB */
#define WARM_CYCLE   50	   /* compression has made itself at home by then */
#define HEAP_GROWTH  (1024 * 1024)

static struct torpor_engine *engine;
static struct torpor_template *tmpl;

static void open_all(void)
{
	engine = it_open();
	tmpl = it_template(engine);
}

static void close_all(void)
{
	torpor_template_close(tmpl);
	engine = torpor_engine_close(engine);
	cr_assert_eq(it_qemu_children(), 0, "a guest outlived its engine");
}

TestSuite(endurance, .init = open_all, .fini = close_all, .timeout = 900);

/* Quiet as such: time has to pass in the guest. */
static void be_quiet(void)
{
	sleep(IDLE_SECONDS);
}

Test(endurance, an_idle_session_is_small)
{
	struct torpor_session *session = it_start(tmpl);
	struct torpor_park_report park;

	be_quiet();
	it_ok(torpor_session_park(session, NULL, &park));
	fprintf(stderr, "idle for %d s: %ju pages found, %ju stored, %ju bytes of image\n",
		IDLE_SECONDS, (uintmax_t)park.pages_scanned, (uintmax_t)park.pages,
		(uintmax_t)park.image_bytes);
	cr_assert_leq(park.image_bytes, IDLE_BYTES);
	it_ok(torpor_session_destroy(session, NULL));
}

static unsigned int entries_in(const char *path)
{
	DIR *dir = opendir(path);
	unsigned int count = 0;

	cr_assert_not_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static unsigned int entries_in_state(const char *name)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", torpor_engine_state_dir(engine), name);
	return entries_in(path);
}

/* The kernel's flags of a task, as /proc/PID/stat shows them (linux/sched.h). */
#define TASK_EXITING   0x4u
#define TASK_IO_WORKER 0x10u

/* But for those that have been joined and are on their way out, and io_uring's, which the kernel
 * makes as it needs them. */
static unsigned int count_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned int count = 0;

	cr_assert_not_null(dir);
	while ((entry = readdir(dir))) {
		char path[64];
		char line[512] = "";
		unsigned int flags;
		snprintf(path, sizeof(path), "/proc/self/task/%.16s/stat", entry->d_name);
		FILE *f = fopen(path, "re");
		const char *name_end =
			f && fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
		if (name_end && sscanf(name_end, ") %*c %*d %*d %*d %*d %*d %u", &flags) == 1)
			count += !(flags & (TASK_EXITING | TASK_IO_WORKER));
		if (f)
			fclose(f);
	}
	closedir(dir);
	return count;
}

/* Of the engine's process and its directories, between two cycles. */
struct holdings {
	unsigned int fds;
	unsigned int threads;
	unsigned int runs; /* directories of running guests */
	unsigned int images;
	size_t heap; /* bytes in use */
};

static struct holdings count_holdings(void)
{
	struct mallinfo2 heap = mallinfo2();

	return (struct holdings){
		.fds = entries_in("/proc/self/fd"),
		.threads = count_threads(),
		.runs = entries_in_state("run"),
		.images = entries_in_state("images"),
		.heap = heap.uordblks + heap.hblkhd,
	};
}

static void compare_holdings(const struct holdings *early, const struct holdings *late)
{
	fprintf(stderr,
		"engine after %d and %d cycles: %u and %u descriptors, %u and %u threads, "
		"%zu and %zu bytes of heap\n",
		WARM_CYCLE, CYCLES, early->fds, late->fds, early->threads, late->threads,
		early->heap, late->heap);
	cr_assert_eq(early->fds, late->fds);
	cr_assert_eq(early->threads, late->threads);
	cr_assert_eq(early->runs, late->runs);
	cr_assert_eq(early->images, late->images);
	cr_assert_leq(late->heap, early->heap + HEAP_GROWTH);
	cr_assert_eq(it_partial_files(engine), 0);
}

/* The image of the session after a while of quiet. Parks and resumes. */
static uint64_t idle_image(struct torpor_session *session, int cycle)
{
	struct torpor_park_report park;

	be_quiet();
	it_ok(torpor_session_park(session, NULL, &park));
	fprintf(stderr, "cycle %3d, idle: %ju pages, %ju bytes of image\n", cycle,
		(uintmax_t)park.pages, (uintmax_t)park.image_bytes);
	it_ok(torpor_session_resume(session, NULL, NULL));
	return park.image_bytes;
}

static void cycle(struct torpor_session *session)
{
	it_run(session, "echo again >> /cycles");
	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_resume(session, NULL, NULL));
}

Test(endurance, a_hundred_cycles_leave_no_trace)
{
	struct torpor_session *session = it_start(tmpl);
	struct holdings early = {0};
	uint64_t early_bytes = 0;
	uint64_t late_bytes = 0;

	for (int i = 1; i <= CYCLES; i++) {
		cycle(session);
		if (i == EARLY_CYCLE)
			early_bytes = idle_image(session, i);
		else if (i % (CYCLES / 4) == 0)
			late_bytes = idle_image(session, i);
		if (i == WARM_CYCLE)
			early = count_holdings();
	}
	struct holdings late = count_holdings();
	compare_holdings(&early, &late);
	cr_assert_leq(2 * late_bytes, 3 * early_bytes, "an idle image grew from %ju to %ju bytes",
		(uintmax_t)early_bytes, (uintmax_t)late_bytes);
	cr_assert_str_eq(it_run(session, "wc -l < /cycles"), "100");
	in_reboot(session);
	it_run(session, "test ! -e /cycles && touch /works");
	it_ok(torpor_session_destroy(session, NULL));
}
