/* SPDX-License-Identifier: Apache-2.0 */
/* Handovers as text. */
#include "pool/handover.h"

#include <jansson.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"

#define HANDOVER_VERSION 1
#define HANDOVER_MAX	 (4 * TP_MIB)
/* Of small blocks; with more the next park goes by the stream path, which needs none of them. */
#define SMALL_PAGES_MAX 128

void tp_handover_deinit(struct tp_handover *h)
{
	tp_record_deinit(&h->record);
	free(h->guest);
	free(h->image_name);
	free(h->image_path);
	free(h->small);
	*h = (struct tp_handover){0};
}

/* --- Writing --- */

static void add_page(json_t *pages, uint64_t number, const uint8_t *bytes)
{
	TP_FREE char *hex = tp_malloc(2 * TP_PAGE_SIZE + 1);

	tp_hex(bytes, TP_PAGE_SIZE, hex);
	json_array_append_new(pages, json_pack("[I, s]", (json_int_t)number, hex));
}

/* A new reference. */
static json_t *small_pages(const struct tp_memory *memory)
{
	json_t *pages = json_array();

	for (size_t at = 0; memory->small && at < memory->base->small_len; at += TP_PAGE_SIZE) {
		if (memcmp(memory->small + at, memory->base->small + at, TP_PAGE_SIZE) == 0)
			continue;
		if (json_array_size(pages) < SMALL_PAGES_MAX)
			add_page(pages, at / TP_PAGE_SIZE, memory->small + at);
	}
	return pages;
}

struct torpor_error *tp_session_handover_locked(struct torpor_session *session, char **handover_out)
{
	const struct tp_guest *guest = session->guest;
	TP_FREE char *record = tp_record_format(&session->record);
	char id[2 * TP_IDENTITY_LEN + 1];

	if (!guest)
		return tp_error(TORPOR_E_BUSY, "describe session", session->name,
			"it has no guest that could be handed over");
	tp_hex(session->tmpl->base->id, TP_IDENTITY_LEN, id);
	json_t *root = json_pack("{s:i, s:s, s:I, s:I, s:s, s:b, s:s, s:s?, s:s?, s:I, s:I, s:o}",
		"version", HANDOVER_VERSION, "guest", tp_guest_name(guest), "pid",
		(json_int_t)tp_guest_pid(guest), "start_time",
		(json_int_t)tp_guest_start_time(guest), "template_id", id, "has_base",
		(int)(session->memory.base != NULL), "record", record, "image_name",
		session->image_name, "image_path", session->image_path, "owed",
		(json_int_t)session->owed, "entered_ns", (json_int_t)session->entered_ns, "small",
		small_pages(&session->memory));
	/* A path needn't be UTF-8, and nothing else can be wrong. */
	if (!root)
		return tp_error(TORPOR_E_INVALID, "describe session", session->name,
			"the path of its image is not UTF-8");
	char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(root);
	*handover_out = text;
	return NULL;
}

struct torpor_error *torpor_session_handover(struct torpor_session *session, char **handover_out)
{
	struct tp_call call = tp_call_within(RESUME_TIMEOUT_NS);

	TP_TRY(tp_session_enter(session, false, &call));
	struct torpor_error *err = tp_session_require_guest(session, "hand over");
	if (!err)
		err = tp_session_handover_locked(session, handover_out);
	tp_session_leave(session);
	return err;
}

/* --- Reading --- */

static struct torpor_error *bad(const char *what)
{
	return tp_error(TORPOR_E_CORRUPT, "read", "handover", "%s", what);
}

static struct torpor_error *parse_page(json_t *json, struct tp_handover_page *page)
{
	json_int_t number = 0;
	const char *hex = NULL;

	if (json_unpack(json, "[I, s!]", &number, &hex) < 0 || number < 0 ||
		!tp_unhex(hex, page->bytes, TP_PAGE_SIZE))
		return bad("a page in \"small\" is malformed");
	page->number = (uint64_t)number;
	return NULL;
}

