/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading JSON objects that nobody vouches for, field by field.
 *
 * The first thing that is wrong is kept and everything read from then on is empty, so that a
 * handler asks for its fields one below the other and checks once, with json_in_end, which also
 * refuses fields that nobody asked for. Nothing that was read may be used before that. What is
 * read belongs to the object.
 *
 * All errors are INVALID and name the field and what it must be. A field that is null counts as
 * not sent, unless a function says otherwise. Lengths are in bytes; strings hold no NUL.
 */
#ifndef TP_DAEMON_JSON_IN_H
#define TP_DAEMON_JSON_IN_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

#define JSON_IN_FIELDS_MAX 16

struct json_in {
	const json_t *object;
	const char *step;   /* "create session": begins the messages */
	const char *within; /* the field that OBJECT is of another, or NULL */
	const char *known[JSON_IN_FIELDS_MAX];
	size_t known_count;
	struct torpor_error *err;
};

/* OBJECT may be NULL: empty. STEP and names of fields last as long as the reader. */
struct json_in json_in_over(const json_t *object, const char *step);
/* What was wrong, or else the first field that is not known. Ends the reader. */
struct torpor_error *json_in_end(struct json_in *in) TP_MUST_USE;

enum json_in_need {
	JSON_IN_OPTIONAL,
	JSON_IN_REQUIRED,
};

/* A string of MIN to MAX bytes; NULL if it wasn't sent. */
const char *json_in_text(
	struct json_in *in, const char *name, enum json_in_need need, size_t min, size_t max);
/* The same without control characters: what ends up in a view, a log or a command line. */
const char *json_in_line(
	struct json_in *in, const char *name, enum json_in_need need, size_t min, size_t max);
/* An absolute path of at most MAX bytes. */
const char *json_in_path(struct json_in *in, const char *name, enum json_in_need need, size_t max);
/* A name (json_in_name_ok). */
const char *json_in_name(struct json_in *in, const char *name, enum json_in_need need);
/* One of CHOICES, which a NULL ends; NULL if it wasn't sent. */
const char *json_in_choice(
	struct json_in *in, const char *name, enum json_in_need need, const char *const *choices);
/* A whole number from MIN to MAX; DEFAULT_VALUE if it wasn't sent. */
int64_t json_in_number(
	struct json_in *in, const char *name, int64_t min, int64_t max, int64_t default_value);
/* A number from MIN to MAX, fractions allowed; DEFAULT_VALUE if it wasn't sent. */
double json_in_real(
	struct json_in *in, const char *name, double min, double max, double default_value);
bool json_in_flag(struct json_in *in, const char *name, bool default_value);

struct json_in_map {
	size_t entries; /* at most */
	bool (*key_ok)(const char *key, size_t len);
	const char *keys;   /* what keys must be, for the message */
	size_t value_len;   /* at most */
	bool lines;	    /* values have no control characters */
	size_t entry_bytes; /* key and value together at most; 0: no bound */
	size_t total_bytes; /* of all entries together, with two bytes more for each (the '=' and
			       the NUL of an environment); 0: no bound */
};
/* An object of strings; NULL if it wasn't sent. */
const json_t *json_in_map(struct json_in *in, const char *name, const struct json_in_map *bounds);

/* An array of MIN to MAX strings that together have at most TOTAL bytes, with a NUL for each. */
const json_t *json_in_strings(struct json_in *in, const char *name, enum json_in_need need,
	size_t min, size_t max, size_t total);

/*
 * An object of its own, NULL if it wasn't sent: *INNER_OUT reads it (and is empty where it wasn't
 * sent, or is none). To be closed with json_in_leave before anything else is read of IN.
 */
const json_t *json_in_enter(struct json_in *in, const char *name, struct json_in *inner_out);
void json_in_leave(struct json_in *in, struct json_in *inner);

/* 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit: templates, sessions, tenants ... */
bool json_in_name_ok(const char *text);

#endif
