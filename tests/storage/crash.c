/* SPDX-License-Identifier: Apache-2.0 */
/* Power cuts, failing disks and dead writers: an image is there whole, or not at all. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "storage/io.h"
#include "storage/temp_file.h"
#include "support.h"

static struct world world;

static void setup(void)
{
	world_init(&world);
}

static void teardown(void)
{
	tp_io_set_hook(NULL, NULL);
	tp_io_force_sync(false);
	cr_expect_eq(tp_staging_usage(world.staging).used_bytes, 0);
	world_deinit(&world);
}

TestSuite(crash, .init = setup, .fini = teardown, .timeout = 50);

/* Large enough for several output buffers and an extended reservation. */
static const struct spec large = {.kind = TP_IMAGE_FULL,
	.base_fd = -1,
	.space_pages = 1501,
	.n_pages = 1500,
	.version = 3,
	.device = "device",
	.device_len = 6,
	.level = TP_IMAGE_LEVEL_STORE,
	.reserve = 1 << 20};
static const struct spec small = {.kind = TP_IMAGE_FULL,
	.base_fd = -1,
	.space_pages = 11,
	.n_pages = 10,
	.version = 3,
	.reserve = 4096};
static const struct spec old = {
	.kind = TP_IMAGE_FULL, .base_fd = -1, .space_pages = 6, .n_pages = 5, .version = 4};

/* What was done to the file, in order. */
struct step {
	enum tp_io_op op;
	struct tp_buf data;
	uint64_t offset;
};

static struct {
	pthread_mutex_t lock;
	struct step *steps;
	size_t n;
} recorded = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int record(void *data, struct tp_io_event *event)
{
	(void)data;
	pthread_mutex_lock(&recorded.lock);
	recorded.steps = tp_reallocarray(recorded.steps, recorded.n + 1, sizeof(struct step));
	struct step *step = &recorded.steps[recorded.n++];
	*step = (struct step){.op = event->op, .offset = event->offset};
	if (event->op == TP_IO_WRITE) {
		/* Every third write is a short one. */
		if (recorded.n % 3 == 0)
			event->len = TP_DIV_UP(event->len, 2);
		tp_buf_put(&step->data, event->data, event->len);
	} else if (event->op == TP_IO_ALLOCATE) {
		step->offset += event->len;
	}
	pthread_mutex_unlock(&recorded.lock);
	return 0;
}

static void forget(void)
{
	for (size_t i = 0; i < recorded.n; i++)
		tp_buf_deinit(&recorded.steps[i].data);
	free(recorded.steps);
	recorded.steps = NULL;
	recorded.n = 0;
}

/* A disk after a power cut: what is on it for sure, and what may have got there. */
struct disk {
	struct tp_buf synced; /* the new file's content */
	struct tp_buf issued;
	bool name_synced; /* whether NAME is the new file */
	bool name_issued;
};

static void set_size(struct tp_buf *buf, uint64_t size)
{
	if (size > buf->len) {
		size_t more = (size_t)size - buf->len;
		memset(tp_buf_extend(buf, more), 0, more);
	}
	buf->len = (size_t)size;
}

static void play(struct disk *disk, const struct step *step)
{
	switch (step->op) {
	case TP_IO_WRITE:
		set_size(&disk->issued, TP_MAX(disk->issued.len, step->offset + step->data.len));
		memcpy(disk->issued.data + step->offset, step->data.data, step->data.len);
		break;
	case TP_IO_ALLOCATE:
		set_size(&disk->issued, TP_MAX(disk->issued.len, step->offset));
		break;
	case TP_IO_TRUNCATE:
		set_size(&disk->issued, step->offset);
		break;
	case TP_IO_SYNC:
		disk->synced.len = 0;
		tp_buf_put(&disk->synced, disk->issued.data, disk->issued.len);
		break;
	case TP_IO_RENAME:
		disk->name_issued = true;
		break;
	case TP_IO_SYNC_DIR:
		disk->name_synced = disk->name_issued;
		break;
	default:
		break;
	}
}

