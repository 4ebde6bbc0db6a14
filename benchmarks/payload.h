/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is written into a guest to make it dirty: half of it random, half text, the same bytes in
 * every run for the same size. Nothing in it repeats.
 */
#ifndef TP_BENCHMARKS_PAYLOAD_H
#define TP_BENCHMARKS_PAYLOAD_H

#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

struct bench_payload {
	uint64_t bytes; /* in all */
	uint64_t at;	/* so many were taken */
	uint64_t random_state;
	uint64_t text_state;
	uint8_t piece[48]; /* begun by the last call */
	size_t piece_len;
	size_t piece_at;
};

struct bench_payload bench_payload_of(uint64_t bytes);

/* Puts the next bytes, at most ROOM, into BYTES. Returns how many, 0 at the end. */
size_t bench_payload_take(struct bench_payload *payload, void *bytes, size_t room);

/*
 * A script for the guest's shell that puts its standard input into a tmpfs at /bench, and fails
 * if that weren't BYTES. The caller's to free.
 */
char *bench_payload_script(uint64_t bytes) TP_MUST_USE;

#endif
