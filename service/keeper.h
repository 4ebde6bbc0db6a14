/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens by itself: sessions end when their time is over, are parked when they are idle or
 * the host runs short of memory, are asked for signs of life, and brought back when their guest has
 * died.
 *
 * One thread looks, at least once a second and whenever it is woken, and decides (keep.h); a few
 * do, so that a guest that is slow holds up no other.
 */
#ifndef TP_SERVICE_KEEPER_H
#define TP_SERVICE_KEEPER_H

#include "service/keep.h"

struct tp_keeper;

/* Before the engine is opened, whose events it takes; does nothing yet. */
struct torpor_error *tp_keeper_new(
	struct tp_service *service, struct tp_keeper **keeper_out) TP_MUST_USE;
/* From where memory is read, instead of /proc/meminfo and /proc/pressure/memory; for tests. */
void tp_keeper_read_from(struct tp_keeper *keeper, const char *meminfo, const char *pressure);
struct torpor_error *tp_keeper_start(struct tp_keeper *keeper) TP_MUST_USE;
/* Breaks off what is under way and returns when nothing is. NULL, and one not started, are fine. */
void tp_keeper_stop(struct tp_keeper *keeper);
/* Stopped, or never started. Takes NULL. Returns NULL. */
struct tp_keeper *tp_keeper_free(struct tp_keeper *keeper);

/* The engine's event function; DATA is the keeper. */
void tp_keeper_engine_event(void *data, enum torpor_event event, const char *name);
/* The supply's; DATA is the service. */
void tp_keeper_pool_changed(void *data, const char *template_name);
/* Parked sessions' timers may have changed: look at all of them soon. */
void tp_keeper_rescan(struct tp_keeper *keeper);

struct tp_pressure_view {
	enum tp_pressure_level level;
	uint64_t available;
	uint64_t reserve;
};
void tp_keeper_pressure(struct tp_keeper *keeper, struct tp_pressure_view *view_out);

#endif