/* After a cut, NAME is what it was, or the new image, complete: whatever got to the disk. */
static void check_disk(const struct disk *disk, const struct tp_buf *complete, size_t cut)
{
	/* The directory may be ahead of the sync, the content too, each for itself. */
	const struct tp_buf *contents[] = {&disk->synced, &disk->issued};

	if (!disk->name_issued)
		return;
	for (size_t i = 0; i < TP_ARRAY_LEN(contents); i++)
		cr_assert(contents[i]->len == complete->len &&
				  memcmp(contents[i]->data, complete->data, complete->len) == 0,
			"cut after step %zu: NAME isn't a whole image", cut);
}

static void cut_everywhere(const struct spec *spec)
{
	struct disk disk = {0};
	struct tp_buf complete = {0};
	size_t len;

	tp_io_set_hook(record, NULL);
	must(write_image(&world, "image", spec, &forever, NULL));
	tp_io_set_hook(NULL, NULL);
	read_back(&world, "image", spec, spec->n_pages, true);
	TP_FREE uint8_t *data = slurp(&world, "image", &len);
	tp_buf_put(&complete, data, len);
	for (size_t cut = 0; cut < recorded.n; cut++) {
		play(&disk, &recorded.steps[cut]);
		check_disk(&disk, &complete, cut);
	}
	cr_assert(disk.name_synced, "a commit that succeeded is durable");
	tp_buf_deinit(&complete);
	tp_buf_deinit(&disk.synced);
	tp_buf_deinit(&disk.issued);
	forget();
}

Test(crash, power_cut_at_every_step)
{
	for (int sync = 0; sync < 2; sync++) {
		tp_io_force_sync(sync);
		cut_everywhere(&large);
		cut_everywhere(&small);
	}
}

/* An image that the header was written to, but not all that it points to, is refused. */
Test(crash, the_header_is_written_last)
{
	size_t last_write = 0;

	tp_io_set_hook(record, NULL);
	must(write_image(&world, "image", &large, &forever, NULL));
	tp_io_set_hook(NULL, NULL);
	for (size_t i = 0; i < recorded.n; i++)
		if (recorded.steps[i].op == TP_IO_WRITE)
			last_write = i;
	/* It may have been cut in two, so it is its end that shows. */
	cr_assert_leq(recorded.steps[last_write].offset, sizeof(struct tp_format_header));
	forget();
}

/* The disk fails at the Nth operation of a kind; `dead`: and so does everything behind. */
static struct {
	enum tp_io_op op;
	int errnum;
	bool dead;
	_Atomic unsigned int left;
	_Atomic bool hit;
} fault;

static int fail_nth(void *data, struct tp_io_event *event)
{
	(void)data;
	if (fault.hit && fault.dead)
		return fault.errnum;
	if (event->op != fault.op || fault.hit || fault.left-- > 0)
		return 0;
	fault.hit = true;
	return fault.errnum;
}

/*
 * Lets the Nth operation fail, for each N in turn, until there is no Nth. Calls AFTER after each,
 * with the result.
 */
static void fail_each(enum tp_io_op op, int errnum, const struct spec *spec,
	void (*after)(enum torpor_errc code, const struct spec *spec))
{
	bool hit = true;

	for (unsigned int n = 0; hit; n++) {
		fault.op = op;
		fault.errnum = errnum;
		fault.left = n;
		fault.hit = false;
		tp_io_set_hook(fail_nth, NULL);
		enum torpor_errc code = code_of(write_image(&world, "image", spec, &forever, NULL));
		tp_io_set_hook(NULL, NULL);
		hit = fault.hit;
		/* Where room can't be extended, the writing goes on as long as it can. */
		if (code == 0 && hit)
			cr_assert(op == TP_IO_ALLOCATE && errnum == ENOSPC && n > 0);
		else if (hit)
			cr_assert_eq(code, errnum == ENOSPC ? TORPOR_E_NOSPACE : TORPOR_E_IO);
		after(code, spec);
	}
}

static void nothing_is_left(enum torpor_errc code, const struct spec *spec)
{
	(void)spec;
	cr_assert_eq(count_files(&world), code == 0);
	unlinkat(world.dirfd, "image", 0);
}