static struct torpor_error *parse_small(const json_t *small, struct tp_handover *h)
{
	size_t n = json_array_size(small);

	if (!json_is_array(small) || n > SMALL_PAGES_MAX)
		return bad("\"small\" is no list, or too long");
	h->small = tp_calloc(TP_MAX(n, (size_t)1), sizeof(*h->small));
	h->n_small = n;
	for (size_t i = 0; i < n; i++)
		TP_TRY(parse_page(json_array_get(small, i), &h->small[i]));
	return NULL;
}

static bool text_or_null(const json_t *json)
{
	return json_is_null(json) || json_is_string(json);
}

static struct torpor_error *parse_root(json_t *root, struct tp_handover *h)
{
	const char *guest = NULL;
	const char *id = NULL;
	const char *record = NULL;
	const json_t *image_name = NULL;
	const json_t *image_path = NULL;
	const json_t *small = NULL;
	json_int_t version = 0;
	json_int_t pid = 0;
	json_int_t start_time = 0;
	json_int_t owed = 0;
	json_int_t entered_ns = 0;
	int has_base = 0;

	if (json_unpack(root, "{s:I}", "version", &version) < 0)
		return bad("it has no version");
	if (version != HANDOVER_VERSION)
		return tp_error(TORPOR_E_MISMATCH, "read", "handover",
			"its version is %lld, and %d is known", (long long)version,
			HANDOVER_VERSION);
	if (json_unpack(root, "{s:s, s:I, s:I, s:s, s:b, s:s, s:o, s:o, s:I, s:I, s:o}", "guest",
		    &guest, "pid", &pid, "start_time", &start_time, "template_id", &id, "has_base",
		    &has_base, "record", &record, "image_name", &image_name, "image_path",
		    &image_path, "owed", &owed, "entered_ns", &entered_ns, "small", &small) < 0)
		return bad("a field is missing or of the wrong type");
	if (!tp_guest_name_ok(guest) || pid <= 0 || pid > INT32_MAX || start_time < 0)
		return bad("it names no process");
	if (!tp_unhex(id, h->template_id, TP_IDENTITY_LEN))
		return bad("\"template_id\" is no identity");
	if (!text_or_null(image_name) || !text_or_null(image_path))
		return bad("the session's image is neither a text nor null");
	if (json_is_string(image_name) && !tp_guest_name_ok(json_string_value(image_name)))
		return bad("\"image_name\" can't be one");
	h->guest = tp_strdup(guest);
	h->pid = (pid_t)pid;
	h->start_time = (uint64_t)start_time;
	h->has_base = has_base;
	h->image_name = tp_strdup(json_string_value(image_name));
	h->image_path = tp_strdup(json_string_value(image_path));
	h->owed = (uint32_t)owed & (TORPOR_FRESH_HOSTNAME | TORPOR_FRESH_MACHINE_ID);
	h->entered_ns = entered_ns < 0 ? 0 : (uint64_t)entered_ns;
	TP_TRY(tp_record_parse(record, "handover", &h->record));
	if (!h->record.is_session)
		return bad("its record is no session's");
	return parse_small(small, h);
}

struct torpor_error *tp_handover_parse(const char *text, struct tp_handover *handover_out)
{
	TP_HANDOVER struct tp_handover h = {0};

	if (!text || strnlen(text, HANDOVER_MAX) == HANDOVER_MAX)
		return bad("there is none, or it is too long");
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	if (!root)
		return bad("it isn't JSON");
	struct torpor_error *err = parse_root(root, &h);
	json_decref(root);
	if (err)
		return err;
	*handover_out = h;
	h = (struct tp_handover){0};
	return NULL;
}

char *tp_handover_guest(const char *text)
{
	struct tp_handover h;
	struct torpor_error *err = tp_handover_parse(text, &h);

	if (err) {
		tp_error_log(err);
		return NULL;
	}
	char *guest = TP_TAKE(h.guest);
	tp_handover_deinit(&h);
	return guest;
}
