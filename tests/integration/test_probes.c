/* SPDX-License-Identifier: Apache-2.0 */
/* Probes are passed in the order that the manual tells, by those that it says. */
#include <stdio.h>
#include <string.h>

#include "passed.h"
#include "pool/session.h"
#include "support.h"

/* What all images have once their pages are there. */
#define IMAGE "image__packed image__written image__synced image__durable"
#define SAVE_DIRECT                                                                                \
	"save__begin save__prepared save__reserved save__stopped save__devices save__scanned "     \
	"save__copied save__captured"
#define WAKE_LOADED                                                                                \
	"wake__process wake__pages wake__loaded wake__placed wake__running wake__submitted "       \
	"wake__fresh wake__ready"
#define WAKE_WARM                                                                                  \
	"wake__begin wake__process wake__placed wake__running wake__submitted wake__fresh "        \
	"wake__ready"

static struct torpor_engine *engine;
static struct torpor_template *tmpl;

static void open_path(enum torpor_path path)
{
	engine = it_open_with((struct torpor_engine_options){.path = path});
	tmpl = it_template(engine);
}

static void setup(void)
{
	open_path(TORPOR_PATH_DIRECT);
	cr_assert_gt(it_passed_begin(), 0, "there are no probes in this program");
}

static void teardown(void)
{
	torpor_template_close(tmpl);
	torpor_engine_close(engine);
}

TestSuite(probes, .init = setup, .fini = teardown, .timeout = 300);

/* The value that PROBE had beside WHO. */
static uint64_t told(const char *who, const char *probe)
{
	const struct it_passed *entry = it_passed_find(who, probe);

	cr_assert_not_null(entry, "%s didn't pass %s", who, probe);
	return entry->second;
}

/* Each command was answered, next on its guest; and STOPS of them were `stop`. */
static void check_commands(unsigned int stops)
{
	size_t n;
	const struct it_passed *entries = it_passed(&n);
	unsigned int seen = 0;

	for (size_t i = 0; i < n; i++) {
		size_t next = i + 1;
		if (strcmp(entries[i].probe, "qmp__command") != 0)
			continue;
		while (next < n && (!entries[next].command[0] ||
					   strcmp(entries[next].who, entries[i].who) != 0))
			next++;
		cr_assert_lt(
			next, n, "%s of %s isn't answered", entries[i].command, entries[i].who);
		cr_assert_str_eq(entries[next].probe, "qmp__answer");
		cr_assert_str_eq(entries[next].command, entries[i].command);
		seen += strcmp(entries[i].command, "stop") == 0;
	}
	cr_assert_eq(seen, stops, "%u guests were stopped, not %u", seen, stops);
}

Test(probes, a_park_and_a_resume)
{
	struct torpor_session *session = it_start(tmpl);
	struct torpor_session_info info;
	struct torpor_park_report park;
	struct torpor_resume_report resume;

	it_ok(torpor_session_info(session, &info));
	it_passed_forget();
	it_ok(torpor_session_park(session, NULL, &park));
	cr_assert_str_eq(it_passed_by(info.name),
		"park__begin " SAVE_DIRECT " " IMAGE " park__gone park__end");
	cr_assert_eq(told(info.name, "save__prepared"), TORPOR_PATH_DIRECT);
	cr_assert_eq(told(info.name, "save__scanned"), park.pages_scanned);
	cr_assert_eq(told(info.name, "image__written"), park.image_bytes);
	cr_assert_eq(told(info.name, "park__end"), 0);
	check_commands(1);

	it_passed_forget();
	it_ok(torpor_session_resume(session, NULL, &resume));
	cr_assert_str_eq(it_passed_by(info.name),
		"resume__begin resume__opened wake__begin " WAKE_LOADED " resume__end");
	cr_assert_eq(told(info.name, "resume__opened"), park.image_bytes);
	cr_assert_eq(told(info.name, "wake__process"), TORPOR_SOURCE_SPAWN);
	cr_assert_eq(told(info.name, "wake__running") - told(info.name, "resume__begin"),
		resume.running_ns);
	cr_assert_eq(told(info.name, "wake__fresh"), resume.fresh);
	cr_assert_eq(told(info.name, "wake__ready"), park.pages);
	check_commands(0);
	it_ok(torpor_session_destroy(session, NULL));
}

