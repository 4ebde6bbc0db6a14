/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking turns on a session, with deadline and cancel.
 *
 * An eventfd of one token rather than a mutex: waiting for it goes through poll, so that it ends
 * with the call. Beside it a flag, pollable too, by which an urgent call (park, destroy) tells the
 * one whose turn it is that it should come to an end.
 *
 * A turn can be reserved: it is given to whoever reserved it before any other, so that what has to
 * come first (dealing with a guest's end) does, however many wait.
 */
#ifndef TP_POOL_TURN_H
#define TP_POOL_TURN_H

#include "base/call.h"

struct tp_turn;

struct torpor_error *tp_turn_new(struct tp_turn **turn_out) TP_MUST_USE;
/* Nobody may have it or wait for it. Takes NULL. Returns NULL. */
struct tp_turn *tp_turn_free(struct tp_turn *turn);
TP_DEFINE_CLEANUP(struct tp_turn *, tp_turn_free)

/* Waits for the turn. OBJECT names the session in messages. */
struct torpor_error *tp_turn_take(
	struct tp_turn *turn, const struct tp_call *call, const char *object) TP_MUST_USE;

/* The same; while it waits, whoever has the turn is told to make way. */
struct torpor_error *tp_turn_take_urgently(
	struct tp_turn *turn, const struct tp_call *call, const char *object) TP_MUST_USE;

void tp_turn_give(struct tp_turn *turn);

/* Whether somebody has it; out of date at once, of course. */
bool tp_turn_taken(struct tp_turn *turn);

/*
 * Reserves the next turn, whoever has the present one; doesn't wait. Each is to be taken with
 * tp_turn_take_reserved, which waits without bound, or dropped.
 */
void tp_turn_reserve(struct tp_turn *turn);
void tp_turn_drop_reserved(struct tp_turn *turn);
struct torpor_error *tp_turn_take_reserved(struct tp_turn *turn, const char *object) TP_MUST_USE;

/* A descriptor that is readable while somebody urgent waits. */
int tp_turn_wanted_fd(struct tp_turn *turn);

#endif
