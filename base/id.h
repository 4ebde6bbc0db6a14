/* SPDX-License-Identifier: Apache-2.0 */
/* Random names for things: short, safe in paths and URLs, not to be guessed. */
#ifndef TP_BASE_ID_H
#define TP_BASE_ID_H

#include "base/macros.h"

/*
 * Writes LEN characters, each drawn evenly from 0-9a-z by the kernel's generator, and a NUL to OUT
 * (LEN + 1 bytes). One character is worth 5.17 bits.
 */
void tp_random_id(char *out, size_t len);

#endif
