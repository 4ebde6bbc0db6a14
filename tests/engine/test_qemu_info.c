/* SPDX-License-Identifier: Apache-2.0 */
/* What QEMU says of itself: the real one's answers, made-up ones, and what is kept of them. */
#include "engine/qemu_info.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/kept.h"
#include "support.h"

static char *dir;
static char *cache;
static struct tp_call call;

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	dir = make_directory();
	cache = tp_asprintf("%s/cache", dir);
	call = tp_call_within(2 * OBJECT_TIMEOUT_NS);
}

static void teardown(void)
{
	remove_tree(dir);
	free(cache);
	free(dir);
}

TestSuite(qemu_info, .init = setup, .fini = teardown);

static struct tp_qemu_info ask(const char *qemu)
{
	struct tp_direct_options options = {.qemu = qemu};
	struct tp_qemu_info info;

	must(tp_qemu_ask(&options, TP_ACCEL_TCG, cache, &call, &info));
	return info;
}

Test(qemu_info, machines)
{
	TP_QEMU_INFO struct tp_qemu_info info = ask(NULL);
	static const char *const names[][2] = {
		{"pc", "pc-i440fx-"}, {"q35", "pc-q35-"}, {"microvm", "microvm"}};
	char *none;

	cr_assert_gt(strlen(info.version), 4);
	for (size_t i = 0; i < TP_ARRAY_LEN(names); i++) {
		TP_FREE char *type = NULL;
		TP_FREE char *same = NULL;
		must(tp_qemu_machine(&info, names[i][0], &type));
		cr_assert_eq(strncmp(type, names[i][1], strlen(names[i][1])), 0, "%s", type);
		must(tp_qemu_machine(&info, type, &same));
		cr_assert_str_eq(same, type);
	}
	must_fail(tp_qemu_machine(&info, "pdp11", &none), TORPOR_E_UNSUPPORTED, "pdp11");
	must_fail(tp_qemu_machine(&info, "", &none), TORPOR_E_UNSUPPORTED, NULL);
}

/* Neither of the two versions that it is tested with is told by its number. */
Test(qemu_info, traits_of_the_installed_one)
{
	TP_QEMU_INFO struct tp_qemu_info info = ask(NULL);
	bool newer = !tp_qemu_is_older(info.version, "9.1.0");

	cr_assert_eq(info.traits & TP_QEMU_NO_SUPPRESS_VMDESC, 0);
	cr_assert_eq(info.traits & TP_QEMU_NO_SAVE_DEVICES, 0);
	cr_assert_eq((info.traits & TP_QEMU_STAYS) != 0, newer, "%s", info.version);
	cr_assert_eq((info.traits & TP_QEMU_READONLY_RAM) != 0, newer, "%s", info.version);
}

static void assert_resolves(
	struct tp_qemu_info *info, const char *model, enum tp_machine machine, const char *expected)
{
	TP_FREE char *resolved = NULL;

	must(tp_qemu_cpu_resolve(info, model, machine, &resolved));
	cr_assert_str_eq(resolved, expected);
}

Test(qemu_info, cpu_models_get_their_version)
{
	TP_QEMU_INFO struct tp_qemu_info info = ask(NULL);
	char *none;

	assert_resolves(&info, "qemu64", TP_MACHINE_PC, "qemu64-v1");
	assert_resolves(&info, "qemu64,-svm,+pni", TP_MACHINE_Q35, "qemu64-v1,-svm,+pni");
	assert_resolves(&info, "Westmere-v1", TP_MACHINE_PC, "Westmere-v1");
	assert_resolves(&info, "Westmere", TP_MACHINE_PC, "Westmere-v1");
	assert_resolves(&info, "Westmere", TP_MACHINE_MICROVM, "Westmere-v2");
	assert_resolves(&info, "Westmere-IBRS", TP_MACHINE_PC, "Westmere-v2");
	for (size_t i = 0; i < 2; i++) {
		const char *name = i == 0 ? "max" : "host";
		struct torpor_error *err = tp_qemu_cpu_resolve(&info, name, TP_MACHINE_PC, &none);
		cr_assert_eq(torpor_error_code(err), TORPOR_E_UNSUPPORTED);
		cr_assert_not_null(strstr(torpor_error_hint(err), "Westmere-v1"), "%s",
			torpor_error_hint(err));
		torpor_error_free(err);
	}
	must_fail(tp_qemu_cpu_resolve(&info, "i8086", TP_MACHINE_PC, &none), TORPOR_E_UNSUPPORTED,
		"i8086");
	must_fail(tp_qemu_cpu_resolve(&info, "qemu64,svm=on", TP_MACHINE_PC, &none),
		TORPOR_E_INVALID, NULL);
}

