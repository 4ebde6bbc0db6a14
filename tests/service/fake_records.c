/* SPDX-License-Identifier: Apache-2.0 */
/* The world of the tests: what is recorded. */
#include "fake_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

struct tp_change {
	struct tp_session_row put_sessions[128];
	size_t n_sessions;
	struct tp_image_row put_images[128];
	size_t n_images;
	char *removed_sessions[128];
	size_t n_removed;
	struct {
		char *id, *info;
	} notes[128];
	size_t n_notes;
	char *removed_images[128];
	size_t n_removed_images;
	struct tp_repeat_row repeat;
};

struct tp_commit {
	struct torpor_error *err;
};

struct tp_session_row fake_sessions[2048];
size_t fake_n_sessions;
struct tp_image_row fake_images[256];
size_t fake_n_images;

void tp_session_row_deinit(struct tp_session_row *row)
{
	free(row->id);
	free(row->tenant);
	free(row->name);
	free(row->template_name);
	free(row->template_id);
	free(row->state);
	free(row->reason);
	free(row->handover);
	free(row->labels);
	free(row->env);
	free(row->limits);
	free(row->info);
	free(row->forked_from);
	free(row->park_uuid);
	*row = (struct tp_session_row){0};
}

void tp_image_row_deinit(struct tp_image_row *row)
{
	free(row->name);
	free(row->session);
	free(row->tenant);
	free(row->kind);
	free(row->label);
	free(row->parent);
	free(row->template_id);
	*row = (struct tp_image_row){0};
}

struct tp_change *tp_change_new(void)
{
	return tp_calloc(1, sizeof(struct tp_change));
}

struct tp_change *tp_change_free(struct tp_change *change)
{
	for (size_t i = 0; i < change->n_sessions; i++)
		tp_session_row_deinit(&change->put_sessions[i]);
	for (size_t i = 0; i < change->n_images; i++)
		tp_image_row_deinit(&change->put_images[i]);
	for (size_t i = 0; i < change->n_removed; i++)
		free(change->removed_sessions[i]);
	for (size_t i = 0; i < change->n_removed_images; i++)
		free(change->removed_images[i]);
	for (size_t i = 0; i < change->n_notes; i++) {
		free(change->notes[i].id);
		free(change->notes[i].info);
	}
	free(change->repeat.result);
	free(change);
	return NULL;
}

void tp_change_put_session(struct tp_change *change, const struct tp_session_row *row)
{
	assert(row->labels && row->env && row->limits && row->info && row->name);
	tp_session_row_copy(row, &change->put_sessions[change->n_sessions++]);
}

void tp_change_note_session(struct tp_change *change, const char *id, const char *info)
{
	change->notes[change->n_notes].id = tp_strdup(id);
	change->notes[change->n_notes++].info = tp_strdup(info);
}

void tp_change_put_image(struct tp_change *change, const struct tp_image_row *row)
{
	tp_image_row_copy(row, &change->put_images[change->n_images++]);
}

void tp_change_remove_session(struct tp_change *change, const char *id)
{
	change->removed_sessions[change->n_removed++] = tp_strdup(id);
}

void tp_change_remove_image(struct tp_change *change, const char *name)
{
	change->removed_images[change->n_removed_images++] = tp_strdup(name);
}

void tp_change_put_repeat(struct tp_change *change, const struct tp_repeat_row *row)
{
	change->repeat = *row;
	change->repeat.result = tp_strdup(row->result);
}

void tp_change_audit_head(struct tp_change *change, uint64_t seq, const uint8_t hash[TP_HASH_LEN])
{
	(void)change;
	(void)seq;
	(void)hash;
}

struct tp_session_row *fake_find_session(const char *id)
{
	for (size_t i = 0; i < fake_n_sessions; i++) {
		if (strcmp(fake_sessions[i].id, id) == 0)
			return &fake_sessions[i];
	}
	return NULL;
}

