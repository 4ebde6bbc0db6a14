/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watching for guests that end by themselves.
 *
 * One thread waits on the pidfds of all guests, those that wait in stock included. When a session's
 * ends, another thread takes its turn and does what is due: a guest that reset itself is booted
 * anew, one that powered off or died ends its session. One that dies in stock is taken out of it.
 *
 * What happens so is told to whoever opened the engine, by the first thread, which holds nothing
 * then: so the events of an engine come in the order in which they happened.
 */
#ifndef TP_POOL_WATCH_H
#define TP_POOL_WATCH_H

#include "pool/session.h"

struct tp_watcher;

struct torpor_error *tp_watcher_new(
	struct torpor_engine *engine, struct tp_watcher **watcher_out) TP_MUST_USE;
/* No guest may be watched any more. Takes NULL. Returns NULL. */
struct tp_watcher *tp_watcher_free(struct tp_watcher *watcher);

/* Watches the session's guest, or no longer does so. By whoever has the session's turn. */
struct torpor_error *tp_watch(struct torpor_session *session) TP_MUST_USE;
void tp_unwatch(struct torpor_session *session);

/* The same for one that waits, by its watch_id. Under the engine's lock. */
void tp_watch_waiting(struct torpor_engine *engine, struct tp_shell *shell);
void tp_unwatch_waiting(struct torpor_engine *engine, struct tp_shell *shell);

/* Has EVENT told, soon and on the watcher's thread. Without the engine's lock. */
void tp_watcher_tell(struct tp_watcher *watcher, enum torpor_event event, const char *name);

/* As tp_stir_fn; DATA is the watcher. */
void tp_watcher_stir(void *data, const char *guest_name, enum tp_stir how);

/*
 * Whether the session's guest has ended and that is still to be dealt with; if so that comes next,
 * before any other turn. By whoever has the session's turn, to be given then.
 */
bool tp_watch_ended(struct torpor_session *session);

/*
 * Waits until no thread of the watcher works on the session, which is no longer in the engine's
 * list. Without the turn, since that thread may need it.
 */
void tp_watcher_wait(struct torpor_session *session);

#endif
