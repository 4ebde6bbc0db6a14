/* SPDX-License-Identifier: Apache-2.0 */
/* The config section of an image. */
#include "snapshot/record.h"

#include <jansson.h>

#include "base/hex.h"
#include "base/mem.h"

void tp_record_deinit(struct tp_record *record)
{
	tp_guest_config_deinit(&record->guest);
	free(record->template_name);
	free(record->append);
	free(record->session_name);
	free(record->hostname);
	*record = (struct tp_record){0};
}

void tp_record_copy(struct tp_record *dst, const struct tp_record *src)
{
	*dst = *src;
	dst->guest = tp_guest_config_copy(&src->guest);
	dst->template_name = tp_strdup(src->template_name);
	dst->append = tp_strdup(src->append);
	dst->session_name = tp_strdup(src->session_name);
	dst->hostname = tp_strdup(src->hostname);
}

char *tp_record_format(const struct tp_record *record)
{
	json_t *root = json_pack("{s:o, s:{s:s, s:s?, s:b, s:b, s:I}}", "guest",
		tp_guest_config_to_json(&record->guest), "template", "name", record->template_name,
		"append", record->append, "helper", (int)record->helper, "agent",
		(int)record->agent, "boot_ns", (json_int_t)record->boot_ns);

	assert(root);
	if (record->is_session) {
		char id[2 * TP_MACHINE_ID_LEN + 1];
		tp_hex(record->machine_id, TP_MACHINE_ID_LEN, id);
		json_t *session = json_pack("{s:s, s:s, s:s, s:I}", "name", record->session_name,
			"hostname", record->hostname, "machine_id", id, "reboots",
			(json_int_t)record->reboots);
		assert(session);
		json_object_set_new(root, "session", session);
	}
	char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
	assert(text);
	json_decref(root);
	return text;
}

static struct torpor_error *bad(const char *object, const char *what)
{
	return tp_error(TORPOR_E_CORRUPT, "read config of", object, "%s", what);
}

static struct torpor_error *parse_session(
	const json_t *session, const char *object, struct tp_record *record)
{
	const char *name = NULL;
	const char *hostname = NULL;
	const char *machine_id = NULL;
	json_int_t reboots = 0;

	/* jansson's unpack takes a non-const object but doesn't change it. */
	if (json_unpack((json_t *)session, "{s:s, s:s, s:s, s:I}", "name", &name, "hostname",
		    &hostname, "machine_id", &machine_id, "reboots", &reboots) < 0)
		return bad(object, "\"session\" lacks a field or has one of the wrong type");
	if (!tp_guest_name_ok(name) || !tp_guest_name_ok(hostname))
		return bad(object, "a session's name is not one");
	if (reboots < 0 || reboots > UINT32_MAX)
		return bad(object, "\"reboots\" is out of range");
	if (!tp_unhex(machine_id, record->machine_id, TP_MACHINE_ID_LEN))
		return bad(object, "\"machine_id\" is not 32 hex digits");
	record->is_session = true;
	record->session_name = tp_strdup(name);
	record->hostname = tp_strdup(hostname);
	record->reboots = (uint32_t)reboots;
	return NULL;
}

static struct torpor_error *parse_root(
	const json_t *root, const char *object, struct tp_record *record)
{
	json_t *guest = NULL;
	const json_t *session = NULL;
	const char *name = NULL;
	const json_t *append = NULL;
	json_int_t boot_ns = 0;
	int helper = 0;
	int agent = 0;

	if (json_unpack((json_t *)root, "{s:o, s:{s:s, s:o, s:b, s:b, s:I}, s?o}", "guest", &guest,
		    "template", "name", &name, "append", &append, "helper", &helper, "agent",
		    &agent, "boot_ns", &boot_ns, "session", &session) < 0)
		return bad(object, "a field is missing or of the wrong type");
	if (!tp_guest_name_ok(name))
		return bad(object, "the template's name is not one");
	if (!json_is_null(append) && !json_is_string(append))
		return bad(object, "\"append\" is neither a text nor null");
	TP_TRY(tp_error_in(
		tp_guest_config_from_json(guest, &record->guest), "read config of", object));
	record->template_name = tp_strdup(name);
	record->append = tp_strdup(json_string_value(append));
	record->helper = helper;
	record->agent = agent;
	record->boot_ns = boot_ns < 0 ? 0 : (uint64_t)boot_ns;
	return session ? parse_session(session, object, record) : NULL;
}

struct torpor_error *tp_record_parse(
	const char *text, const char *object, struct tp_record *record_out)
{
	json_error_t at;
	TP_RECORD struct tp_record record = {0};
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &at);

	if (!root)
		return bad(object, at.text);
	struct torpor_error *err = parse_root(root, object, &record);
	json_decref(root);
	if (err)
		return err;
	*record_out = record;
	record = (struct tp_record){0};
	return NULL;
}
