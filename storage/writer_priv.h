/* SPDX-License-Identifier: Apache-2.0 */
/* A writer, as its two halves see it: blocks (image_writer.c) and commit. Internal to storage. */
#ifndef TP_STORAGE_WRITER_PRIV_H
#define TP_STORAGE_WRITER_PRIV_H

#include <pthread.h>

#include "storage/image_writer.h"
#include "storage/out_file.h"
#include "storage/sections.h"

struct pack_job;

struct tp_image_writer {
	struct tp_image_writer_options options; /* name is `name` below */
	char *name;
	uint8_t uuid[16];
	uint64_t created_ns;
	struct tp_staging *own_staging; /* if the caller has none */

	/* The caller's thread. */
	int fd;
	char *temp_name; /* NULL once it has its final name */
	struct tp_page_block *lent;
	uint64_t next_page; /* the lowest that may be put */
	uint64_t pages_put;
	uint64_t blocks_put;
	bool over; /* failed or committed */

	struct tp_group group;

	pthread_mutex_t lock;
	/* By lock. */
	struct pack_job *first;
	struct pack_job **end;
	bool pumping;
	bool pump_again;
	bool stalled;		    /* a finished block waits for an output buffer */
	struct torpor_error *error; /* first failure of a worker or the pump */
	bool failed;

	/* Whoever pumps; the caller's once all jobs have ended. */
	struct tp_out_file out;
	struct tp_index_builder index;
	struct tp_buf table;
	uint64_t pages_stored;
};

/* What has failed so far, or that nothing may be done any more. */
struct torpor_error *tp_writer_check(struct tp_image_writer *w) TP_MUST_USE;
/* Until all blocks are in the file's buffers and no worker is at them any more. */
struct torpor_error *tp_writer_finish_blocks(
	struct tp_image_writer *w, const struct tp_call *call) TP_MUST_USE;

#endif
