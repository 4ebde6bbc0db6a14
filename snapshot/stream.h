/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's migration stream: taken apart, and put together again.
 *
 * The format is QEMU's own (migration/savevm.c, migration/ram.c, migration/vmstate.c); all of it
 * is big-endian. Three kinds of stream are read here:
 *   - a full `migrate`: configuration, RAM blocks, pages, devices;
 *   - a `migrate` with x-ignore-shared: the same, but blocks carry their guest address and shared
 *     blocks have no pages;
 *   - the output of `xen-save-devices-state`: devices only, without a configuration.
 * One kind is written: a full stream with any subset of blocks and pages.
 *
 * Device sections carry no lengths and can be understood by QEMU alone, so they are passed
 * through in one piece. A consequence: a stream that was cut among its devices can be told from a
 * whole one only by its last bytes. Whoever reads from a live QEMU must also see QEMU report
 * that the migration completed.
 *
 * What is read is not trusted: every name, count, length and offset is checked against the bounds
 * below, and a violation is an error of code CORRUPT (damage), UNSUPPORTED (a feature that is
 * named in the message) or LIMIT, which says in which section it was found.
 */
#ifndef TP_SNAPSHOT_STREAM_H
#define TP_SNAPSHOT_STREAM_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/call.h"
#include "base/error.h"

#define TP_STREAM_NAME_MAX    255 /* bytes of a machine's or block's name, without the NUL */
#define TP_STREAM_BLOCKS_MAX  256
#define TP_STREAM_DEVICES_MAX (64 * TP_MIB)
#define TP_STREAM_RAM_MAX     (UINT64_C(1) << 46) /* all blocks together, in bytes */

/* ---- Reading ---- */

/*
 * Where the bytes come from. read() puts 1 to LEN bytes into BUF and sets *GOT_OUT, or sets it to
 * 0 at the end. DATA must outlive the stream.
 */
struct tp_stream_source {
	struct torpor_error *(*read)(void *data, void *buf, size_t len, size_t *got_out);
	void *data;
};

struct tp_stream_memory {
	const uint8_t *at;
	size_t left;
};
struct tp_stream_source tp_stream_from_memory(struct tp_stream_memory *memory);

/* Reads until the writer closes. FD may be a pipe, a socket or a file; it stays the caller's. */
struct tp_stream_fd {
	int fd;
	const struct tp_call *call;
	const char *object; /* what messages call it */
};
struct tp_stream_source tp_stream_from_fd(struct tp_stream_fd *fd);

struct tp_stream_block {
	char name[TP_STREAM_NAME_MAX + 1];
	uint64_t used_len; /* bytes, a multiple of the page size; can be 0 */
	uint64_t address;  /* guest-physical; 0 unless the stream has x-ignore-shared */
};

enum tp_stream_kind {
	TP_STREAM_BLOCKS,  /* the list of RAM blocks is known: tp_stream_blocks() */
	TP_STREAM_PAGE,	   /* one page */
	TP_STREAM_DEVICES, /* all device sections; once in every stream */
	TP_STREAM_END,	   /* the stream is complete; given again if asked again */
};

struct tp_stream_item {
	enum tp_stream_kind kind;
	/* PAGE. OFFSET is a multiple of the page size, within the block's used length. */
	size_t block; /* index into tp_stream_blocks() */
	uint64_t offset;
	const uint8_t *page; /* TP_PAGE_SIZE bytes, or NULL for a page of zeros */
	/* DEVICES. From the first device section through the last one's footer, without EOF. */
	const uint8_t *devices;
	size_t devices_len;
};

struct tp_stream;

/*
 * Starts reading: magic, version and, if there is one, the configuration. The stream is freed
 * with tp_stream_close(). Not for concurrent use.
 */
struct torpor_error *tp_stream_open(
	struct tp_stream_source source, struct tp_stream **stream_out) TP_MUST_USE;

/* Frees STREAM, not its source. Takes NULL. Returns NULL. */
struct tp_stream *tp_stream_close(struct tp_stream *stream);

TP_DEFINE_CLEANUP(struct tp_stream *, tp_stream_close)
#define TP_STREAM TP_CLEANUP(tp_stream_close)