static void drop_image(size_t i)
{
	tp_image_row_deinit(&fake_images[i]);
	fake_images[i] = fake_images[--fake_n_images];
}

void fake_drop_session(const char *id)
{
	struct tp_session_row *row = fake_find_session(id);

	if (!row)
		return;
	for (size_t i = fake_n_images; i-- > 0;) {
		if (strcmp(fake_images[i].session, id) == 0)
			drop_image(i);
	}
	tp_session_row_deinit(row);
	memmove(row, row + 1, (size_t)(&fake_sessions[--fake_n_sessions] - row) * sizeof(*row));
}

void fake_put_session(const struct tp_session_row *row)
{
	struct tp_session_row *at = fake_find_session(row->id);

	if (at)
		tp_session_row_deinit(at);
	else
		at = &fake_sessions[fake_n_sessions++];
	tp_session_row_copy(row, at);
}

static void put_image(const struct tp_image_row *row)
{
	assert(fake_find_session(row->session));
	for (size_t i = fake_n_images; i-- > 0;) {
		if (strcmp(fake_images[i].name, row->name) == 0)
			drop_image(i);
	}
	tp_image_row_copy(row, &fake_images[fake_n_images++]);
}

static struct torpor_error *check_name(const struct tp_session_row *row)
{
	for (size_t i = 0; i < fake_n_sessions; i++) {
		if (strcmp(fake_sessions[i].id, row->id) != 0 &&
			strcmp(fake_sessions[i].tenant, row->tenant) == 0 &&
			strcmp(fake_sessions[i].name, row->name) == 0)
			return tp_error(TORPOR_E_EXISTS, "record", row->id, "that name is taken");
	}
	return NULL;
}

/* A change of nothing else is no commit, and doesn't fail. */
static bool apply_notes(struct tp_change *change)
{
	for (size_t i = 0; i < change->n_notes; i++) {
		struct tp_session_row *row = fake_find_session(change->notes[i].id);
		if (row && !fake.lose_notes)
			tp_row_set(&row->info, change->notes[i].info);
	}
	fake.notes += change->n_notes > 0;
	return change->n_notes > 0;
}

static struct torpor_error *apply(struct tp_change *change)
{
	struct torpor_error *err = NULL;

	if (apply_notes(change))
		return NULL;
	if (fake.fail_commits > 0) {
		fake.fail_commits--;
		return tp_error(TORPOR_E_IO, "commit", NULL, "as ordered");
	}
	for (size_t i = 0; i < change->n_sessions && !err; i++)
		err = check_name(&change->put_sessions[i]);
	if (err)
		return err;
	for (size_t i = 0; i < change->n_sessions; i++)
		fake_put_session(&change->put_sessions[i]);
	for (size_t i = 0; i < change->n_removed; i++)
		fake_drop_session(change->removed_sessions[i]);
	for (size_t i = 0; i < change->n_images; i++)
		put_image(&change->put_images[i]);
	for (size_t i = 0; i < change->n_removed_images; i++) {
		for (size_t j = fake_n_images; j-- > 0;) {
			if (strcmp(fake_images[j].name, change->removed_images[i]) == 0)
				drop_image(j);
		}
	}
	if (change->repeat.status) {
		fake.repeat_created_ns = change->repeat.created_ns;
		fake.repeat_status = change->repeat.status;
		snprintf(fake.repeat_result, sizeof(fake.repeat_result), "%s",
			change->repeat.result ? change->repeat.result : "");
	}
	fake.commits++;
	return NULL;
}

struct tp_commit *tp_records_submit(struct tp_records *records, struct tp_change *change)
{
	struct tp_commit *commit = tp_calloc(1, sizeof(*commit));

	(void)records;
	pthread_mutex_lock(&fake.lock);
	commit->err = apply(change);
	pthread_mutex_unlock(&fake.lock);
	tp_change_free(change);
	return commit;
}

