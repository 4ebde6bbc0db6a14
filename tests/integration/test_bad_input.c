/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nonsense, and hosts that aren't what they should be: each is refused in words, within bounds,
 * with nothing left behind.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"

/* For what ends by itself long before; a hang would be noticed by it. */
#define BOUND_NS UINT64_C(60000000000)

static struct torpor_engine *engine;
static char *state;

static void open_all(void)
{
	state = it_own_dir();
	it_ok(torpor_engine_open(&(struct torpor_engine_options){.state_dir = state}, &engine));
}

static void check_nothing_left(void)
{
	it_check_swept(state);
	cr_assert_eq(it_entries(state, "templates", ""), 0);
	cr_assert_eq(it_qemu_children(), 0, "a process is left");
}

static void close_all(void)
{
	check_nothing_left();
	engine = torpor_engine_close(engine);
	it_remove_tree(state);
}

TestSuite(bad_input, .init = open_all, .fini = close_all, .timeout = 300);

/* ERR has that code, and its message (or hint) those words. */
static void expect(struct torpor_error *err, enum torpor_errc code, const char *words)
{
	cr_assert_not_null(err, "%s went well", words);
	const char *hint = torpor_error_hint(err);
	cr_assert_eq(torpor_error_code(err), code, "%s: %s (%s)",
		torpor_errc_name(torpor_error_code(err)), torpor_error_message(err), words);
	cr_assert(strstr(torpor_error_message(err), words) || (hint && strstr(hint, words)),
		"no \"%s\" in \"%s\" (%s)", words, torpor_error_message(err), hint ? hint : "");
	torpor_error_free(err);
}

static struct torpor_error *build_with(
	const struct torpor_template_spec *spec, const struct torpor_call *call)
{
	struct torpor_template *tmpl = NULL;
	struct torpor_error *err =
		torpor_template_build(engine, spec, NULL, NULL, call, NULL, &tmpl);

	cr_assert_null(tmpl, "something was built");
	return err;
}

static struct torpor_error *build(const struct torpor_template_spec *spec)
{
	return build_with(spec, &(struct torpor_call){.timeout_ns = BOUND_NS});
}

static const char *guest_file(const char *name)
{
	static char path[4200];

	snprintf(path, sizeof(path), "%s/%s", it_guest_dir(), name);
	return path;
}

/* --- Kernels --- */

Test(bad_input, kernels_that_are_none)
{
	char text[4200];
	char empty[4200];

	snprintf(text, sizeof(text), "%s/text", state);
	snprintf(empty, sizeof(empty), "%s/empty", state);
	it_write(text, "This is no kernel.\n", 19);
	it_write(empty, "", 0);
	expect(build(&(struct torpor_template_spec){.name = "t", .kernel = "/no/such/kernel"}),
		TORPOR_E_NOT_FOUND, "/no/such/kernel");
	expect(build(&(struct torpor_template_spec){.name = "t", .kernel = state}),
		TORPOR_E_INVALID, state);
	expect(build(&(struct torpor_template_spec){.name = "t"}), TORPOR_E_INVALID, "kernel");
	static const char *const accels[] = {"auto", "tcg"};
	for (size_t i = 0; i < 2; i++) {
		expect(build(&(struct torpor_template_spec){
			       .name = "t", .kernel = text, .accel = accels[i]}),
			TORPOR_E_QEMU, "kernel");
		check_nothing_left();
		expect(build(&(struct torpor_template_spec){
			       .name = "t", .kernel = empty, .accel = accels[i]}),
			TORPOR_E_QEMU, "kernel");
		check_nothing_left();
	}
	expect(build(&(struct torpor_template_spec){.name = "t",
		       .kernel = guest_file("vmlinuz"),
		       .initrd = "/no/such/initrd",
		       .accel = "tcg"}),
		TORPOR_E_NOT_FOUND, "/no/such/initrd");
}