static const enum tp_io_op writing_ops[] = {TP_IO_CREATE, TP_IO_ALLOCATE, TP_IO_WRITE,
	TP_IO_TRUNCATE, TP_IO_SYNC, TP_IO_RENAME, TP_IO_SYNC_DIR};

Test(crash, a_failure_at_any_operation_leaves_nothing)
{
	for (int sync = 0; sync < 2; sync++) {
		tp_io_force_sync(sync);
		for (size_t i = 0; i < TP_ARRAY_LEN(writing_ops); i++) {
			fail_each(writing_ops[i], EIO, &large, nothing_is_left);
			fail_each(writing_ops[i], ENOSPC, &large, nothing_is_left);
			fail_each(writing_ops[i], EIO, &small, nothing_is_left);
		}
	}
}

static void old_or_new(enum torpor_errc code, const struct spec *spec)
{
	cr_assert_eq(count_files(&world), 1);
	if (code == 0 || fault.op == TP_IO_SYNC_DIR)
		read_back(&world, "image", spec, spec->n_pages, true);
	else
		read_back(&world, "image", &old, old.n_pages, true);
	must(write_image(&world, "image", &old, &forever, NULL));
}

Test(crash, a_failure_at_any_operation_keeps_the_older_image)
{
	must(write_image(&world, "image", &old, &forever, NULL));
	for (size_t i = 0; i < TP_ARRAY_LEN(writing_ops); i++)
		fail_each(writing_ops[i], EIO, &large, old_or_new);
}

static void swept(enum torpor_errc code, const struct spec *spec)
{
	unsigned int removed = 0;
	bool published = code == 0 || fault.op == TP_IO_SYNC_DIR;

	must(tp_image_sweep(world.dirfd, NULL, NULL, &removed));
	cr_assert_eq(removed, !published && fault.op != TP_IO_CREATE);
	cr_assert_eq(count_files(&world), published);
	if (published)
		read_back(&world, "image", spec, spec->n_pages, true);
	unlinkat(world.dirfd, "image", 0);
}

/* From the fault on nothing works any more, not even cleaning up, as when the process dies. */
Test(crash, what_a_dead_writer_leaves_is_swept)
{
	fault.dead = true;
	for (size_t i = 0; i < TP_ARRAY_LEN(writing_ops); i++)
		if (writing_ops[i] != TP_IO_ALLOCATE)
			fail_each(writing_ops[i], EIO, &large, swept);
}

/* A disk with room for so many bytes. */
static _Atomic int64_t room;

static int full_disk(void *data, struct tp_io_event *event)
{
	(void)data;
	if (event->op == TP_IO_ALLOCATE)
		return EOPNOTSUPP; /* not reached: room is never reserved here */
	if (event->op != TP_IO_WRITE)
		return 0;
	int64_t before = atomic_fetch_sub(&room, (int64_t)event->len);
	if (before <= 0)
		return ENOSPC;
	event->len = TP_MIN(event->len, (size_t)before);
	return 0;
}

Test(crash, a_full_disk_leaves_nothing)
{
	struct spec spec = large;

	spec.reserve = 0;
	for (int64_t bytes = 0; bytes < 6000000; bytes += 499999) {
		room = bytes;
		tp_io_set_hook(full_disk, NULL);
		cr_assert_eq(code_of(write_image(&world, "image", &spec, &forever, NULL)),
			TORPOR_E_NOSPACE);
		tp_io_set_hook(NULL, NULL);
		cr_assert_eq(count_files(&world), 0);
	}
}

Test(crash, a_failing_read_is_reported)
{
	must(write_image(&world, "image", &large, &forever, NULL));
	for (unsigned int n = 0; n < 8; n++) {
		struct check_sink sink = {.version = large.version};
		struct tp_image *image = NULL;
		fault.op = TP_IO_READ;
		fault.errnum = EIO;
		fault.left = n;
		fault.hit = false;
		tp_io_set_hook(fail_nth, NULL);
		struct torpor_error *err = tp_image_open(world.dirfd, "image", &forever, &image);
		if (!err)
			err = tp_image_load(image, -1, world.workers, check_sink, &sink, &forever);
		tp_io_set_hook(NULL, NULL);
		cr_assert(fault.hit);
		cr_assert_eq(code_of(err), TORPOR_E_IO);
		tp_image_close(image);
	}
}

