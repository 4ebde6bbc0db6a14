/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers, writers and readers all at once, for a race detector: build with -Db_sanitize=thread.
 *
 * Several threads write, give up, read and compute identities on the same workers and the same,
 * very small staging memory, while another sweeps and trims. A plain program, since Criterion's
 * processes and the race detector don't go together.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "storage/io.h"
#include "support.h"

#define THREADS 4
#define ROUNDS	12
#define PAGES	1200

static struct world world;
static int base;
static atomic_bool over;

static struct spec spec_for(int who, int round)
{
	bool session = (who + round) % 2;

	return (struct spec){.kind = session ? TP_IMAGE_SESSION : TP_IMAGE_FULL,
		.base_fd = session ? base : -1,
		.space_pages = PAGES + 1,
		.n_pages = PAGES,
		.version = (uint64_t)(who * ROUNDS + round) + 10,
		.device = "device",
		.device_len = 6,
		.reserve = round % 3 ? TP_MIB : 0};
}

/* Starts an image and gives it up. */
static void give_up(const struct spec *spec, const char *name)
{
	struct tp_call call = {.deadline_ns = TP_NO_DEADLINE, .cancel_fd = eventfd(0, EFD_CLOEXEC)};
	struct tp_image_writer_options options = spec_options(&world, name, spec);
	struct tp_image_meta meta = spec_meta(spec);
	struct tp_image_writer *writer;

	must(tp_image_writer_new(&options, &forever, &writer));
	must(put_pages(writer, spec, &forever));
	eventfd_write(call.cancel_fd, 1);
	if (code_of(tp_image_writer_commit(writer, &meta, &call, NULL)) != TORPOR_E_CANCELLED)
		abort();
	tp_image_writer_free(writer);
	close(call.cancel_fd);
}

static struct torpor_error *failing_sink(
	void *data, const uint64_t *pages, const uint8_t *bytes, unsigned int n)
{
	(void)data;
	(void)bytes;
	(void)n;
	return pages[0] < 500 ? NULL : tp_error(TORPOR_E_LIMIT, "sink", NULL, "enough");
}

static void fail_to_load(const char *name, int base_fd)
{
	struct tp_image *image;

	must(tp_image_open(world.dirfd, name, &forever, &image));
	if (code_of(tp_image_load(image, base_fd, world.workers, failing_sink, NULL, &forever)) !=
		TORPOR_E_LIMIT)
		abort();
	tp_image_close(image);
}

static void *work(void *arg)
{
	int who = (int)(intptr_t)arg;
	char name[16];

	snprintf(name, sizeof(name), "image%d", who);
	for (int round = 0; round < ROUNDS; round++) {
		struct spec spec = spec_for(who, round);
		struct tp_image_meta meta = spec_meta(&spec);
		uint8_t id[TP_IDENTITY_LEN];
		must(write_image(&world, name, &spec, &forever, NULL));
		read_back(&world, name, &spec, PAGES, round % 2);
		if (round % 3 == 0)
			give_up(&spec, name);
		if (round % 3 == 1)
			fail_to_load(name, spec.base_fd);
		if (round % 4 == 0)
			must(tp_identity_compute(base, &meta, world.workers, &forever, id));
	}
	return NULL;
}

static void *meddle(void *arg)
{
	(void)arg;
	while (!atomic_load(&over)) {
		/* It may sweep a file that was created but not yet locked; the writer copes. */
		must(tp_image_sweep(world.dirfd, NULL, NULL, NULL));
		tp_staging_trim(world.staging, 0);
		sched_yield();
	}
	return NULL;
}

static void must_start(int error)
{
	if (error) {
		fprintf(stderr, "no thread can be started: %s\n", strerror(error));
		abort();
	}
}

static void run(bool sync)
{
	pthread_t threads[THREADS];
	pthread_t meddler;

	tp_io_force_sync(sync);
	atomic_store(&over, false);
	must_start(pthread_create(&meddler, NULL, meddle, NULL));
	for (int i = 0; i < THREADS; i++)
		must_start(pthread_create(&threads[i], NULL, work, (void *)(intptr_t)i));
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&over, true);
	pthread_join(meddler, NULL);
}

int main(void)
{
	world_init(&world);
	tp_staging_free(world.staging);
	must(tp_staging_new(1, &world.staging));
	base = make_base(PAGES + 1, 3);
	run(false);
	run(true);
	if (tp_staging_usage(world.staging).used_bytes != 0)
		abort();
	close(base);
	world_deinit(&world);
	return 0;
}
