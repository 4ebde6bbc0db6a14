/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whatever a guest does to its memory: what is loaded is what was parked. All of guest memory is
 * compared, as QEMU itself tells it, between the stopped guest and the loaded one before it runs.
 *
 * TORPOR_TEST_SEED repeats a run; TORPOR_TEST_ROUNDS sets how long it is.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "inside.h"
#include "support.h"

#define ROUNDS	    12
#define ROUNDS_FULL 2

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

TestSuite(property, .init = open_all, .fini = close_all, .timeout = 550);

static uint64_t number_from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static uint64_t choose_seed(void)
{
	uint64_t seed = number_from_environment("TORPOR_TEST_SEED", tp_realtime_ns());

	fprintf(stderr, "TORPOR_TEST_SEED=%ju\n", (uintmax_t)seed);
	return seed;
}

/* Brings the program into the guest. */
static void install(struct torpor_session *session)
{
	static const char *const argv[] = {"sh", "-c", "cat > /mutate && chmod 755 /mutate", NULL};
	int fd = open(MUTATE, O_RDONLY | O_CLOEXEC);
	struct torpor_exec exec = {.argv = argv, .stdin_fd = fd, .has_stdin = true};
	struct torpor_exec_result result;

	cr_assert_geq(fd, 0, "no %s", MUTATE);
	it_ok(torpor_session_exec(session, &exec, NULL, &result));
	cr_assert(result.exited && result.status == 0);
	close(fd);
}

/* Runs the program with a seed: BEFORE and AFTER are what stands beside it on the command line. */
static void run(
	struct torpor_session *session, const char *before, uint64_t seed, const char *after)
{
	TP_FREE char *script = tp_asprintf("/mutate %s%ju %s", before, (uintmax_t)seed, after);

	it_run(session, script);
}

/* The process in the background goes on, and finds its memory as it was. */
static void check_background(struct torpor_session *session)
{
	it_run(session, "n=$(cat /tmp/m/rounds); "
			"while [ \"$(cat /tmp/m/rounds)\" = \"$n\" ] && [ ! -e /tmp/m/broken ]; do "
			"sleep 0.05; done; test ! -e /tmp/m/broken");
}

/* One park and resume, with the memory compared that an image gives by each way of loading. */
static void round_trip(struct torpor_session *session, uint64_t round)
{
	static const enum tp_path paths[] = {TP_PATH_DIRECT, TP_PATH_STREAM};
	struct torpor_park_report park;
	struct torpor_session_info info;

	it_ok(torpor_session_info(session, &info));
	in_stop(session);
	struct in_ram before = in_ram_read(session->guest, &session->record.guest);
	/* All four ways come by within four rounds. */
	engine->capture.path = paths[round % 2];
	it_ok(torpor_session_park(session, NULL, &park));
	fprintf(stderr, "round %ju: %ju pages by %s\n", (uintmax_t)round, (uintmax_t)park.pages,
		tp_path_name((enum tp_path)park.path));

	engine->capture.path = paths[round / 2 % 2];
	struct tp_shell *shell = in_restore(session, info.name, engine->capture.path);
	struct in_ram after = in_ram_read(shell->guest, &session->record.guest);
	TP_FREE char *what = tp_asprintf("round %ju", (uintmax_t)round);
	in_ram_compare(&before, &after, what);
	in_ram_deinit(&before);
	in_ram_deinit(&after);
	tp_shell_free(shell);
	it_ok(torpor_session_resume(session, NULL, NULL));
}

static void do_rounds(struct torpor_session *session, uint64_t seed, uint64_t rounds)
{
	install(session);
	run(session, "-b ", seed, "/tmp/m");
	it_run(session, "while [ ! -s /tmp/m/rounds ]; do sleep 0.05; done");
	for (uint64_t round = 0; round < rounds; round++) {
		run(session, "", ++seed, "/tmp/f && sha256sum /tmp/f/* > /sums");
		round_trip(session, round);
		it_run(session, "sha256sum -c /sums");
		check_background(session);
	}
}

Test(property, what_is_loaded_is_what_was_parked)
{
	struct torpor_session *session = it_start(tmpl);

	do_rounds(session, choose_seed(), number_from_environment("TORPOR_TEST_ROUNDS", ROUNDS));
	it_ok(torpor_session_destroy(session, NULL));
}

/* The same for a guest that has booted by itself, whose image is of all its memory. */
Test(property, a_guest_without_base_is_whole_too)
{
	struct torpor_session *session = it_start(tmpl);

	in_reboot(session);
	do_rounds(session, choose_seed(), ROUNDS_FULL);
	it_ok(torpor_session_destroy(session, NULL));
}
