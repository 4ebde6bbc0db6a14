/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an image can be resumed. What this host's QEMU can do is asked of it, once; so a test that
 * wants another QEMU changes what is kept of its answers (qemu.json), or has a program of its own
 * stand before it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "inside.h"
#include "storage/image_reader.h"
#include "storage/image_writer.h"
#include "support.h"

static struct torpor_engine *engine;
static struct torpor_template *tmpl;

/* What is kept of QEMU's answers, which a test that broke off may have left changed. */
static void forget_answers(void)
{
	TP_FREE char *path = tp_asprintf("%s/qemu.json", engine->state_dir);

	unlink(path);
}

static void open_all(void)
{
	engine = it_open();
	forget_answers();
	tmpl = it_template(engine);
}

static void close_all(void)
{
	tmpl = torpor_template_close(tmpl);
	engine = torpor_engine_close(engine);
	cr_assert_eq(it_qemu_children(), 0, "a guest outlived its engine");
}

TestSuite(where, .init = open_all, .fini = close_all, .timeout = 290);

static const struct torpor_need *need_of(const struct torpor_where *where, const char *subject)
{
	for (size_t i = 0; i < where->n_needs; i++) {
		const struct torpor_need *need = &where->needs[i];
		cr_assert_eq(need->met, need->why_not == NULL);
		if (strcmp(need->subject, subject) == 0)
			return need;
	}
	return NULL;
}

static struct torpor_where ask(struct torpor_engine *whose, const char *image)
{
	struct torpor_where where;

	it_ok(torpor_image_where(whose, image, NULL, &where));
	return where;
}

/* Of all needs only SUBJECT (NULL: none) isn't met, for a reason with WORDS in it. */
static void expect_unmet(
	struct torpor_engine *whose, const char *image, const char *subject, const char *words)
{
	struct torpor_where where = ask(whose, image);

	cr_expect_eq(where.here, subject == NULL);
	for (size_t i = 0; i < where.n_needs; i++) {
		const struct torpor_need *need = &where.needs[i];
		bool wanted = subject && strcmp(need->subject, subject) == 0;
		cr_expect_eq(need->met, !wanted, "%s: %s", need->subject, need->why_not);
		if (wanted)
			cr_expect(
				need->why_not && strstr(need->why_not, words), "%s", need->why_not);
	}
	torpor_where_deinit(&where);
}

/* --- images that nobody parked --- */

typedef void change_fn(struct tp_record *record);

/* An image of a guest like the template's, but for what CHANGE does to its record; no pages. */
static const char *make_image(change_fn *change)
{
	static char name[65];
	struct tp_call call = in_call();
	TP_RECORD struct tp_record record = {0};
	TP_CLEANUP(tp_image_writer_free) struct tp_image_writer *writer = NULL;
	struct tp_image_writer_options options = {.dirfd = engine->images_fd,
		.name = name,
		.base_fd = -1,
		.workers = engine->workers};

	snprintf(name, sizeof(name), "%s", it_name("made"));
	tp_record_copy(&record, &tmpl->base->record);
	record.is_session = true;
	record.session_name = tp_strdup(name);
	record.hostname = tp_strdup(name);
	change(&record);
	TP_FREE char *config = tp_record_format(&record);
	struct tp_image_meta meta = {
		.kind = TP_IMAGE_FULL,
		.config = config,
		.device = "none",
		.device_len = 4,
		.blocks = tmpl->base->blocks,
		.n_blocks = tmpl->base->n_blocks,
	};
	memcpy(meta.template_id, tmpl->base->id, sizeof(meta.template_id));
	it_ok(tp_image_writer_new(&options, &call, &writer));
	it_ok(tp_image_writer_commit(writer, &meta, &call, NULL));
	return name;
}

static void set(char **field, const char *text)
{
	free(*field);
	*field = tp_strdup(text);
}

static void nothing(struct tp_record *record)
{
	(void)record;
}

static void newer_qemu(struct tp_record *record)
{
	set(&record->guest.qemu_version, "99.0.0");
}

static void newer_machine(struct tp_record *record)
{
	set(&record->guest.machine_type, "pc-i440fx-99.0");
}

static void unknown_cpu(struct tp_record *record)
{
	set(&record->guest.cpu_model, "Somewhere-v9");
}

static void too_much(struct tp_record *record)
{
	set(&record->guest.cpu_model, "qemu64-v1,+no-such-feature");
}

