/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 (RFC 4648, section 4), with padding. */
#ifndef TP_DAEMON_BASE64_H
#define TP_DAEMON_BASE64_H

#include <stdbool.h>

#include "base/buf.h"

void base64_put(struct tp_buf *out, const void *data, size_t len);

/* Appends what TEXT stands for; false (OUT unspecified) for anything that isn't canonical. */
bool base64_get(struct tp_buf *out, const char *text, size_t len);

#endif
