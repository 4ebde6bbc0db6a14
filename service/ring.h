/* SPDX-License-Identifier: Apache-2.0 */
/* A ring of at most MAX things of one size, which takes memory as it fills. */
#ifndef TP_SERVICE_RING_H
#define TP_SERVICE_RING_H

#include <string.h>

#include "base/mem.h"

struct tp_ring {
	uint8_t *data; /* owned */
	size_t size;   /* of one */
	uint32_t max;
	uint32_t room; /* so many fit into DATA */
	uint32_t first;
	uint32_t n;
};

#define TP_RING(type, max_) ((struct tp_ring){.size = sizeof(type), .max = (max_)})

static inline void tp_ring_deinit(struct tp_ring *ring)
{
	free(ring->data);
	ring->data = NULL;
	ring->room = ring->first = ring->n = 0;
}

/* The Ith, from 0, the oldest. */
static inline void *tp_ring_at(const struct tp_ring *ring, uint32_t i)
{
	assert(i < ring->n);
	return ring->data + (ring->first + i) % ring->room * ring->size;
}

/* The newest; NULL: it is empty. */
static inline void *tp_ring_last(const struct tp_ring *ring)
{
	return ring->n ? tp_ring_at(ring, ring->n - 1) : NULL;
}

/* Whether the next one takes the oldest one's place. */
static inline bool tp_ring_full(const struct tp_ring *ring)
{
	return ring->n == ring->max;
}

/* Place for a new one, zeroed. */
static inline void *tp_ring_push(struct tp_ring *ring)
{
	if (tp_ring_full(ring)) {
		ring->first = (ring->first + 1) % ring->room;
		ring->n--;
	}
	if (ring->n == ring->room) {
		/* It only goes round once it has all its room. */
		assert(ring->first == 0);
		ring->room = TP_MIN(ring->room ? 2 * ring->room : 8, ring->max);
		ring->data = tp_reallocarray(ring->data, ring->room, ring->size);
	}
	ring->n++;
	void *place = tp_ring_last(ring);
	memset(place, 0, ring->size);
	return place;
}

/* Takes the newest away. */
static inline void tp_ring_pop(struct tp_ring *ring)
{
	assert(ring->n > 0);
	ring->n--;
}

#endif