static void trigger(void *data, const char *stage, const char *line)
{
	(void)line;
	if (strcmp(stage, "boot") == 0)
		torpor_cancel_trigger(data);
}

/* Given up in time, which must be long enough on this host for the guest to get that far. */
static void times_out(const struct torpor_template_spec *spec, const char *words)
{
	struct torpor_call call = {.timeout_ns = UINT64_C(2000000000)};
	struct torpor_error *err = build_with(spec, &call);

	while (err && torpor_error_code(err) == TORPOR_E_TIMEOUT && call.timeout_ns < BOUND_NS &&
		!(torpor_error_hint(err) && strstr(torpor_error_hint(err), words))) {
		torpor_error_free(err);
		check_nothing_left();
		call.timeout_ns *= 2;
		err = build_with(spec, &call);
	}
	expect(err, TORPOR_E_TIMEOUT, words);
	check_nothing_left();
}

Test(bad_input, kernels_that_never_become_ready)
{
	struct torpor_template_spec silent = {.name = "t",
		.kernel = getenv("TORPOR_TEST_SILENT"),
		.accel = "tcg",
		.memory = 16 << 20};
	struct torpor_template_spec ticker = {.name = "t",
		.kernel = getenv("TORPOR_TEST_TICKER"),
		.accel = "tcg",
		.memory = 16 << 20,
		.ready_line = "never says this"};
	struct torpor_template_spec linux_alone = {
		.name = "t", .kernel = guest_file("vmlinuz"), .accel = "tcg"};
	struct torpor_cancel *cancel;
	struct torpor_template *tmpl;

	times_out(&silent, "nothing to its serial console");
	times_out(&ticker, "tick ");

	it_ok(torpor_cancel_new(&cancel));
	struct torpor_call call = {.cancel = cancel};
	expect(torpor_template_build(engine, &ticker, trigger, cancel, &call, NULL, &tmpl),
		TORPOR_E_CANCELLED, "template t");
	check_nothing_left();
	torpor_cancel_free(cancel);

	/* It finds no root and, told so by panic=-1, resets itself. */
	expect(build(&linux_alone), TORPOR_E_GUEST, "guest-reset");
	check_nothing_left();
}

/* --- Words and sizes --- */

