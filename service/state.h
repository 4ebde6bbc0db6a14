/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of a session.
 *
 *              create, fork
 *                   |
 *                   v
 *               CREATED ----> STARTING ---------------------------+
 *                                |                                | fails (never acknowledged:
 *                                v                                v its record is not kept)
 *        +--------------->  RUNNING  <---- unpause ---- PAUSED  DESTROYED
 *        |                  |   |  ^ \----- pause ------> |  |
 *        |            park  |   |  | taken back           |  |
 *        |                  v   |  |                park  |  |
 *     RESUMING           PARKING --+  <-------------------+  |
 *      ^    |               |                                |
 *      |    | fails         v                                |
 *      +----+---------->  PARKED                             |
 *    resume                 |                                |
 *                           v                                v
 *                        STOPPING <---- destroy, time is over (from RUNNING, PAUSED, PARKED, ERROR)
 *                           |
 *                           v
 *                       DESTROYED
 *
 *   STARTING -> PARKED: it was imported.
 *
 *   A guest that dies: RUNNING, PAUSED -> PARKED (an image is there: RESUMING follows, unless the
 *   guest powered itself off) or -> ERROR (no image; or it was restored too often of late).
 *   RESUMING -> ERROR when its image is damaged. ERROR -> RESUMING, on demand, where there is an
 *   image. PARKING -> PAUSED: taken back, of one that was paused.
 *   STOPPING -> RUNNING, PAUSED, PARKED, ERROR: it couldn't be recorded, and is as it was.
 */
#ifndef TP_SERVICE_STATE_H
#define TP_SERVICE_STATE_H

#include <stdbool.h>

enum tp_state {
	TP_STATE_CREATED,
	TP_STATE_STARTING,
	TP_STATE_RUNNING,
	TP_STATE_PAUSED,
	TP_STATE_PARKING,
	TP_STATE_PARKED,
	TP_STATE_RESUMING,
	TP_STATE_STOPPING,
	TP_STATE_DESTROYED,
	TP_STATE_ERROR,
	TP_STATE_COUNT
};

const char *tp_state_name(enum tp_state state);
/* False for what is none. */
bool tp_state_parse(const char *name, enum tp_state *state_out);
/* Whether the drawing has that arrow. */
bool tp_state_may(enum tp_state from, enum tp_state to);
/* An operation is under way: CREATED, STARTING, PARKING, RESUMING, STOPPING. */
bool tp_state_passing(enum tp_state state);

#endif