Test(qemu_info, portable_models)
{
	TP_QEMU_INFO struct tp_qemu_info info = ask(NULL);

	cr_assert(tp_qemu_cpu_portable(&info, "qemu64-v1,-svm"));
	cr_assert_not(tp_qemu_cpu_portable(&info, "qemu64"));
	cr_assert_not(tp_qemu_cpu_portable(&info, "max"));
	cr_assert_not(tp_qemu_cpu_portable(&info, "host,-svm"));
	/* One of a later QEMU. */
	cr_assert(tp_qemu_cpu_portable(&info, "Somewhere-v3"));
	cr_assert_not(tp_qemu_cpu_portable(&info, "Somewhere"));
	cr_assert_not(tp_qemu_cpu_portable(&info, "Some-where"));
	cr_assert_not(tp_qemu_cpu_portable(&info, "Some-v"));
}

static void assert_why_not(struct tp_qemu_info *info, const char *model, const char *words)
{
	TP_FREE char *why_not = tp_qemu_cpu_why_not(info, model);

	if (!words)
		cr_assert_null(why_not, "%s: %s", model, why_not);
	else
		cr_assert(why_not && strstr(why_not, words), "%s: %s", model, why_not);
}

Test(qemu_info, what_a_model_lacks)
{
	TP_QEMU_INFO struct tp_qemu_info info = ask(NULL);

	assert_why_not(&info, "qemu64-v1", NULL);
	assert_why_not(&info, "qemu64-v1,+sse4_1,+aes", NULL);
	assert_why_not(&info, "qemu64-v1,+no-such-feature", "lacks no-such-feature");
	assert_why_not(&info, "Cooperlake-v1", "lacks ");
	assert_why_not(&info, "i8086", "no CPU model i8086");
}

/* --- made-up answers --- */

static json_t *parse(const char *text)
{
	json_t *json = json_loads(text, 0, NULL);

	cr_assert_not_null(json, "%s", text);
	return json;
}

static struct tp_qemu_info made_up(const char *definitions)
{
	json_t *json = parse(definitions);
	struct tp_qemu_info info = {
		.version = tp_strdup("9.9.9"),
		.machines = json_object(),
		.cpus = tp_qemu_cpus_from(json),
		.features = parse("{\"aes\": true, \"sse4-1\": true}"),
	};

	json_decref(json);
	return info;
}

static void assert_choice(const char *definitions, const char *expected)
{
	TP_QEMU_INFO struct tp_qemu_info info = made_up(definitions);
	TP_FREE char *model = NULL;

	if (expected) {
		must(tp_qemu_cpu_choose(&info, &model));
		cr_assert_str_eq(model, expected);
	} else {
		must_fail(tp_qemu_cpu_choose(&info, &model), TORPOR_E_UNSUPPORTED, NULL);
	}
}

#define MODEL(name, missing)                                                                       \
	"{\"name\": \"" name "\", \"migration-safe\": true, \"unavailable-features\": [" missing   \
	"]}"

Test(qemu_info, cpu_choice)
{
	assert_choice("[" MODEL("qemu64-v1", "") ", " MODEL("Nehalem-v1", "") "]", "Nehalem-v1");
	assert_choice("[" MODEL("Westmere-v1", "\"aes\"") ", " MODEL("Nehalem-v1",
			      "\"pni\"") ", " MODEL("qemu64-v1", "\"pni\", \"svm\"") "]",
		"qemu64-v1,-pni,-svm");
	assert_choice("[" MODEL("Westmere-v1", "\"aes\"") "]", NULL);
	assert_choice("[" MODEL("qemu64-v1", "\"x,svm=on\"") "]", NULL);
	assert_choice("[" MODEL("qemu64-v1", "7") "]", NULL);
	assert_choice("[{\"name\": \"Westmere-v1\"}, {\"name\": \"qemu64-v1\"}]", NULL);
	assert_choice("[]", NULL);
}

