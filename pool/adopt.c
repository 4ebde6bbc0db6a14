/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking over guests that an earlier engine has left running.
 *
 * The guest is found by its name in the run directory and known by pid and start time; whoever has
 * its directory's lock owns it, so of two that adopt it one does. Its vCPUs notice nothing: QEMU is
 * only asked, its base is read through its open files, and its channels are spoken to when there is
 * something to say. Whatever fails leaves it as it was, with nobody.
 *
 * The earlier engine may have been killed at any moment. A guest that it had stopped is still
 * stopped then, maybe with a migration under way to a reader that is gone: the migration is ended,
 * and the session PAUSED, which is the truth.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/control.h"
#include "pool/handover.h"
#include "pool/watch.h"

struct adoption {
	struct torpor_engine *engine;
	const struct tp_handover *h;
	const struct tp_call *call;
	struct tp_guest *guest;
	enum tp_guest_found found;
	struct torpor_template *tmpl;
	struct tp_memory memory;
};

/* What wasn't taken over runs on. */
static void adoption_deinit(struct adoption *a)
{
	if (a->guest)
		tp_error_log(tp_guest_release(a->guest));
	torpor_template_close(a->tmpl);
	tp_memory_deinit(&a->memory);
}

/* --- The guest --- */

/* One that waits for its state never was a session's: it is of no use to anybody. */
static struct torpor_error *end_empty(struct adoption *a)
{
	TP_TRY(tp_guest_end(TP_TAKE(a->guest), a->call));
	return tp_error(TORPOR_E_NOT_FOUND, "look for", a->h->guest,
		"it had not been loaded; it was ended");
}

static struct torpor_error *find_guest(struct adoption *a)
{
	const struct tp_handover *h = a->h;

	TP_TRY(tp_launcher_find(a->engine->launcher, h->guest, a->call, &a->guest));
	if (tp_guest_pid(a->guest) != h->pid || tp_guest_start_time(a->guest) != h->start_time)
		return tp_error(TORPOR_E_MISMATCH, "look for", h->guest,
			"its process is %d, and %d was handed over", (int)tp_guest_pid(a->guest),
			(int)h->pid);
	TP_TRY(tp_guest_take_over(a->guest, a->call, &a->found));
	return a->found == TP_GUEST_EMPTY ? end_empty(a) : NULL;
}

/* --- Its template and memory --- */

static struct torpor_error *find_template(struct adoption *a)
{
	const struct tp_handover *h = a->h;
	const char *name = h->record.template_name;
	struct torpor_error *err = NULL;

	if (!h->has_base)
		return tp_template_open_for(
			a->engine, h->template_id, &h->record, a->call, &a->tmpl);
	err = tp_template_take_back(
		a->engine, h->template_id, name, tp_guest_pid(a->guest), a->call, &a->tmpl);
	if (!err || torpor_error_code(err) != TORPOR_E_DENIED)
		return err;
	/* Into a process of others nobody looks. */
	tp_error_log(err);
	return tp_template_open_id(a->engine, h->template_id, name, a->call, &a->tmpl);
}

/* What the small blocks held after loading, or NULL: what the base holds. */
static struct torpor_error *small_of(
	const struct tp_handover *h, const struct tp_base *base, uint8_t **small_out)
{
	TP_FREE uint8_t *small = NULL;

	if (h->n_small > 0)
		small = tp_memdup(base->small, base->small_len);
	for (size_t i = 0; i < h->n_small; i++) {
		if (h->small[i].number >= base->small_len / TP_PAGE_SIZE)
			return tp_error(TORPOR_E_CORRUPT, "read", "handover",
				"a page is outside of the template's small blocks");
		memcpy(small + h->small[i].number * TP_PAGE_SIZE, h->small[i].bytes, TP_PAGE_SIZE);
	}
	*small_out = TP_TAKE(small);
	return NULL;
}

static struct torpor_error *find_memory(struct adoption *a)
{
	const struct tp_handover *h = a->h;
	struct tp_base *base = a->tmpl->base;
	uint8_t *small;

