/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes that come in pieces, as UTF-8 that JSON can carry.
 *
 * What isn't UTF-8 (RFC 3629: no surrogates, nothing overlong), and NUL, becomes U+FFFD, one for
 * each maximal part of a sequence (Unicode 15, section 3.9, "U+FFFD Substitution of Maximal
 * Subparts"). A sequence that a piece ends in the middle of waits for the next one.
 */
#ifndef TP_DAEMON_UTF8_H
#define TP_DAEMON_UTF8_H

#include "base/buf.h"

/* Zeroed to begin with. */
struct utf8 {
	uint8_t tail[3]; /* the beginning of a sequence */
	size_t tail_len;
};

/* Appends what DATA brings to OUT. */
void utf8_put(struct utf8 *utf8, const void *data, size_t len, struct tp_buf *out);
/* Nothing follows: what waits is replaced. */
void utf8_end(struct utf8 *utf8, struct tp_buf *out);

/* TEXT into OUT of SIZE bytes, cut between characters where it is longer; other bytes and control
 * characters become '?'. */
void utf8_clip(const char *text, char *out, size_t size);

#endif