struct torpor_error *tp_commit_wait(struct tp_commit *commit)
{
	struct torpor_error *err = commit->err;

	free(commit);
	return err;
}

struct torpor_error *tp_records_commit(struct tp_records *records, struct tp_change *change)
{
	pthread_mutex_lock(&fake.lock);
	fake.fail_commits += fake.fail_undo;
	fake.undo_failed = fake.undo_failed || fake.fail_undo;
	fake.fail_undo = false;
	pthread_mutex_unlock(&fake.lock);
	return tp_commit_wait(tp_records_submit(records, change));
}

struct torpor_error *tp_records_session(struct tp_records *records, const char *tenant,
	const char *id, struct tp_session_row *row_out)
{
	(void)records;
	pthread_mutex_lock(&fake.lock);
	const struct tp_session_row *row = fake_find_session(id);
	bool found = row && (!tenant || strcmp(row->tenant, tenant) == 0);
	if (found)
		tp_session_row_copy(row, row_out);
	void (*on_read)(void) = fake.on_read;
	fake.on_read = NULL;
	pthread_mutex_unlock(&fake.lock);
	if (on_read)
		on_read();
	return found ? NULL : tp_error(TORPOR_E_NOT_FOUND, "find row", id, "none");
}

static bool row_listed(const struct tp_session_row *row, const struct tp_session_filter *filter)
{
	TP_JSON json_t *labels = tp_row_json(row->labels);

	if (filter->tenant && strcmp(row->tenant, filter->tenant) != 0)
		return false;
	if (filter->state && strcmp(row->state, filter->state) != 0)
		return false;
	if (filter->template_name && strcmp(row->template_name, filter->template_name) != 0)
		return false;
	if (filter->match && strcmp(row->name, filter->match) != 0 &&
		strncmp(row->id, filter->match, strlen(filter->match)) != 0)
		return false;
	const char *label = filter->label_key
				    ? json_string_value(json_object_get(labels, filter->label_key))
				    : NULL;
	if (filter->label_key && (!label || strcmp(label, filter->label_value) != 0))
		return false;
	if (!filter->before_created_ns)
		return true;
	return row->created_ns < filter->before_created_ns ||
	       (row->created_ns == filter->before_created_ns &&
		       strcmp(row->id, filter->before_id) < 0);
}

static int newest_first(const void *a, const void *b)
{
	const struct tp_session_row *row_a = *(const struct tp_session_row *const *)a;
	const struct tp_session_row *row_b = *(const struct tp_session_row *const *)b;

	if (row_a->created_ns != row_b->created_ns)
		return row_a->created_ns > row_b->created_ns ? -1 : 1;
	return -strcmp(row_a->id, row_b->id);
}

struct torpor_error *tp_records_sessions(struct tp_records *records,
	const struct tp_session_filter *filter, tp_session_each *each, void *data)
{
	const struct tp_session_row *found[TP_ARRAY_LEN(fake_sessions)];
	struct torpor_error *err = NULL;
	size_t n = 0;

	(void)records;
	pthread_mutex_lock(&fake.lock);
	for (size_t i = 0; i < fake_n_sessions; i++) {
		if (row_listed(&fake_sessions[i], filter))
			found[n++] = &fake_sessions[i];
	}
	qsort(found, n, sizeof(found[0]), newest_first);
	for (size_t i = 0; i < n && !err && (!filter->limit || i < filter->limit); i++)
		err = each(data, found[i]);
	pthread_mutex_unlock(&fake.lock);
	return err;
}

struct torpor_error *tp_records_images(
	struct tp_records *records, const char *session, tp_image_each *each, void *data)
{
	struct torpor_error *err = NULL;

	(void)records;
	pthread_mutex_lock(&fake.lock);
	for (size_t i = 0; i < fake_n_images && !err; i++) {
		if (strcmp(fake_images[i].session, session) == 0)
			err = each(data, &fake_images[i]);
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}
