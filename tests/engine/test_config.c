/* SPDX-License-Identifier: Apache-2.0 */
/* Guest configurations: comparison, JSON, and what must not pass. */
#include <string.h>

#include "base/mem.h"
#include "support.h"

/* The JSON of pc_config with MEMBER set to VALUE, which is taken; NULL removes it. */
static json_t *json_with(const char *member, json_t *value)
{
	struct tp_guest_config config = pc_config();
	json_t *json = tp_guest_config_to_json(&config);

	if (value)
		json_object_set_new(json, member, value);
	else
		json_object_del(json, member);
	return json;
}

static void must_not_parse(json_t *json, const char *part)
{
	struct tp_guest_config config = {0};

	must_fail(tp_guest_config_from_json(json, &config), TORPOR_E_CORRUPT, part);
	cr_assert_null(config.machine_type, "the output was touched");
	json_decref(json);
}

Test(config, json_round_trip)
{
	struct tp_guest_config config = pc_config();
	TP_GUEST_CONFIG struct tp_guest_config back = {0};
	json_t *json = tp_guest_config_to_json(&config);

	must(tp_guest_config_from_json(json, &back));
	json_decref(json);
	cr_assert_null(tp_guest_config_difference(&config, &back));
	config.machine = TP_MACHINE_MICROVM;
	config.machine_type = (char *)"microvm";
	config.accel = TP_ACCEL_KVM;
	config.channels = false;
	json = tp_guest_config_to_json(&config);
	tp_guest_config_deinit(&back);
	must(tp_guest_config_from_json(json, &back));
	json_decref(json);
	cr_assert_null(tp_guest_config_difference(&config, &back));
}

Test(config, copy_is_deep)
{
	struct tp_guest_config config = pc_config();
	TP_GUEST_CONFIG struct tp_guest_config copy = tp_guest_config_copy(&config);

	cr_assert_null(tp_guest_config_difference(&config, &copy));
	cr_assert_neq(copy.machine_type, config.machine_type);
	cr_assert_neq(copy.cpu_model, config.cpu_model);
	cr_assert_neq(copy.qemu_version, config.qemu_version);
}

Test(config, every_field_can_differ)
{
	const struct tp_guest_config a = pc_config();
	struct tp_guest_config b;

#define DIFFERS(field, value, name)                                                                \
	b = a;                                                                                     \
	b.field = value;                                                                           \
	cr_assert_str_eq(tp_guest_config_difference(&a, &b), name)

	DIFFERS(machine, TP_MACHINE_MICROVM, "machine");
	DIFFERS(machine_type, (char *)"pc-i440fx-7.1", "machine_type");
	DIFFERS(accel, TP_ACCEL_KVM, "accel");
	DIFFERS(cpu_model, (char *)"qemu64-v1", "cpu");
	DIFFERS(memory_bytes, 65 * TP_MIB, "memory");
	DIFFERS(vcpus, 2, "vcpus");
	DIFFERS(qemu_version, (char *)"7.2.21", "qemu_version");
	DIFFERS(channels, false, "channels");
#undef DIFFERS
}

Test(config, missing_and_foreign_members)
{
	static const char *const members[] = {"machine", "machine_type", "accel", "cpu", "memory",
		"vcpus", "qemu_version", "channels"};

	for (size_t i = 0; i < TP_ARRAY_LEN(members); i++) {
		must_not_parse(json_with(members[i], NULL), members[i]);
		must_not_parse(json_with(members[i], json_array()), NULL);
	}
	must_not_parse(json_with("disk", json_true()), "disk");
	must_not_parse(json_array(), NULL);
	must_not_parse(json_null(), NULL);
	must_fail(tp_guest_config_from_json(NULL, NULL), TORPOR_E_CORRUPT, NULL);
}

Test(config, numbers_out_of_range)
{
	static const json_int_t memory[] = {0, -1, INT64_MIN, INT64_MAX, 4096, TP_MIB - 1,
		TP_MIB + 4096, 1025 * (json_int_t)TP_GIB};
	static const json_int_t vcpus[] = {
		0, -1, 256, INT32_MAX, (json_int_t)INT32_MAX + 2, INT64_MAX};

	for (size_t i = 0; i < TP_ARRAY_LEN(memory); i++)
		must_not_parse(json_with("memory", json_integer(memory[i])), "memory");
	for (size_t i = 0; i < TP_ARRAY_LEN(vcpus); i++)
		must_not_parse(json_with("vcpus", json_integer(vcpus[i])), "vcpus");
}

Test(config, bounds_are_allowed)
{
	static const uint64_t memory[] = {TP_MIB, 1024 * TP_GIB};

	for (size_t i = 0; i < TP_ARRAY_LEN(memory); i++) {
		TP_GUEST_CONFIG struct tp_guest_config config = {0};
		json_t *json = json_with("memory", json_integer((json_int_t)memory[i]));
		json_object_set_new(json, "vcpus", json_integer(255));
		must(tp_guest_config_from_json(json, &config));
		cr_assert_eq(config.memory_bytes, memory[i]);
		cr_assert_eq(config.vcpus, 255);
		json_decref(json);
	}
}

/* Whatever QEMU's option syntax could take for something else. */
Test(config, strings_that_could_be_options)
{
	char longer[300];
	static const char *const machine_types[] = {
		"", "pc,dumpdtb=/etc/passwd", "pc foo", "pc\n", "p\xc3\xa9"};
	static const char *const cpus[] = {"", ",-svm", "qemu64,", "qemu64,svm", "qemu64,svm=off",
		"qemu64,-", "qemu64,,-svm", "qemu64,-svm,", "qe+mu", "qemu64,+a+b", "qemu64 ,-svm",
		"qemu64,-svm,hv-vendor-id=x"};
	static const char *const versions[] = {"", "7.2.22-debian", "latest", "7,2"};

	memset(longer, 'a', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	for (size_t i = 0; i < TP_ARRAY_LEN(machine_types); i++)
		must_not_parse(
			json_with("machine_type", json_string(machine_types[i])), "machine_type");
	for (size_t i = 0; i < TP_ARRAY_LEN(cpus); i++)
		must_not_parse(json_with("cpu", json_string(cpus[i])), "cpu");
	for (size_t i = 0; i < TP_ARRAY_LEN(versions); i++)
		must_not_parse(json_with("qemu_version", json_string(versions[i])), "qemu_version");
	must_not_parse(json_with("machine_type", json_string(longer)), "machine_type");
	must_not_parse(json_with("cpu", json_string(longer)), "cpu");
	must_not_parse(json_with("machine", json_string("pdp11")), "machine");
	must_not_parse(json_with("accel", json_string("hvf")), "accel");
	must_not_parse(json_with("cpu", json_stringn("qemu64\0x", 8)), NULL);
}

Test(config, cpu_models)
{
	cr_assert(tp_cpu_model_ok("Westmere-v1"));
	cr_assert(tp_cpu_model_ok("qemu64-v1,-pni,-svm,+sse4.1"));
}

Test(config, names)
{
	static const char *const good[] = {"a", "s1", "A.b_c-d", "0"};
	static const char *const bad[] = {"", ".", "..", ".a", "-a", "a/b", "a,b", "a b", "a\n",
		"12345678901234567890123456789012345678901234567890123456789012345"};

	for (size_t i = 0; i < TP_ARRAY_LEN(good); i++)
		cr_assert(tp_guest_name_ok(good[i]), "%s", good[i]);
	for (size_t i = 0; i < TP_ARRAY_LEN(bad); i++)
		cr_assert_not(tp_guest_name_ok(bad[i]), "%s", bad[i]);
}
