/* SPDX-License-Identifier: Apache-2.0 */
/* Families of sessions, out of the records. */
#include <stdio.h>
#include <string.h>

#include "bare.h"
#include "base/mem.h"

static char *dir;
static struct tp_service *service;

static void set_up(void)
{
	dir = bare_dir();
	service = bare_open(dir);
}

static void tear_down(void)
{
	bare_close(service);
	bare_remove_dir(dir);
}

TestSuite(lineage, .init = set_up, .fini = tear_down);

/* "root" becomes an id. */
static const char *id_of(const char *name)
{
	static char ids[8][TP_ID_LEN + 1];
	static unsigned int next;
	char *id = ids[next++ % 8];

	snprintf(id, TP_ID_LEN + 1, "%.4s%.12s", name, "000000000000");
	return id;
}

static void put(const char *name, const char *from, const char *info)
{
	struct tp_session_row row;

	bare_put_session(service, id_of(name), "alice", "parked", "uuid");
	must(tp_records_session(service->records, NULL, id_of(name), &row));
	row.forked_from = from ? tp_strdup(id_of(from)) : NULL;
	free(row.info);
	row.info = tp_strdup(info);
	struct tp_change *change = tp_change_new();
	tp_change_put_session(change, &row);
	must(tp_records_commit(service->records, change));
	tp_session_row_deinit(&row);
}

static json_t *family_of(const char *name)
{
	struct tp_actor alice = bare_tenant("alice");
	json_t *view;

	must(tp_service_lineage(service, &alice, id_of(name), &view));
	return view;
}

/* "ID<PARENT" of each node, one behind the other. */
static char *text_of(const json_t *view)
{
	char *text = tp_strdup("");
	size_t i;
	json_t *node;

	json_array_foreach (json_object_get(view, "nodes"), i, node) {
		const char *parent = json_string_value(json_object_get(node, "parent"));
		const char *kind = json_string_value(json_object_get(node, "kind"));
		const char *name = json_string_value(json_object_get(node, "name"));
		char *longer = tp_asprintf("%s%c:%.4s%s<%.*s ", text, kind[0],
			json_string_value(json_object_get(node, "id")),
			strchr(json_string_value(json_object_get(node, "id")), '/') ? name : "",
			parent && strchr(parent, '/') ? 99 : 4, parent ? parent : "-");
		free(text);
		text = longer;
	}
	return text;
}

Test(lineage, of_a_family)
{
	put("root", NULL, "{\"started_ms\": 3.5, \"checkpoints\": {\"before\": 2.5}}");
	bare_put_image(service, "before", id_of("root"), "alice", "checkpoint");
	put("left", "root", "{\"fork_image\": \"before\"}");
	put("away", "root", "{\"fork_image\": \"removed\"}");
	put("leaf", "left", "{}");
	put("else", NULL, "{}");
	/* Whoever of them is asked about. */
	static const char *const names[] = {"root", "left", "leaf"};
	for (size_t i = 0; i < TP_ARRAY_LEN(names); i++) {
		TP_JSON json_t *view = family_of(names[i]);
		TP_FREE char *text = text_of(view);
		cr_assert_str_eq(
			json_string_value(json_object_get(view, "session")), id_of(names[i]));
		cr_assert(strncmp(text, "s:root<- c:rootbefore<root ", 27) == 0, "%s", text);
		cr_assert_not_null(strstr(text, "s:left<root000000000000/before "), "%s", text);
		cr_assert_not_null(strstr(text, "s:away<root "), "%s", text);
		cr_assert_not_null(strstr(text, "s:leaf<left "), "%s", text);
		cr_assert_eq(json_array_size(json_object_get(view, "nodes")), 5);
		cr_assert(json_is_false(json_object_get(view, "truncated")));
	}
	TP_JSON json_t *view = family_of("root");
	const json_t *nodes = json_object_get(view, "nodes");
	cr_assert_eq(json_number_value(json_object_get(json_array_get(nodes, 0), "took_ms")), 3.5);
	cr_assert_eq(json_number_value(json_object_get(json_array_get(nodes, 1), "took_ms")), 2.5);
	cr_assert_eq(json_integer_value(json_object_get(json_array_get(nodes, 1), "bytes")), 100);
}

Test(lineage, whose_source_is_gone)
{
	put("left", "gone", "{\"last\": {\"park\": {\"total_ms\": 7.5}}}");
	put("away", "gone", "{}");
	bare_put_image(service, id_of("left"), id_of("left"), "alice", "park");
	TP_JSON json_t *view = family_of("left");
	TP_FREE char *text = text_of(view);

	cr_assert(strncmp(text, "g:gone<- ", 9) == 0, "%s", text);
	cr_assert_not_null(strstr(text, "s:left<gone p:leftpark<left "), "%s", text);
	cr_assert_not_null(strstr(text, "s:away<gone "), "%s", text);
}

Test(lineage, is_bounded)
{
	struct tp_change *change = tp_change_new();
	struct tp_session_row row;
	char name[16];

	put("root", NULL, "{}");
	put("f000", "root", "{}");
	must(tp_records_session(service->records, NULL, id_of("f000"), &row));
	/* In one change: each of its own would be synced. */
	for (int i = 1; i < 600; i++) {
		snprintf(name, sizeof(name), "f%03d", i);
		tp_row_set(&row.id, id_of(name));
		tp_row_set(&row.name, id_of(name));
		tp_change_put_session(change, &row);
	}
	tp_session_row_deinit(&row);
	must(tp_records_commit(service->records, change));
	TP_JSON json_t *view = family_of("f000");
	cr_assert_eq(json_array_size(json_object_get(view, "nodes")), 500);
	cr_assert(json_is_true(json_object_get(view, "truncated")));
}

Test(lineage, is_its_tenants)
{
	struct tp_actor bob = bare_tenant("bob"), bound = bare_tenant("alice");
	json_t *view;

	put("root", NULL, "{}");
	must_fail(tp_service_lineage(service, &bob, id_of("root"), &view), TORPOR_E_NOT_FOUND);
	must_fail(tp_service_lineage(service, &bob, id_of("none"), &view), TORPOR_E_NOT_FOUND);
	snprintf(bound.session, sizeof(bound.session), "%s", id_of("root"));
	must_fail(tp_service_lineage(service, &bound, id_of("root"), &view), TORPOR_E_DENIED);
}
