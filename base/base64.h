/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as base64 (RFC 4648, section 4), with padding. */
#ifndef TP_BASE_BASE64_H
#define TP_BASE_BASE64_H

#include "base/buf.h"

void tp_base64_put(struct tp_buf *buf, const void *data, size_t len);

/* Appends what TEXT stands for; false (BUF as it was) for anything that isn't canonical. */
bool tp_base64_get(struct tp_buf *buf, const char *text, size_t len);

#endif