static void no_version(struct tp_record *record)
{
	set(&record->guest.cpu_model, "max");
}

static void under_kvm(struct tp_record *record)
{
	record->guest.accel = TP_ACCEL_KVM;
	set(&record->guest.cpu_model, "qemu64-v1");
}

static void change_and_expect(change_fn *change, const char *subject, const char *words)
{
	const char *name = make_image(change);

	expect_unmet(engine, name, subject, words);
	in_remove(engine, name);
}

Test(where, each_need_is_told_by_its_reason)
{
	change_and_expect(nothing, NULL, NULL);
	change_and_expect(newer_qemu, "qemu", "99.0.0 wrote it, and this host's is the older");
	change_and_expect(newer_machine, "machine", "has no machine type pc-i440fx-99.0");
	change_and_expect(unknown_cpu, "cpu", "no CPU model Somewhere-v9");
	change_and_expect(too_much, "cpu", "lacks no-such-feature");
}

/* The session is refused for the same reasons, before any process is started. */
static void expect_refused(change_fn *change, const char *words)
{
	const char *name = make_image(change);
	struct torpor_session *session;

	it_ok(torpor_session_open(engine, name, NULL, NULL, &session));
	struct torpor_error *err = torpor_session_resume(session, NULL, NULL);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_MISMATCH, "%s", torpor_error_message(err));
	cr_assert_not_null(
		strstr(torpor_error_message(err), words), "%s", torpor_error_message(err));
	torpor_error_free(err);
	it_ok(torpor_session_destroy(session, NULL));
}

Test(where, what_is_refused_is_refused_before_a_process_is_there)
{
	expect_refused(newer_qemu, "is the older");
	expect_refused(newer_machine, "no machine type pc-i440fx-99.0");
	expect_refused(unknown_cpu, "no CPU model Somewhere-v9");
}

Test(where, a_cpu_of_the_hosts_own_goes_nowhere_else)
{
	const char *name = make_image(no_version);
	struct torpor_where where = ask(engine, name);

	cr_assert_not(where.portable);
	cr_assert(where.here);
	torpor_where_deinit(&where);
	in_remove(engine, name);
}

/* --- of real sessions --- */

Test(where, a_parked_session_has_all_it_needs)
{
	struct torpor_session *session = it_start(tmpl);
	struct torpor_session_info info;
	struct torpor_park_report report;

	it_ok(torpor_session_park(session, NULL, &report));
	cr_assert_str_empty(report.note);
	it_ok(torpor_session_info(session, &info));
	struct torpor_where where = ask(engine, info.image_path);
	struct torpor_template_info about;
	it_ok(torpor_template_info(tmpl, &about));
	cr_assert(where.here && where.portable);
	cr_assert_eq(where.n_needs, TORPOR_NEEDS);
	cr_assert_str_eq(where.machine_type, about.machine_type);
	cr_assert_str_eq(where.cpu, about.cpu);
	cr_assert_str_eq(where.accel, about.accel);
	cr_assert_str_eq(where.template_id, about.id);
	cr_assert_str_eq(where.template_name, IT_TEMPLATE);
	cr_assert_not_null(strstr(need_of(&where, "qemu")->needed, where.qemu_version));
	torpor_where_deinit(&where);
	it_ok(torpor_session_destroy(session, NULL));
}

Test(where, a_template_needs_none)
{
	TP_FREE char *path = tp_template_path(tmpl, TEMPLATE_IMAGE);
	struct torpor_where where = ask(engine, path);

	cr_assert(where.here);
	cr_assert_null(need_of(&where, "template"));
	cr_assert_str_empty(where.template_id);
	torpor_where_deinit(&where);
	struct torpor_where none;
	it_fails(torpor_image_where(engine, "no-such-image", NULL, &none), TORPOR_E_NOT_FOUND);
}

/* What the command prints for programs. */
static json_t *cli_where(const char *image)
{
	TP_FREE char *command = tp_asprintf("'%s' --state '%s' --json image where '%s'",
		getenv("TORPOR_TEST_CLI"), engine->state_dir, image);
	FILE *f = popen(command, "r");
	json_t *json;

	cr_assert_not_null(f);
	json = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL);
	cr_assert_eq(pclose(f), 0);
	cr_assert_not_null(json);
	return json;
}