Test(bad_input, sizes_and_names_that_make_no_sense)
{
	static const char *const names[] = {"", ".", "..", "a/b", "/a", ".hidden", "-a", "a b",
		"a\nb", "\xc3\xa4",
		"12345678901234567890123456789012345678901234567890123456789012345"};
	static const uint64_t sizes[] = {1, 4096, 1 << 20, (16 << 20) + 1, UINT64_C(1) << 41,
		UINT64_MAX, UINT64_MAX - 0xfffff};
	const char *kernel = getenv("TORPOR_TEST_TICKER");
	struct torpor_template *tmpl;
	struct torpor_template_info info;
	struct torpor_session *session;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		expect(build(&(struct torpor_template_spec){
			       .name = "t", .kernel = kernel, .memory = sizes[i]}),
			TORPOR_E_INVALID, "16 MiB to 1 TiB");
	/* A size that is none for the machine, whoever finds that. */
	struct torpor_error *err = build(&(struct torpor_template_spec){.name = "t",
		.kernel = kernel,
		.accel = "tcg",
		.memory = UINT64_C(1) << 40,
		.ready_line = "torpor ticker"});
	cr_assert_not_null(err);
	cr_assert(
		torpor_error_code(err) == TORPOR_E_QEMU || torpor_error_code(err) == TORPOR_E_NOMEM,
		"%s", torpor_error_message(err));
	fprintf(stderr, "1 TiB: %s\n", torpor_error_message(err));
	torpor_error_free(err);
	check_nothing_left();
	expect(build(&(struct torpor_template_spec){.name = "t", .kernel = kernel, .vcpus = 256}),
		TORPOR_E_INVALID, "vcpus");
	expect(build(&(struct torpor_template_spec){
		       .name = "t", .kernel = kernel, .machine = "q36"}),
		TORPOR_E_INVALID, "q36");
	expect(build(&(struct torpor_template_spec){.name = "t", .kernel = kernel, .accel = "hvf"}),
		TORPOR_E_INVALID, "hvf");
	expect(build(&(struct torpor_template_spec){
		       .name = "t", .kernel = kernel, .accel = "tcg", .cpu = "i8086-v7"}),
		TORPOR_E_UNSUPPORTED, "i8086-v7");
	check_nothing_left();

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		expect(build(&(struct torpor_template_spec){.name = names[i], .kernel = kernel}),
			TORPOR_E_INVALID, "name");
		expect(torpor_template_open(engine, names[i], NULL, &tmpl), TORPOR_E_INVALID,
			"name");
		expect(torpor_template_lookup(engine, names[i], &info), TORPOR_E_INVALID, "name");
		expect(torpor_template_remove(engine, names[i]), TORPOR_E_INVALID, "name");
		expect(torpor_session_open(engine, names[i], NULL, NULL, &session),
			TORPOR_E_INVALID, "name");
	}
	expect(torpor_template_open(engine, "none", NULL, &tmpl), TORPOR_E_NOT_FOUND, "none");
	expect(torpor_template_remove(engine, "none"), TORPOR_E_NOT_FOUND, "none");
	expect(torpor_session_open(engine, "none", NULL, NULL, &session), TORPOR_E_NOT_FOUND,
		"none");
	expect(torpor_session_open(engine, "none", "/no/such/image", NULL, &session),
		TORPOR_E_NOT_FOUND, "/no/such/image");

	/* And where there is a template. */
	tmpl = NULL;
	it_ok(torpor_template_build(engine,
		&(struct torpor_template_spec){.name = "t",
			.kernel = kernel,
			.accel = "tcg",
			.memory = 16 << 20,
			.ready_line = "torpor ticker"},
		NULL, NULL, NULL, NULL, &tmpl));
	expect(build(&(struct torpor_template_spec){.name = "t", .kernel = kernel}),
		TORPOR_E_EXISTS, "--replace");
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		expect(torpor_session_start(tmpl, &(struct torpor_session_spec){.name = names[i]},
			       NULL, NULL, &session),
			TORPOR_E_INVALID, "name");
		expect(torpor_session_start(tmpl,
			       &(struct torpor_session_spec){.name = "s", .hostname = names[i]},
			       NULL, NULL, &session),
			TORPOR_E_INVALID, "name");
	}
	it_ok(torpor_session_start(
		tmpl, &(struct torpor_session_spec){.name = "s"}, NULL, NULL, &session));
	struct torpor_session *second;
	expect(torpor_session_start(
		       tmpl, &(struct torpor_session_spec){.name = "s"}, NULL, NULL, &second),
		TORPOR_E_EXISTS, "s");
	struct torpor_session_spec twice[] = {{.name = "f"}, {.name = "f"}};
	struct torpor_session *forks[2];
	expect(torpor_session_fork(session, twice, 2, NULL, NULL, forks), TORPOR_E_EXISTS, "f");
	expect(torpor_session_fork(session, twice, 0, NULL, NULL, forks), TORPOR_E_INVALID, "1 to");
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		expect(torpor_session_checkpoint(session, names[i], NULL, NULL), TORPOR_E_INVALID,
			"name");
	cr_assert_eq(it_qemu_children(), 1);
	it_ok(torpor_session_destroy(session, NULL));
	torpor_template_close(tmpl);
	it_ok(torpor_template_remove(engine, "t"));
	cr_assert_eq(it_entries(state, "images", ""), 0);
}

/* --- The host --- */