Test(probes, the_stream_path_has_fewer_steps)
{
	struct torpor_session *session;
	struct torpor_session_info info;

	teardown();
	open_path(TORPOR_PATH_STREAM);
	session = it_start(tmpl);
	it_ok(torpor_session_info(session, &info));
	it_passed_forget();
	it_ok(torpor_session_park(session, NULL, NULL));
	cr_assert_str_eq(it_passed_by(info.name),
		"park__begin save__begin save__prepared save__reserved save__stopped "
		"save__captured " IMAGE " park__gone park__end");
	it_passed_forget();
	it_ok(torpor_session_resume(session, NULL, NULL));
	cr_assert_str_eq(it_passed_by(info.name),
		"resume__begin resume__opened wake__begin wake__process wake__loaded wake__placed "
		"wake__running wake__submitted wake__fresh wake__ready resume__end");
	it_ok(torpor_session_destroy(session, NULL));
}

Test(probes, a_checkpoint_goes_by_its_image)
{
	struct torpor_session *session = it_start(tmpl);
	struct torpor_session_info info;
	const char *image = it_name("checkpoint");
	struct torpor_park_report report;

	it_ok(torpor_session_info(session, &info));
	it_passed_forget();
	it_ok(torpor_session_checkpoint(session, image, NULL, &report));
	cr_assert_str_eq(it_passed_by(info.name), "checkpoint__begin checkpoint__end");
	cr_assert_str_eq(it_passed_by(image), SAVE_DIRECT " save__running " IMAGE);
	cr_assert_eq(told(image, "save__running") - told(image, "save__stopped"), report.pause_ns);
	it_ok(torpor_session_destroy(session, NULL));
}

Test(probes, forks_are_told_apart)
{
	struct torpor_session *session = it_start(tmpl);
	struct torpor_session_info info;
	struct torpor_session_spec specs[] = {{.name = it_name("fork")}, {.name = it_name("fork")}};
	struct torpor_session *forks[2];

	it_ok(torpor_session_info(session, &info));
	it_passed_forget();
	it_ok(torpor_session_fork(session, specs, 2, NULL, NULL, forks));
	cr_assert_str_eq(it_passed_by(info.name), "fork__begin fork__opened fork__end");
	cr_assert_eq(told(info.name, "fork__begin"), 2);
	check_commands(1);
	for (size_t i = 0; i < 2; i++) {
		cr_assert_str_eq(it_passed_by(specs[i].name), "wake__begin " WAKE_LOADED);
		it_ok(torpor_session_destroy(forks[i], NULL));
	}
	it_ok(torpor_session_destroy(session, NULL));
}

Test(probes, a_guest_that_waits_is_nobodys)
{
	struct torpor_session_spec spec = {.name = it_name("it")};
	struct torpor_session *session;

	it_passed_forget();
	it_ok(torpor_template_prepare_warm(tmpl, 1, NULL));
	cr_assert_str_eq(it_passed_by(""), "wake__pages wake__loaded");
	it_passed_forget();
	it_ok(torpor_session_start(tmpl, &spec, NULL, NULL, &session));
	cr_assert_str_eq(it_passed_by(spec.name), WAKE_WARM);
	cr_assert_eq(told(spec.name, "wake__process"), TORPOR_SOURCE_WARM);
	it_ok(torpor_session_destroy(session, NULL));
}

Test(probes, what_fails_says_so)
{
	struct torpor_session *session = it_start(tmpl);
	struct torpor_session_info info;

	it_ok(torpor_session_info(session, &info));
	it_passed_forget();
	it_fails(torpor_session_resume(session, NULL, NULL), TORPOR_E_BUSY);
	cr_assert_str_eq(it_passed_by(info.name), "resume__begin resume__end");
	cr_assert_eq(told(info.name, "resume__end"), 1);
	it_ok(torpor_session_destroy(session, NULL));
}