Test(where, the_command_tells_the_same)
{
	const char *name = make_image(newer_machine);
	struct torpor_where where = ask(engine, name);
	json_t *json = cli_where(name);
	json_t *needs = json_object_get(json, "needs");

	cr_assert(json_is_false(json_object_get(json, "here")));
	cr_assert(json_is_true(json_object_get(json, "portable")));
	cr_assert_str_eq(json_string_value(json_object_get(json, "machine")), "pc-i440fx-99.0");
	cr_assert_eq(json_array_size(needs), where.n_needs);
	for (size_t i = 0; i < where.n_needs; i++) {
		json_t *need = json_array_get(needs, i);
		const char *why_not = json_string_value(json_object_get(need, "why_not"));
		cr_assert_str_eq(
			json_string_value(json_object_get(need, "needed")), where.needs[i].needed);
		cr_assert_eq(why_not == NULL, where.needs[i].met);
	}
	json_decref(json);
	torpor_where_deinit(&where);
	in_remove(engine, name);
}

/* --- hosts that are otherwise --- */

/* Another state directory, without templates, and that engine. */
static struct torpor_engine *bare_engine(const char *qemu, char dir[64])
{
	struct torpor_engine_options options = {.state_dir = dir, .qemu = qemu};
	struct torpor_engine *bare;