static int shorten_reads(void *data, struct tp_io_event *event)
{
	(void)data;
	if (event->op == TP_IO_READ)
		event->len = TP_DIV_UP(event->len, 3);
	return 0;
}

Test(crash, short_reads_are_continued)
{
	must(write_image(&world, "image", &large, &forever, NULL));
	for (int sync = 0; sync < 2; sync++) {
		tp_io_force_sync(sync);
		tp_io_set_hook(shorten_reads, NULL);
		read_back(&world, "image", &large, large.n_pages, true);
		tp_io_set_hook(NULL, NULL);
	}
}

Test(crash, sweeping_spares_files_in_use)
{
	struct tp_image_writer_options options = spec_options(&world, "image", &large);
	struct tp_image_meta meta = spec_meta(&large);
	struct tp_image_writer *writer;
	unsigned int removed;

	must(tp_image_writer_new(&options, &forever, &writer));
	must(tp_image_sweep(world.dirfd, NULL, NULL, &removed));
	cr_assert_eq(removed, 0);
	must(put_pages(writer, &large, &forever));
	must(tp_image_sweep(world.dirfd, NULL, NULL, &removed));
	cr_assert_eq(removed, 0);
	must(tp_image_writer_commit(writer, &meta, &forever, NULL));
	tp_image_writer_free(writer);
	read_back(&world, "image", &large, large.n_pages, true);
}

/* A process creates one and is killed while it has a child, which closes it a moment later. */
static void leave_to_a_child(void)
{
	int pipe_fds[2];
	char *name;
	int fd;
	char byte;

	cr_assert_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	pid_t writer = fork();
	if (writer == 0) {
		must(tp_temp_create(world.dirfd, "image", &fd, &name));
		if (fork() == 0) {
			close(pipe_fds[0]);
			close(pipe_fds[1]);
			poll(NULL, 0, 100);
			_exit(0);
		}
		raise(SIGKILL);
	}
	close(pipe_fds[1]);
	/* Nobody writes: it ends once the writer has. */
	cr_assert_eq(read(pipe_fds[0], &byte, 1), 0);
	close(pipe_fds[0]);
	cr_assert_eq(waitpid(writer, NULL, 0), writer);
}

Test(crash, sweeping_waits_for_what_a_killed_writer_left_to_a_child)
{
	unsigned int removed;

	leave_to_a_child();
	must(tp_image_sweep(world.dirfd, NULL, NULL, &removed));
	cr_assert_eq(removed, 1);
	cr_assert_eq(count_files(&world), 0);
}

static void see(void *data, const char *name)
{
	unsigned int *seen = data;

	cr_assert(strcmp(name, "image") == 0 || strcmp(name, "image.0123456789abcdef.part") == 0,
		"%s", name);
	++*seen;
}

Test(crash, sweeping_touches_only_temporary_files)
{
	static const char *const foreign[] = {"image", ".image.part",
		".image.0123456789abcdeg.part", "image.0123456789abcdef.part",
		".0123456789abcdef.part", ".x.0123456789abcdef.par"};
	unsigned int removed;
	unsigned int seen = 0;

	for (size_t i = 0; i < TP_ARRAY_LEN(foreign); i++)
		spit(&world, foreign[i], "x", 1);
	spit(&world, ".image.0123456789abcdef.part", "x", 1);
	cr_assert_eq(symlinkat("image", world.dirfd, ".link.0123456789abcdef.part"), 0);
	cr_assert_eq(mkfifoat(world.dirfd, ".fifo.0123456789abcdef.part", 0600), 0);
	must(tp_image_sweep(world.dirfd, see, &seen, &removed));
	cr_assert_eq(removed, 1);
	cr_assert_eq(seen, 2, "names without a dot before them are told");
	cr_assert_eq(count_files(&world), TP_ARRAY_LEN(foreign) + 2);
	cr_assert_eq(code_of(tp_image_sweep(-1, NULL, NULL, &removed)), TORPOR_E_IO);
}
