/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 of bytes in memory. */
#ifndef TP_STORAGE_SHA256_H
#define TP_STORAGE_SHA256_H

#include "base/macros.h"

#define TP_SHA256_LEN 32

/* Can only fail for want of memory, and then aborts as small allocations do. */
void tp_sha256(const void *data, size_t len, uint8_t out[TP_SHA256_LEN]);

#endif
