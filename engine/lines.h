/* SPDX-License-Identifier: Apache-2.0 */
/* Lines from a stream socket whose other end may be hostile: bounded, and read in large pieces. */
#ifndef TP_ENGINE_LINES_H
#define TP_ENGINE_LINES_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/call.h"

struct tp_lines {
	int fd;	    /* not owned; a socket */
	size_t max; /* bytes of a line without its newline */
	struct tp_buf buf;
	size_t start;	/* of what was not handed out */
	size_t scanned; /* no newline in [start, scanned) */
	bool eof;
};

struct tp_lines tp_lines_over(int fd, size_t max);
void tp_lines_deinit(struct tp_lines *lines);

/*
 * The next line without its newline, NUL-terminated (there may be other NULs in it) and valid
 * until the next call; *LINE_OUT is NULL when the peer has closed (an unfinished line is lost).
 * A connection that was reset counts as closed. LIMIT if the line is longer than the bound: what
 * was read of it is dropped, so the next call starts in the middle of it.
 */
struct torpor_error *tp_lines_next(struct tp_lines *lines, const struct tp_call *call,
	const char *step, const char *object, char **line_out, size_t *len_out) TP_MUST_USE;

/*
 * The line that was handed out isn't needed any more: room that only a long one took is given back.
 * Whoever has many of these, each for as long as a guest lives, calls it behind each line.
 */
void tp_lines_give_back(struct tp_lines *lines);

/* Reads what has come, without waiting. True if tp_lines_next would now return at once. */
bool tp_lines_ready(struct tp_lines *lines);

#endif