Test(qemu_info, edits_take_from_what_is_missing)
{
	TP_QEMU_INFO struct tp_qemu_info info =
		made_up("[" MODEL("small-v1", "\"sse4.2\", \"svm\"") "]");

	assert_why_not(&info, "small-v1", "lacks sse4.2, svm");
	assert_why_not(&info, "small-v1,-svm", "lacks sse4.2");
	assert_why_not(&info, "small-v1,-svm,-sse4_2,+aes,+sse4.1", NULL);
	assert_why_not(&info, "small-v1,-svm,-sse4-2,+vmx", "lacks vmx");
}

static void assert_traits(const char *schema, const char *backend, const char *machine,
	const char *options, uint32_t expected)
{
	json_t *replies[] = {parse(schema), parse(backend), parse(machine), parse(options)};

	cr_assert_eq(tp_qemu_traits_from(replies[0], replies[1], replies[2], replies[3]), expected,
		"%s %s %s %s", schema, backend, machine, options);
	for (size_t i = 0; i < TP_ARRAY_LEN(replies); i++)
		json_decref(replies[i]);
}

Test(qemu_info, traits_follow_from_what_it_says)
{
	static const char old_schema[] =
		"[{\"name\": \"migrate-incoming\", \"meta-type\": \"command\", \"arg-type\": "
		"\"7\"}, {\"name\": \"7\", \"meta-type\": \"object\", \"members\": [{\"name\": "
		"\"uri\"}]}, {\"name\": \"xen-save-devices-state\", \"meta-type\": \"command\"}]";
	static const char new_schema[] =
		"[{\"name\": \"migrate-incoming\", \"meta-type\": \"command\", \"arg-type\": "
		"\"7\"}, {\"name\": \"7\", \"meta-type\": \"object\", \"members\": [{\"name\": "
		"\"uri\"}, {\"name\": \"exit-on-error\"}]}]";
	static const char machine[] = "[{\"name\": \"suppress-vmdesc\"}]";
	static const char sandbox[] = "[{\"option\": \"sandbox\"}]";

	assert_traits(old_schema, "[]", machine, sandbox, 0);
	assert_traits(old_schema, "[]", machine, "[]", TP_QEMU_NO_SANDBOX);
	assert_traits(old_schema, "[]", "[]", sandbox, TP_QEMU_NO_SUPPRESS_VMDESC);
	assert_traits(old_schema, "[{\"name\": \"rom\"}]", machine, sandbox, TP_QEMU_READONLY_RAM);
	assert_traits(new_schema, "[]", machine, sandbox, TP_QEMU_STAYS | TP_QEMU_NO_SAVE_DEVICES);
	assert_traits("[]", "[]", machine, sandbox, TP_QEMU_NO_SAVE_DEVICES);
}

Test(qemu_info, older_and_newer)
{
	cr_assert(tp_qemu_is_older("7.2.22", "10.0.2"));
	cr_assert_not(tp_qemu_is_older("10.0.2", "7.2.22"));
	cr_assert_not(tp_qemu_is_older("7.2.22", "7.2.22"));
	cr_assert(tp_qemu_is_older("7.2.9", "7.2.10"));
	cr_assert_not(tp_qemu_is_older("8", "7.99.99"));
	cr_assert(tp_qemu_is_older("x", "1"));
}

static void assert_versions(
	enum tp_machine machine, const char *here, const char *wrote, const char *words)
{
	TP_FREE char *why_not = tp_qemu_version_why_not(machine, here, wrote);

	if (words)
		cr_assert(why_not && strstr(why_not, words), "%s", why_not);
	else
		cr_assert_null(why_not, "%s", why_not);
}

Test(qemu_info, where_states_go)
{
	assert_versions(TP_MACHINE_PC, "10.0.2", "7.2.22", NULL);
	assert_versions(TP_MACHINE_Q35, "7.2.22", "7.2.22", NULL);
	assert_versions(TP_MACHINE_PC, "7.2.22", "10.0.2", "is the older 7.2.22");
	assert_versions(TP_MACHINE_MICROVM, "7.2.22", "10.0.2", "is the older 7.2.22");
	assert_versions(TP_MACHINE_MICROVM, "10.0.2", "7.2.22", "no other than that");
	assert_versions(TP_MACHINE_MICROVM, "7.2.22", "7.2.9", NULL);
	assert_versions(TP_MACHINE_MICROVM, "7.2.9", "7.2.22", "is the older 7.2.9");
}