static struct torpor_error *build_in(struct torpor_engine_options options, const char *accel)
{
	struct torpor_engine *other;
	struct torpor_template *tmpl;
	struct torpor_template_spec spec = {.name = "t",
		.kernel = getenv("TORPOR_TEST_TICKER"),
		.accel = accel,
		.memory = 16 << 20,
		.ready_line = "torpor ticker"};
	struct torpor_call call = {.timeout_ns = BOUND_NS};

	options.state_dir = state;
	struct torpor_error *err = torpor_engine_open(&options, &other);
	if (err)
		return err;
	err = torpor_template_build(other, &spec, NULL, NULL, &call, NULL, &tmpl);
	torpor_engine_close(other);
	check_nothing_left();
	return err;
}

Test(bad_input, a_qemu_that_is_none)
{
	static const char *const accels[] = {"auto", "tcg"};
	char text[4200];

	snprintf(text, sizeof(text), "%s/text", state);
	it_write(text, "no program\n", 11);
	for (size_t i = 0; i < 2; i++) {
		expect(build_in((struct torpor_engine_options){.qemu = "/no/such/qemu"}, accels[i]),
			TORPOR_E_NOT_FOUND, "/no/such/qemu");
		expect(build_in((struct torpor_engine_options){.qemu = text}, accels[i]),
			TORPOR_E_DENIED, text);
		expect(build_in((struct torpor_engine_options){.qemu = "/bin/true"}, accels[i]),
			TORPOR_E_QEMU, "/bin/true");
		expect(build_in((struct torpor_engine_options){.qemu = "/bin/cat"}, accels[i]),
			TORPOR_E_QEMU, "/bin/cat: ");
	}
	expect(build_in((struct torpor_engine_options){.exec_helper = "/no/such/helper"}, "tcg"),
		TORPOR_E_NOT_FOUND, "/no/such/helper");
}

/* As a user that may not: in a child, whose status says what came of it. */
static int try_as_nobody(void)
{
	struct torpor_engine *other;
	struct torpor_engine_options options = {.state_dir = state};

	if (setgid(65534) < 0 || setuid(65534) < 0)
		return 2;
	struct torpor_error *err = torpor_engine_open(&options, &other);
	if (!err)
		return 3;
	fprintf(stderr, "as nobody: %s\n", torpor_error_message(err));
	if (torpor_error_code(err) != TORPOR_E_DENIED || !strstr(torpor_error_message(err), state))
		return 4;
	return torpor_error_hint(err) ? 0 : 5;
}