	strcpy(dir, "/tmp/torpor-where-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	it_ok(torpor_engine_open(&options, &bare));
	return bare;
}

static void remove_bare(struct torpor_engine *bare, const char *dir)
{
	TP_FREE char *command = tp_asprintf("rm -r '%s'", dir);

	torpor_engine_close(bare);
	cr_assert_eq(system(command), 0);
}

/* The installed QEMU, with the lines of SHELL before it. */
static char *qemu_behind(const char *shell)
{
	TP_FREE char *name = tp_asprintf("%s/%s", engine->state_dir, it_name("qemu"));
	FILE *script = fopen(name, "w");

	cr_assert_not_null(script);
	fprintf(script, "#!/bin/sh\n%s\nexec qemu-system-x86_64 \"$@\"\n", shell);
	fclose(script);
	cr_assert_eq(chmod(name, 0755), 0);
	return TP_TAKE(name);
}

Test(where, a_host_without_the_template)
{
	char dir[64];
	struct torpor_engine *bare = bare_engine(NULL, dir);
	TP_FREE char *path = tp_asprintf("%s/images/%s", engine->state_dir, make_image(nothing));

	expect_unmet(bare, path, "template", "none with that identity");
	unlink(path);
	remove_bare(bare, dir);
}

Test(where, a_host_without_kvm)
{
	TP_FREE char *qemu = qemu_behind("case \"$*\" in *'accel kvm'*)\n"
					 "echo 'no kvm in this house' >&2; exit 1;; esac");
	char dir[64];
	struct torpor_engine *bare = bare_engine(qemu, dir);
	TP_FREE char *path = tp_asprintf("%s/images/%s", engine->state_dir, make_image(under_kvm));
	struct torpor_where where = ask(bare, path);

	cr_assert_not(where.here);
	cr_assert_not_null(strstr(need_of(&where, "accelerator")->why_not, "no kvm in this house"));
	/* QEMU itself can still be asked, but not what the host has under kvm. */
	cr_assert(need_of(&where, "machine")->met && need_of(&where, "qemu")->met);
	cr_assert_not(need_of(&where, "cpu")->met);
	torpor_where_deinit(&where);
	unlink(path);
	unlink(qemu);
	remove_bare(bare, dir);
}

Test(where, a_host_without_qemu)
{
	char dir[64];
	struct torpor_engine *bare = bare_engine("/no/qemu", dir);
	TP_FREE char *path = tp_asprintf("%s/images/%s", engine->state_dir, make_image(nothing));
	struct torpor_where where = ask(bare, path);

	cr_assert_not(where.here);
	for (size_t i = 0; i < where.n_needs; i++)
		cr_assert_not(where.needs[i].met, "%s", where.needs[i].subject);
	torpor_where_deinit(&where);
	unlink(path);
	remove_bare(bare, dir);
}

/* What is kept of QEMU's answers, with FROM in place of TO. */
static void change_answers(const char *from, const char *to)
{
	TP_FREE char *path = tp_asprintf("%s/qemu.json", engine->state_dir);
	TP_FREE char *command = tp_asprintf("sed -i 's/%s/%s/g' '%s'", from, to, path);

	cr_assert_eq(system(command), 0);
}

static void expect_open_fails(const char *words)
{
	struct torpor_template *none;
	struct torpor_error *err = torpor_template_open(engine, IT_TEMPLATE, NULL, &none);

	cr_assert_eq(torpor_error_code(err), TORPOR_E_MISMATCH, "%s",
		err ? torpor_error_message(err) : "it opens");
	cr_assert_not_null(
		strstr(torpor_error_message(err), words), "%s", torpor_error_message(err));
	torpor_error_free(err);
}

/* Not when its first guest fails, with QEMU's words about an unsupported machine. */
Test(where, a_template_is_refused_when_it_is_opened)
{
	tmpl = torpor_template_close(tmpl);
	change_answers("pc-i440fx", "pc-i440gx");
	expect_open_fails("no machine type pc-i440fx");
	forget_answers();
	tmpl = it_template(engine);
	tmpl = torpor_template_close(tmpl);
	change_answers("\\\"version\\\":\\\"[0-9.]*\\\"", "\\\"version\\\":\\\"1.0\\\"");
	expect_open_fails("is the older 1.0");
	forget_answers();
	tmpl = it_template(engine);
	tmpl = torpor_template_close(tmpl);
	change_answers("Westmere-v1", "Eastmere-v1");
	expect_open_fails("no CPU model Westmere-v1");
	forget_answers();
	tmpl = it_template(engine);
}

/* --- before a park --- */

static void park_with_note(struct torpor_session *session, const char *words)
{
	struct torpor_park_report report;

	it_ok(torpor_session_park(session, NULL, &report));
	if (words)
		cr_assert_not_null(strstr(report.note, words), "\"%s\"", report.note);
	else
		cr_assert_str_empty(report.note);
}

Test(where, a_park_tells_that_its_template_is_gone)
{
	char dir[64];
	struct torpor_engine *bare = bare_engine(NULL, dir);
	TP_FREE char *copy = tp_asprintf(
		"cp -r '%s/templates/" IT_TEMPLATE "' %s/templates", engine->state_dir, dir);
	TP_FREE char *at = tp_asprintf("%s/templates/" IT_TEMPLATE, dir);
	TP_FREE char *aside = tp_asprintf("%s/aside", dir);
	cr_assert_eq(system(copy), 0);
	struct torpor_template *mine = it_template(bare);
	struct torpor_session *session = it_start(mine);

	cr_assert_eq(rename(at, aside), 0);
	park_with_note(session, "isn't stored any more");
	cr_assert_eq(rename(aside, at), 0);
	it_ok(torpor_session_resume(session, NULL, NULL));
	park_with_note(session, NULL);
	it_ok(torpor_session_destroy(session, NULL));
	torpor_template_close(mine);
	remove_bare(bare, dir);
}

static void replace_script(const char *path, const char *text)
{
	TP_FREE char *next = tp_asprintf("%s.next", path);
	FILE *script = fopen(next, "w");

	fprintf(script, "#!/bin/sh\n%s\n", text);
	fclose(script);
	cr_assert(chmod(next, 0755) == 0 && rename(next, path) == 0);
}

/* A host's QEMU is exchanged under its guests. */
Test(where, a_park_tells_that_this_hosts_qemu_would_not_resume_it)
{
	TP_FREE char *qemu = qemu_behind("");
	/* The script is this user's alone: another's QEMU, as libvirt's, couldn't be it. */
	struct torpor_engine *other =
		it_open_with((struct torpor_engine_options){.qemu = qemu, .launcher = "direct"});
	struct torpor_template *mine = it_template(other);
	struct torpor_session *session = it_start(mine);

	replace_script(qemu, "# as good\nexec qemu-system-x86_64 \"$@\"");
	park_with_note(session, NULL);
	it_ok(torpor_session_resume(session, NULL, NULL));
	replace_script(qemu, "echo 'broken by an upgrade' >&2; exit 1");
	park_with_note(session, "broken by an upgrade");
	replace_script(qemu, "exec qemu-system-x86_64 \"$@\"");
	it_ok(torpor_session_resume(session, NULL, NULL));
	it_ok(torpor_session_destroy(session, NULL));
	torpor_template_close(mine);
	torpor_engine_close(other);
	unlink(qemu);
}