	const char *field = tp_guest_config_difference(&h->record.guest, &base->record.guest);
	if (field && strcmp(field, "qemu_version") != 0)
		return tp_error(TORPOR_E_MISMATCH, "take over", h->guest,
			"its guest differs from its template's in \"%s\"", field);
	if (!h->has_base)
		return tp_memory_adopt_own(&a->memory, a->guest, h->record.guest.memory_bytes);
	TP_TRY(small_of(h, base, &small));
	return tp_memory_adopt_clone(
		&a->memory, a->guest, base, small, a->engine->workers, a->call);
}

/* --- The session --- */

/* Hands all over to SESSION, which takes nothing that can fail. */
static void give(struct adoption *a, struct torpor_session *session)
{
	const struct tp_handover *h = a->h;

	session->guest = TP_TAKE(a->guest);
	session->memory = a->memory;
	a->memory = TP_MEMORY_NONE;
	if (session->record.helper)
		session->helper = tp_helper_new(tp_guest_take_helper_fd(session->guest));
	/* Of a park that got that far before its engine was killed: nobody else's has that name. */
	bool parked = faccessat(session->engine->images_fd, session->name, F_OK, 0) == 0;
	session->image_name = tp_strdup(parked && !h->image_name ? session->name : h->image_name);
	session->image_path = tp_strdup(h->image_path);
	if (session->image_name || session->image_path)
		tp_session_show_image(session);
	session->owed = h->owed;
	session->entered_ns = h->entered_ns;
}

static struct torpor_error *make_session(struct adoption *a, struct torpor_session **session_out)
{
	struct torpor_session *session;

	TP_TRY(tp_session_new(a->tmpl, &a->h->record, &session));
	give(a, session);
	/* First: its end may be seen at once, and ends a session that has a guest. */
	tp_session_set_state(session,
		a->found == TP_GUEST_STANDS ? TORPOR_SESSION_PAUSED : TORPOR_SESSION_RUNNING);
	struct torpor_error *err = tp_watch(session);
	if (err) {
		a->guest = TP_TAKE(session->guest);
		torpor_session_close(session);
		return err;
	}
	*session_out = session;
	return NULL;
}

static struct torpor_error *adopt(struct adoption *a, struct torpor_session **session_out)
{
	TP_TRY(find_guest(a));
	TP_TRY(find_template(a));
	TP_TRY(find_memory(a));
	return make_session(a, session_out);
}

struct torpor_error *torpor_session_adopt(struct torpor_engine *engine, const char *handover,
	const struct torpor_call *public_call, struct torpor_session **session_out)
{
	struct tp_call call = tp_call_from(public_call, RESUME_TIMEOUT_NS);
	TP_HANDOVER struct tp_handover h = {0};

	TP_TRY(tp_error_in(tp_handover_parse(handover, &h), "adopt session", NULL));
	struct adoption a = {.engine = engine, .h = &h, .call = &call, .memory = TP_MEMORY_NONE};
	struct torpor_error *err = adopt(&a, session_out);
	adoption_deinit(&a);
	return tp_error_in(err, "adopt session", h.record.session_name);
}

/* --- Ending what isn't adopted --- */

struct torpor_error *torpor_handover_end(
	struct torpor_engine *engine, const char *handover, const struct torpor_call *public_call)
{
	struct tp_call call = tp_call_from(public_call, RESUME_TIMEOUT_NS);
	TP_HANDOVER struct tp_handover h = {0};

	TP_TRY(tp_error_in(tp_handover_parse(handover, &h), "end session", NULL));
	struct torpor_error *err =
		tp_launcher_end(engine->launcher, h.guest, h.pid, h.start_time, &call);
	if (err && torpor_error_code(err) == TORPOR_E_NOT_FOUND) {
		/* It has ended already. */
		torpor_error_free(err);
		return NULL;
	}
	return tp_error_in(err, "end session", h.record.session_name);
}

struct torpor_error *tp_engine_end_orphans(struct torpor_engine *engine,
	bool (*keep)(void *data, const char *guest), void *data, const struct tp_call *call,
	unsigned int *count_out)
{
	TP_TRY(tp_launcher_end_orphans(engine->launcher, keep, data, call, count_out));
	return tp_launcher_sweep(engine->launcher, call);
}
