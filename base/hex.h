/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as lower-case hex digits. */
#ifndef TP_BASE_HEX_H
#define TP_BASE_HEX_H

#include <stdbool.h>

#include "base/macros.h"

/* Writes 2 * LEN digits and a NUL to TEXT. */
void tp_hex(const void *data, size_t len, char *text);

/* Reads exactly 2 * LEN digits, lower or upper case; false (DATA unspecified) for anything else. */
bool tp_unhex(const char *text, void *data, size_t len);

#endif
