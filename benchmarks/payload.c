/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes that guests are filled with. */
#include "benchmarks/payload.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* For the directory, and what tmpfs has beside the file's pages. */
#define TMPFS_SPARE (4 * TP_MIB)

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

struct bench_payload bench_payload_of(uint64_t bytes)
{
	return (struct bench_payload){
		.bytes = bytes,
		.random_state = 0x746f72706f72,
		.text_state = 0x7061726b,
	};
}

static void begin_random(struct bench_payload *p)
{
	uint64_t value = next_random(&p->random_state);

	memcpy(p->piece, &value, sizeof(value));
	p->piece_len = sizeof(value);
}

static void begin_text(struct bench_payload *p)
{
	static const char *const words[] = {"page", "guest", "template", "image", "park", "resume",
		"base", "clone", "session", "write", "read", "the", "of", "and", "which", "a"};
	uint64_t value = next_random(&p->text_state);

	p->piece_len = (size_t)snprintf((char *)p->piece, sizeof(p->piece), "%s%c%u",
		words[value >> 32 & 15], value & 7 ? ' ' : '\n',
		(unsigned int)(value >> 40 & 0xff));
}

size_t bench_payload_take(struct bench_payload *p, void *bytes, size_t room)
{
	size_t done = 0;

	while (done < room && p->at < p->bytes) {
		uint64_t half = p->at < p->bytes / 2 ? p->bytes / 2 : p->bytes;

		if (p->piece_at == p->piece_len) {
			if (half < p->bytes)
				begin_random(p);
			else
				begin_text(p);
			p->piece_at = 0;
		}
		/* A piece doesn't reach from one half into the other: they begin with whole ones.
		 */
		size_t n = TP_MIN(p->piece_len - p->piece_at, room - done);
		n = (size_t)TP_MIN(n, half - p->at);
		memcpy((uint8_t *)bytes + done, p->piece + p->piece_at, n);
		p->piece_at = p->at + n == half ? p->piece_len : p->piece_at + n;
		p->at += n;
		done += n;
	}
	return done;
}

char *bench_payload_script(uint64_t bytes)
{
	return tp_asprintf("set -e; mkdir -p /bench; mount -t tmpfs -o size=%" PRIu64
			   " bench /bench; "
			   "cat > /bench/payload; [ $(wc -c < /bench/payload) -eq %" PRIu64 " ]",
		bytes + TMPFS_SPARE, bytes);
}
