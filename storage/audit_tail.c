/* SPDX-License-Identifier: Apache-2.0 */
/* The newest entries of the audit log. */
#include <string.h>

#include "base/fd.h"
#include "base/mem.h"
#include "storage/audit_file.h"
#include "storage/audit_line.h"

/* How much of the end is looked at: first, and at most. What is asked for is mostly in the first.
 */
#define WINDOW_FIRST (256 * TP_KIB)
#define WINDOW_MAX   (16 * TP_MIB)

struct wanted {
	const char *path;
	const char *tenant; /* NULL: any; as for object */
	const char *object;
	char *tenant_member; /* what a line must have in it to be parsed at all, or NULL */
	char *object_member;
	uint64_t before; /* 0: any */
	size_t limit;
};

static bool has_text(const char *line, size_t len, const char *member)
{
	return !member || memmem(line, len, member, strlen(member));
}

static bool is_text(const json_t *entry, const char *key, const char *text)
{
	const char *value = json_string_value(json_object_get(entry, key));

	return !text || (value && strcmp(value, text) == 0);
}

static bool matches(const json_t *entry, const struct wanted *wanted)
{
	json_int_t seq = json_integer_value(json_object_get(entry, "seq"));

	return is_text(entry, "tenant", wanted->tenant) &&
	       is_text(entry, "object", wanted->object) &&
	       (wanted->before == 0 || (uint64_t)seq < wanted->before);
}

/* Adds the line's entry to LIST if it is wanted. */
static struct torpor_error *add_line(
	const char *line, size_t len, const struct wanted *wanted, json_t *list)
{
	if (!has_text(line, len, wanted->tenant_member) ||
		!has_text(line, len, wanted->object_member))
		return NULL;
	json_t *entry = json_loadb(line, len, 0, NULL);
	if (!json_is_object(entry)) {
		json_decref(entry);
		return tp_error_hint(tp_error(TORPOR_E_CORRUPT, "read the audit log", wanted->path,
					     "there is a line that is no entry"),
			"torpor audit verify says which");
	}
	if (matches(entry, wanted))
		json_array_append(list, entry);
	json_decref(entry);
	return NULL;
}

/* Goes through whole lines from the last to the first. */
static struct torpor_error *add_lines(
	const char *text, size_t len, const struct wanted *wanted, json_t *list)
{
	const char *last = memrchr(text, '\n', len);

	while (last && json_array_size(list) < wanted->limit) {
		const char *before = memrchr(text, '\n', (size_t)(last - text));
		const char *line = before ? before + 1 : text;
		TP_TRY(add_line(line, (size_t)(last - line), wanted, list));
		last = before;
	}
	return NULL;
}

/* The last WINDOW bytes, but for what is left of a line at their beginning. */
static struct torpor_error *look(
	int fd, uint64_t size, uint64_t window, const struct wanted *wanted, json_t *list)
{
	TP_FREE char *text = tp_malloc((size_t)window + 1);
	size_t skip = 0;

	TP_TRY(tp_pread_full(fd, text, (size_t)window, size - window, wanted->path));
	if (window < size) {
		const char *newline = memchr(text, '\n', (size_t)window);
		skip = newline ? (size_t)(newline - text) + 1 : (size_t)window;
	}
	return add_lines(text + skip, (size_t)window - skip, wanted, list);
}

static struct torpor_error *look_further(
	int fd, uint64_t size, const struct wanted *wanted, json_t *list)
{
	uint64_t most = TP_MIN(size, (uint64_t)WINDOW_MAX);

	for (uint64_t window = WINDOW_FIRST;; window *= 4) {
		json_array_clear(list);
		TP_TRY(look(fd, size, TP_MIN(window, most), wanted, list));
		if (window >= most || json_array_size(list) >= wanted->limit)
			return NULL;
	}
}

struct torpor_error *tp_audit_tail(const char *path, const char *tenant, const char *object,
	uint64_t before, size_t limit, json_t **list_out)
{
	TP_FREE char *tenant_member = tenant ? tp_audit_member("tenant", tenant) : NULL;
	TP_FREE char *object_member = object ? tp_audit_member("object", object) : NULL;
	struct wanted wanted = {path, tenant, object, tenant_member, object_member, before, limit};
	TP_FD int fd = -1;
	uint64_t size;

	TP_TRY(tp_audit_file_read(path, &fd, &size));
	json_t *list = json_array();
	struct torpor_error *err = look_further(fd, size, &wanted, list);
	if (err)
		json_decref(list);
	else
		*list_out = list;
	return err;
}
