/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as base64 (RFC 4648, section 4), with padding. */
#ifndef TP_CLIENT_BASE64_H
#define TP_CLIENT_BASE64_H

#include <stdbool.h>

#include "base/buf.h"

/* A new string. */
char *tp_base64(const void *data, size_t len) TP_MUST_USE;

/* Appends what TEXT stands for; false (BUF as it was) if it isn't base64, padding included. */
bool tp_unbase64(const char *text, size_t len, struct tp_buf *buf);

#endif
