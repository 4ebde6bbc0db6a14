/* SPDX-License-Identifier: Apache-2.0 */
/* A set of names that is ticked off. */
#include "service/names.h"

#include <string.h>

#include "base/mem.h"

#define MIN_SLOTS 64

void tp_names_deinit(struct tp_names *names)
{
	tp_buf_deinit(&names->entries);
	free(names->slots);
	*names = (struct tp_names){0};
}

static const char *name_at(const struct tp_names *names, size_t entry)
{
	return (const char *)names->entries.data + entry + 1;
}

/* The upper half of FNV-1a depends on every byte of the name, the lowest bits don't. */
static uint32_t hash_of(const char *name)
{
	uint64_t hash = 14695981039346656037u;

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * 1099511628211u;
	return (uint32_t)(hash >> 32);
}

/* Where NAME is, or would be. */
static struct tp_name_slot *find_slot(const struct tp_names *names, uint32_t hash, const char *name)
{
	size_t i = hash & (names->n_slots - 1);
	struct tp_name_slot *slot;

	while ((slot = &names->slots[i])->entry &&
		(slot->hash != hash || strcmp(name_at(names, slot->entry - 1), name) != 0))
		i = (i + 1) & (names->n_slots - 1);
	return slot;
}

static void grow(struct tp_names *names)
{
	struct tp_name_slot *old = names->slots;
	size_t n_old = names->n_slots;

	names->n_slots = n_old ? 2 * n_old : MIN_SLOTS;
	names->slots = tp_calloc(names->n_slots, sizeof(*names->slots));
	for (size_t i = 0; i < n_old; i++) {
		size_t at = old[i].hash & (names->n_slots - 1);
		if (!old[i].entry)
			continue;
		while (names->slots[at].entry)
			at = (at + 1) & (names->n_slots - 1);
		names->slots[at] = old[i];
	}
	free(old);
}

void tp_names_add(struct tp_names *names, const char *name)
{
	uint32_t hash = hash_of(name);

	if (2 * (names->n + 1) > names->n_slots)
		grow(names);
	struct tp_name_slot *slot = find_slot(names, hash, name);
	assert(!slot->entry && names->entries.len < UINT32_MAX);
	*slot = (struct tp_name_slot){.hash = hash, .entry = (uint32_t)names->entries.len + 1};
	names->n++;
	tp_buf_put_u8(&names->entries, 0);
	tp_buf_put(&names->entries, name, strlen(name) + 1);
}

bool tp_names_take(struct tp_names *names, const char *name)
{
	if (names->n_slots == 0)
		return false;
	const struct tp_name_slot *slot = find_slot(names, hash_of(name), name);
	if (slot->entry)
		names->entries.data[slot->entry - 1] = 1;
	return slot->entry;
}

const char *tp_names_next_left(const struct tp_names *names, const char *name)
{
	const uint8_t *at = name ? (const uint8_t *)name + strlen(name) + 1 : names->entries.data;
	const uint8_t *end = names->entries.data + names->entries.len;

	for (; at && at < end; at += 1 + strlen((const char *)at + 1) + 1) {
		if (!*at)
			return (const char *)at + 1;
	}
	return NULL;
}