/* The machine type in full ("pc-i440fx-7.2"), or NULL for a stream without a configuration. */
const char *tp_stream_machine(const struct tp_stream *stream);

/* Whether x-ignore-shared was on, so that blocks have addresses and shared ones have no pages. */
bool tp_stream_ignores_shared(const struct tp_stream *stream);

/* The RAM blocks, in the stream's order; none before the BLOCKS item. Valid until close. */
const struct tp_stream_block *tp_stream_blocks(const struct tp_stream *stream, size_t *n_out);

/*
 * The next item: [BLOCKS PAGE*] DEVICES END. What it points to is valid until the next call or
 * close.
 *
 * The same page can come more than once, even from a stopped guest, and the last one counts: a
 * caller that keeps pages must overwrite what it had, and must not drop a later zero page because
 * zeros are what it starts with. After an error the stream can only be closed.
 */
struct torpor_error *tp_stream_next(
	struct tp_stream *stream, struct tp_stream_item *item_out) TP_MUST_USE;

/* ---- Writing ---- */

/* Where the bytes go. write() takes all of them. DATA must outlive the writer. */
struct tp_stream_sink {
	struct torpor_error *(*write)(void *data, const void *buf, size_t len);
	void *data;
};

/* Appends to BUF. */
struct tp_stream_sink tp_stream_to_buf(struct tp_buf *buf);

/* Writes to a pipe, socket or file. FD stays the caller's. */
struct tp_stream_sink tp_stream_to_fd(struct tp_stream_fd *fd);

/*
 * A stream being written, in this order, which is asserted:
 *   header, [ram_start, page*, ram_end], [devices], end
 * or in two goes:
 *   header, ram_start, page*, ram_break | ram_rest, page*, ram_end, [devices], end.
 * RAM comes before the devices because virtio reads its rings when it is loaded. Bytes are
 * gathered and reach the sink in large pieces, the last ones with tp_stream_put_end().
 */
struct tp_stream_writer;

struct tp_stream_writer *tp_stream_writer_new(struct tp_stream_sink sink);
/* Takes NULL. Returns NULL. What wasn't ended is lost. */
struct tp_stream_writer *tp_stream_writer_free(struct tp_stream_writer *w);

TP_DEFINE_CLEANUP(struct tp_stream_writer *, tp_stream_writer_free)
#define TP_STREAM_WRITER TP_CLEANUP(tp_stream_writer_free)

/* MACHINE is the type in full, as tp_stream_machine() gives it; the loader insists on its own. */
struct torpor_error *tp_stream_put_header(
	struct tp_stream_writer *w, const char *machine) TP_MUST_USE;

/*
 * The RAM blocks that pages will be given for: any subset of the machine's, with their used
 * lengths (addresses are not written). BLOCKS must stay valid and unchanged until ram_end.
 */
struct torpor_error *tp_stream_put_ram_start(
	struct tp_stream_writer *w, const struct tp_stream_block *blocks, size_t n) TP_MUST_USE;

/* A page of TP_PAGE_SIZE bytes, or of zeros if PAGE is NULL. Pages that aren't sent keep what the
 * loader's memory holds. Best sorted by block. */
struct torpor_error *tp_stream_put_page(
	struct tp_stream_writer *w, size_t block, uint64_t offset, const void *page) TP_MUST_USE;

struct torpor_error *tp_stream_put_ram_end(struct tp_stream_writer *w) TP_MUST_USE;

/*
 * A stream that is written in two goes: the first writer ends with ram_break, between two sections,
 * where a loader can wait for long (in the middle of one it would hold QEMU's RCU read lock); the
 * second begins with ram_rest. BLOCKS only name the pages that follow.
 */
struct torpor_error *tp_stream_put_ram_break(struct tp_stream_writer *w) TP_MUST_USE;
struct torpor_error *tp_stream_put_ram_rest(
	struct tp_stream_writer *w, const struct tp_stream_block *blocks, size_t n) TP_MUST_USE;

/* Device sections as a DEVICES item holds them. */
struct torpor_error *tp_stream_put_devices(
	struct tp_stream_writer *w, const void *devices, size_t len) TP_MUST_USE;

/* Ends the stream and flushes it to the sink. */
struct torpor_error *tp_stream_put_end(struct tp_stream_writer *w) TP_MUST_USE;

#endif
