/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the engine, where no guest is needed for it. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "pool/build.h"
#include "pool/engine.h"
#include "pool/template.h"

#define TEMPLATES 300
#define HALF	  "images/.half.0123456789abcdef.part"

static char *dir;

static void set_up(void)
{
	const char *tmp = getenv("TMPDIR");

	dir = tp_asprintf("%s/torpor-engine-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert_not_null(mkdtemp(dir));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void tear_down(void)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(dir);
}

TestSuite(engine, .init = set_up, .fini = tear_down);

static void leave_half_an_image(void)
{
	TP_FREE char *images = tp_asprintf("%s/images", dir);
	TP_FREE char *path = tp_asprintf("%s/" HALF, dir);

	cr_assert_eq(mkdir(images, 0700), 0);
	TP_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
}

static bool has_half_an_image(void)
{
	TP_FREE char *path = tp_asprintf("%s/" HALF, dir);

	return access(path, F_OK) == 0;
}

Test(engine, opening_removes_what_was_half_written)
{
	struct torpor_engine_options options = {.state_dir = dir};
	struct torpor_engine *engine;

	leave_half_an_image();
	cr_assert_null(torpor_engine_open(&options, &engine));
	cr_assert_not(has_half_an_image());
	torpor_engine_close(engine);
}

Test(engine, opening_leaves_that_to_who_wants_to_do_it)
{
	struct torpor_engine_options options = {.state_dir = dir};
	struct torpor_engine *engine;

	leave_half_an_image();
	cr_assert_null(tp_engine_open_unswept(&options, &engine));
	cr_assert(has_half_an_image());
	torpor_engine_close(engine);
}

/* --- Templates that are removed, by several processes --- */

static void make_dir(const char *name)
{
	static const char *const files[] = {TEMPLATE_IMAGE, TEMPLATE_KERNEL};
	TP_FREE char *path = tp_asprintf("%s/templates/%s", dir, name);

	cr_assert_eq(mkdir(path, 0700), 0);
	for (size_t i = 0; i < TP_ARRAY_LEN(files); i++) {
		TP_FREE char *file = tp_asprintf("%s/%s", path, files[i]);
		TP_FD int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		cr_assert_geq(fd, 0);
	}
}

static atomic_bool sweeping = true;

static void *sweep_all_the_time(void *engine)
{
	while (atomic_load(&sweeping))
		torpor_error_free(tp_template_sweep(engine));
	return NULL;
}

Test(engine, a_template_is_removed_beside_another_ones_sweep)
{
	struct torpor_engine_options options = {.state_dir = dir};
	struct torpor_engine *engine, *other;
	pthread_t thread;

	cr_assert_null(torpor_engine_open(&options, &engine));
	cr_assert_null(torpor_engine_open(&options, &other));
	cr_assert_eq(pthread_create(&thread, NULL, sweep_all_the_time, other), 0);
	for (int i = 0; i < TEMPLATES; i++) {
		make_dir("t");
		struct torpor_error *err = torpor_template_remove(engine, "t");
		cr_assert_null(err, "%s", torpor_error_message(err));
	}
	atomic_store(&sweeping, false);
	pthread_join(thread, NULL);
	torpor_engine_close(other);
	torpor_engine_close(engine);
}

Test(engine, a_template_is_removed_behind_a_removal_that_was_broken_off)
{
	struct torpor_engine_options options = {.state_dir = dir};
	struct torpor_engine *engine;

	cr_assert_null(torpor_engine_open(&options, &engine));
	make_dir("." TEMPLATE_PART_PREFIX "t");
	make_dir("t");
	cr_assert_null(torpor_template_remove(engine, "t"));
	struct torpor_error *err = torpor_template_remove(engine, "t");
	cr_assert_eq(torpor_error_code(err), TORPOR_E_NOT_FOUND);
	torpor_error_free(err);
	torpor_engine_close(engine);
}

/* It would be stored in JSON, once the guest has booted. */
Test(engine, a_command_line_that_is_not_utf8_is_refused)
{
	struct torpor_engine_options options = {.state_dir = dir};
	struct torpor_template_spec spec = {
		.name = "t", .kernel = "/no/such/kernel", .append = "console=\xff"};
	struct torpor_engine *engine;
	struct torpor_template *tmpl;

	cr_assert_null(torpor_engine_open(&options, &engine));
	struct torpor_error *err =
		torpor_template_build(engine, &spec, NULL, NULL, NULL, NULL, &tmpl);
	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_INVALID, "%s", torpor_error_message(err));
	torpor_error_free(err);
	torpor_engine_close(engine);
}