/* --- keeping --- */

/* The real QEMU under a name of the test's, which notes how often it ran. */
static char *counting_qemu(void)
{
	char *path = tp_asprintf("%s/qemu", dir);
	FILE *script = fopen(path, "w");

	cr_assert_not_null(script);
	fprintf(script, "#!/bin/sh\necho >>%s/ran\nexec qemu-system-x86_64 \"$@\"\n", dir);
	fclose(script);
	cr_assert_eq(chmod(path, 0755), 0);
	return path;
}

static size_t times_run(void)
{
	TP_FREE char *path = tp_asprintf("%s/ran", dir);
	struct stat st;

	return stat(path, &st) == 0 ? (size_t)st.st_size : 0;
}

Test(qemu_info, answers_are_kept_until_the_program_changes)
{
	TP_FREE char *qemu = counting_qemu();
	TP_QEMU_INFO struct tp_qemu_info first = ask(qemu);
	TP_QEMU_INFO struct tp_qemu_info second = ask(qemu);

	cr_assert_eq(times_run(), 1);
	cr_assert_str_eq(first.version, second.version);
	cr_assert_eq(first.traits, second.traits);
	cr_assert(json_equal(first.machines, second.machines));
	cr_assert(json_equal(first.cpus, second.cpus));
	cr_assert(json_equal(first.features, second.features));

	FILE *script = fopen(qemu, "a");
	fputs("# another one\n", script);
	fclose(script);
	TP_QEMU_INFO struct tp_qemu_info third = ask(qemu);
	cr_assert_eq(times_run(), 2);

	unlink(cache);
	TP_QEMU_INFO struct tp_qemu_info fourth = ask(qemu);
	cr_assert_eq(times_run(), 3);
}

/* In the answers that are kept, from BEHIND on. */
static void replace_kept(const char *behind, const char *old, const char *new)
{
	TP_FREE char *text = NULL;
	size_t len;

	must(tp_read_file(AT_FDCWD, cache, 4 * TP_MIB, &text, &len));
	char *at = strstr(text, behind);
	cr_assert_not_null(at);
	at = strstr(at, old);
	cr_assert_not_null(at);
	memcpy(at, new, strlen(old));
	TP_FD int fd = open(cache, O_WRONLY | O_TRUNC | O_CLOEXEC);
	must(tp_pwrite_full(fd, text, len, 0, cache));
}

Test(qemu_info, damaged_answers_are_asked_for_anew)
{
	TP_FREE char *qemu = counting_qemu();
	TP_FREE char *type = NULL;
	TP_QEMU_INFO struct tp_qemu_info first = ask(qemu);

	replace_kept("\"traits\":", "traits", "strait");
	TP_QEMU_INFO struct tp_qemu_info second = ask(qemu);
	cr_assert_eq(times_run(), 2);
	/* A machine type whose other name is no text. */
	replace_kept("\"machines\":", "\"\"", "12");
	TP_QEMU_INFO struct tp_qemu_info third = ask(qemu);
	must(tp_qemu_machine(&third, "pc", &type));
	cr_assert_eq(times_run(), 3);
}

Test(qemu_info, one_that_does_not_start)
{
	struct tp_direct_options options = {.qemu = "/no/qemu"};
	struct tp_qemu_info info;

	must_fail(tp_qemu_ask(&options, TP_ACCEL_TCG, cache, &call, &info), TORPOR_E_NOT_FOUND,
		"/no/qemu");
	options.qemu = "no-such-qemu";
	must_fail(tp_qemu_ask(&options, TP_ACCEL_TCG, cache, &call, &info), TORPOR_E_NOT_FOUND,
		"no-such-qemu");
	options.qemu = "false";
	must_fail(
		tp_qemu_ask(&options, TP_ACCEL_TCG, cache, &call, &info), TORPOR_E_QEMU, "closed");
}
