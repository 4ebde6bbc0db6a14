/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults, and what a test looks at once one has struck.
 *
 * A fault sits in the seam between storage and the kernel (storage/io.h). It strikes once: at the
 * nth operation of its kind it acts, fails the operation, or both.
 */
#ifndef TP_TESTS_INTEGRATION_FAULT_H
#define TP_TESTS_INTEGRATION_FAULT_H

#include <stdatomic.h>

#include "storage/io.h"
#include "support.h"

#define IT_OPS	  (TP_IO_UNLINK + 1)
#define IT_ANY_OP IT_OPS

/* "create", "write" ... */
const char *it_op_name(unsigned int op);
/* The other way round, "any" included; fails the test for what is none. */
unsigned int it_op_of(const char *name);

struct it_fault {
	unsigned int op;  /* enum tp_io_op, or IT_ANY_OP */
	unsigned int nth; /* from 1; 0: never */
	int errnum;	  /* 0: the operation goes on */
	void (*act)(void *data);
	void *data;
	/* Counted, by any thread. */
	atomic_uint seen[IT_OPS + 1]; /* of each kind; the last is all of them */
	atomic_bool struck;
};

/* Arms FAULT, which must stay until it_fault_clear. No operation may be under way for either. */
void it_fault_set(struct it_fault *fault);
void it_fault_clear(void);

/* Starts a counter in the guest that misses no number as long as its guest isn't thrown back. */
void it_count_start(struct torpor_session *session);
/* It counts on, and missed none. */
void it_count_check(struct torpor_session *session);
/* The guest's clock is the host's, to a second. */
void it_clock_check(struct torpor_session *session);

/* A file's content; the caller's to free. NULL if it isn't there. */
uint8_t *it_read(const char *path, size_t *len_out);
void it_write(const char *path, const void *bytes, size_t len);

/* An empty directory of the test's own beside the shared state; it_remove_tree removes it. */
char *it_own_dir(void);
/* A state directory like that, with the shared template in it. */
char *it_own_state(void);
void it_remove_tree(char *dir);

/* Entries of STATE_DIR/SUB whose name begins with PREFIX. */
unsigned int it_entries(const char *state_dir, const char *sub, const char *prefix);
/* Guests' directories in STATE_DIR that this process made, and not others beside it. */
unsigned int it_own_rundirs(const char *state_dir);
/* Parts of images of this process's sessions and checkpoints ("it", "cp"). */
unsigned int it_own_parts(const char *state_dir);
/* Nothing half-done is in STATE_DIR: no part file, no directory of a guest, no hidden template. */
void it_check_swept(const char *state_dir);

/* Kills the QEMUs that are this process's children, and waits for their ends. How many there were.
 */
unsigned int it_kill_qemus(void);

/* Runs the torpor program with ARGS (shell words); its exit status. Valid until the next call. */
int it_cli(const char *args, const char **stdout_out, const char **stderr_out);

#endif
