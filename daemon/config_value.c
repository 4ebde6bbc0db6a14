/* SPDX-License-Identifier: Apache-2.0 */
/* Values as people write them in configuration files. */
#include "daemon/config_value.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/macros.h"

/* Digits at *TEXT, which is moved behind them. */
static bool take_digits(const char **text, uint64_t *value_out)
{
	const char *at = *text;
	uint64_t value = 0;

	if (!isdigit((unsigned char)*at))
		return false;
	for (; isdigit((unsigned char)*at); at++) {
		if (__builtin_mul_overflow(value, 10, &value) ||
			__builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
			return false;
	}
	*text = at;
	*value_out = value;
	return true;
}

bool tp_value_number(const char *text, uint64_t *value_out)
{
	uint64_t value;

	if (!take_digits(&text, &value) || *text)
		return false;
	*value_out = value;
	return true;
}

/* A number with up to three decimals, in thousandths. */
static bool take_thousandths(const char **text, uint64_t *value_out)
{
	uint64_t whole;
	uint64_t part = 0;
	uint64_t weight = 100;

	if (!take_digits(text, &whole) || __builtin_mul_overflow(whole, 1000, &whole))
		return false;
	if (**text == '.') {
		(*text)++;
		if (!isdigit((unsigned char)**text))
			return false;
		for (; isdigit((unsigned char)**text) && weight > 0; (*text)++, weight /= 10)
			part += (uint64_t)(**text - '0') * weight;
		if (isdigit((unsigned char)**text))
			return false;
	}
	return !__builtin_add_overflow(whole, part, value_out);
}

struct unit {
	const char *name;
	uint64_t worth;
};

static bool scaled(const char *text, const struct unit *units, uint64_t *value_out)
{
	uint64_t thousandths;

	if (!take_thousandths(&text, &thousandths))
		return false;
	while (*text == ' ' || *text == '\t')
		text++;
	for (const struct unit *unit = units; unit->name; unit++) {
		__uint128_t value = (__uint128_t)thousandths * unit->worth;
		if (strcasecmp(text, unit->name) != 0)
			continue;
		if (value % 1000 != 0 || value / 1000 > UINT64_MAX)
			return false;
		*value_out = (uint64_t)(value / 1000);
		return true;
	}
	return false;
}

bool tp_value_size(const char *text, uint64_t *bytes_out)
{
	static const struct unit units[] = {
		{"", 1},
		{"B", 1},
		{"K", TP_KIB},
		{"KiB", TP_KIB},
		{"M", TP_MIB},
		{"MiB", TP_MIB},
		{"G", TP_GIB},
		{"GiB", TP_GIB},
		{"T", 1024 * TP_GIB},
		{"TiB", 1024 * TP_GIB},
		{0},
	};

	return scaled(text, units, bytes_out);
}

bool tp_value_percent(const char *text, unsigned int *percent_out)
{
	uint64_t value;

	if (!take_digits(&text, &value) || value < 1 || value > 100)
		return false;
	while (*text == ' ' || *text == '\t')
		text++;
	if (strcmp(text, "%") != 0)
		return false;
	*percent_out = (unsigned int)value;
	return true;
}

bool tp_value_duration(const char *text, uint64_t *ns_out)
{
	static const struct unit units[] = {
		{"ms", TP_NSEC_PER_MSEC},
		{"", TP_NSEC_PER_SEC},
		{"s", TP_NSEC_PER_SEC},
		{"m", 60 * TP_NSEC_PER_SEC},
		{"min", 60 * TP_NSEC_PER_SEC},
		{"h", 3600 * TP_NSEC_PER_SEC},
		{"d", 86400 * TP_NSEC_PER_SEC},
		{0},
	};

	if (strcasecmp(text, "never") == 0) {
		*ns_out = 0;
		return true;
	}
	return scaled(text, units, ns_out);
}

bool tp_value_bool(const char *text, bool *value_out)
{
	static const char *const words[] = {"no", "yes", "false", "true", "off", "on"};

	for (size_t i = 0; i < TP_ARRAY_LEN(words); i++) {
		if (strcasecmp(text, words[i]) == 0) {
			*value_out = i % 2 == 1;
			return true;
		}
	}
	return false;
}

bool tp_value_mode(const char *text, unsigned int *mode_out)
{
	unsigned int mode = 0;
	size_t len = strlen(text);

	if (len < 3 || len > 4 || strspn(text, "01234567") != len)
		return false;
	for (; *text; text++)
		mode = mode * 8 + (unsigned int)(*text - '0');
	if (mode > 0777)
		return false;
	*mode_out = mode;
	return true;
}

unsigned int tp_value_distance(const char *a, const char *b)
{
	unsigned int row[65];
	size_t a_len = strnlen(a, 64);
	size_t b_len = strnlen(b, 64);

	for (unsigned int j = 0; j <= b_len; j++)
		row[j] = j;
	for (unsigned int i = 1; i <= a_len; i++) {
		unsigned int diagonal = row[0];
		row[0] = i;
		for (unsigned int j = 1; j <= b_len; j++) {
			unsigned int above = row[j];
			unsigned int changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
			unsigned int moved = TP_MIN(above, row[j - 1]) + 1;
			row[j] = TP_MIN(changed, moved);
			diagonal = above;
		}
	}
	return row[b_len];
}
