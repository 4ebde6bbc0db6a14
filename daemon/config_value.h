/* SPDX-License-Identifier: Apache-2.0 */
/* Values as people write them in configuration files: "16G", "90s", "never", "80 %". */
#ifndef TP_DAEMON_CONFIG_VALUE_H
#define TP_DAEMON_CONFIG_VALUE_H

#include <stdbool.h>
#include <stdint.h>

/* All return false, their output untouched, for what isn't such a value. */

/* Digits alone. */
bool tp_value_number(const char *text, uint64_t *value_out);
/* Bytes: "4096", "16M", "1.5G", "2 TiB"; K, M, G, T are powers of 1024. */
bool tp_value_size(const char *text, uint64_t *bytes_out);
/* "80%", 1 to 100. */
bool tp_value_percent(const char *text, unsigned int *percent_out);
/* "250ms", "90s", "15m", "1h", "30d", "never" (0); a bare number is seconds. */
bool tp_value_duration(const char *text, uint64_t *ns_out);
/* yes, no, true, false, on, off */
bool tp_value_bool(const char *text, bool *value_out);
/* "0660": octal permissions. */
bool tp_value_mode(const char *text, unsigned int *mode_out);

/* How many letters apart A and B are (Levenshtein), at most 64 each. */
unsigned int tp_value_distance(const char *a, const char *b);

#endif
