/* SPDX-License-Identifier: Apache-2.0 */
/* A real QEMU and a QMP exchange, as small as tests of streams need them. */
#ifndef TP_TESTS_SNAPSHOT_QEMU_H
#define TP_TESTS_SNAPSHOT_QEMU_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct qemu {
	pid_t pid;
	int qmp;
	int console; /* what the firmware prints */
	char *line;  /* the last one from QMP */
	size_t line_room;
};

/*
 * Starts qemu-system-x86_64 under TCG with ARGS (NULL-terminated) behind the common ones. MEMORY
 * is a memfd that QEMU sees as descriptor QEMU_MEMORY_FD. It dies with its parent.
 */
#define QEMU_MEMORY_FD 7
void qemu_start(struct qemu *q, int memory, const char *const *args);
void qemu_end(struct qemu *q);

/* Runs a command given as JSON and returns its answer, valid until the next call; errors fail. */
const char *qemu_run(struct qemu *q, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/*
 * Makes a socket pair and gives one end to QEMU, which calls it "fd:NAME". Returns the other end.
 */
int qemu_open_socket(struct qemu *q, const char *name);
/* Waits for a line of QMP that holds WORDS; one that holds UNLESS fails (NULL: none does). */
void qemu_await(struct qemu *q, const char *words, const char *unless);
/* Waits until the firmware has printed WORDS. */
void qemu_await_console(struct qemu *q, const char *words);

/* The answer of a monitor command, with its escapes undone; the caller's to free. */
char *qemu_monitor(struct qemu *q, const char *command);

#endif
