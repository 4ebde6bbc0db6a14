/* SPDX-License-Identifier: Apache-2.0 */
/* A child process whose memory tests look into. */
#ifndef TP_TESTS_SNAPSHOT_SUBJECT_H
#define TP_TESTS_SNAPSHOT_SUBJECT_H

#include <stdint.h>
#include <sys/types.h>

/* What a child leaves behind for its parent; shared between the two. */
struct subject_notes {
	uint64_t address[16];
};

struct subject {
	pid_t pid;
	struct subject_notes *notes;
};

/*
 * Forks a child that runs BODY and then stands still until subject_end(), with its memory as BODY
 * left it; returns when it stands still. FD is whatever BODY needs. The child dies with its parent.
 */
void subject_start(struct subject *s, void (*body)(int fd, struct subject_notes *notes), int fd);
/* Kills the child, but leaves it as a zombie until subject_end(). */
void subject_kill(struct subject *s);
void subject_end(struct subject *s);

#endif