Test(bad_input, state_directories_that_cannot_be)
{
	struct torpor_engine *other;
	char file[4200];
	char below[4400];
	char sub[4300];
	int status;

	snprintf(file, sizeof(file), "%s/file", state);
	snprintf(below, sizeof(below), "%s/below", file);
	it_write(file, "", 0);
	expect(torpor_engine_open(&(struct torpor_engine_options){.state_dir = file}, &other),
		TORPOR_E_IO, file);
	expect(torpor_engine_open(&(struct torpor_engine_options){.state_dir = below}, &other),
		TORPOR_E_IO, file);
	snprintf(sub, sizeof(sub), "%s/sub", state);
	cr_assert_eq(mkdir(sub, 0700), 0);
	snprintf(below, sizeof(below), "%s/images", sub);
	it_write(below, "", 0);
	expect(torpor_engine_open(&(struct torpor_engine_options){.state_dir = sub}, &other),
		TORPOR_E_IO, sub);

	if (geteuid() != 0) {
		fprintf(stderr, "*** NOT TESTED: another user's state directory: this needs root "
				"***\n");
		return;
	}
	/* Reachable, readable, not writable. */
	for (char *slash = strchr(state + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		struct stat st;
		bool reachable = stat(state, &st) == 0 && (st.st_mode & 1);
		*slash = '/';
		if (!reachable)
			fprintf(stderr, "A directory above is closed to others; that counts as "
					"well.\n");
	}
	cr_assert_eq(chmod(state, 0755), 0);
	engine = torpor_engine_close(
		engine); /* with its threads: the child would find their locks held */
	pid_t pid = fork();
	if (pid == 0)
		_exit(try_as_nobody());
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(
		WIFEXITED(status) && WEXITSTATUS(status) == 0, "status 0x%x", (unsigned int)status);
}

/* --- The command line --- */

static void cli_fails(const char *args, const char *code, const char *words)
{
	char command[9000];
	const char *out;
	const char *err;

	snprintf(command, sizeof(command), "--state %s %s", state, args);
	cr_assert_eq(it_cli(command, &out, &err), 1, "%s", command);
	cr_assert_str_eq(out, "", "%s: %s", command, out);
	cr_assert_not_null(strstr(err, words), "%s: no \"%s\" in %s", command, words, err);
	snprintf(command, sizeof(command), "--json --state %s %s", state, args);
	cr_assert_eq(it_cli(command, &out, &err), 1, "%s", command);
	json_t *json = json_loads(out, 0, NULL);
	json_t *error = json_object_get(json, "error");
	const char *said = json_string_value(json_object_get(error, "code"));
	const char *message = json_string_value(json_object_get(error, "message"));
	cr_assert(said && strcmp(said, code) == 0, "%s: %s", command, out);
	cr_assert(message && *message, "%s: %s", command, out);
	json_decref(json);
}

static void cli_usage(const char *args, const char *words)
{
	char command[9000];
	const char *out;
	const char *err;

	snprintf(command, sizeof(command), "--state %s %s", state, args);
	cr_assert_eq(it_cli(command, &out, &err), 2, "%s", command);
	cr_assert_str_eq(out, "");
	cr_assert_not_null(strstr(err, words), "%s: no \"%s\" in %s", command, words, err);
}

Test(bad_input, on_the_command_line)
{
	cli_fails("template build t --accel tcg --kernel /no/such/kernel", "not-found",
		"/no/such/kernel");
	cli_fails("template build a/b --accel tcg --kernel /no/such/kernel", "invalid", "a/b");
	cli_fails("template build t --memory 1M --kernel /no/such/kernel", "invalid", "16 MiB");
	cli_fails("--qemu /no/such/qemu template build t --accel tcg --kernel $TORPOR_TEST_TICKER",
		"not-found", "/no/such/qemu");
	cli_fails("template inspect none", "not-found", "none");
	cli_fails("template rm none", "not-found", "none");
	cli_fails("image inspect /no/such/image", "not-found", "/no/such/image");
	cli_fails("image verify /etc/passwd", "corrupt", "/etc/passwd");
	cli_fails("image where /etc/passwd", "corrupt", "/etc/passwd");
	cli_fails("image where no-such-image", "not-found", "no-such-image");
	cli_fails("template build t --accel tcg --cpu max --kernel $TORPOR_TEST_TICKER",
		"unsupported", "another CPU on every host");
	cli_fails("template build t --accel tcg --cpu i8086 --kernel $TORPOR_TEST_TICKER",
		"unsupported", "i8086");
	cli_fails("image verify /etc", "invalid", "/etc");
	cli_usage("", "Try");
	cli_usage("nonsense", "nonsense");
	cli_usage("template nonsense", "nonsense");
	cli_usage("image verify", "missing");
	cli_usage("image verify a b", "b");
	cli_usage("template build", "missing");
	cli_usage("template build t", "--kernel");
	cli_usage("template build t --kernel k --memory 0", "size");
	cli_usage("template build t --kernel k --memory lots", "lots");
	cli_usage("template build t --kernel k --memory 99999999999999999999", "99999999");
	cli_usage("template build t --kernel k --vcpus 0", "vcpus");
	cli_usage("template build t --kernel k --vcpus 4294967297", "vcpus");
	cli_usage("template build t --kernel k --vcpus ''", "vcpus");
	cli_usage("template build t --no-such-option", "no-such-option");
	cr_assert_eq(it_cli("--state /dev/null/x template ls", NULL, NULL), 1);
}
