/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compression and sums of blocks and sections, with contexts and buffers that are used again.
 *
 * A codec belongs to one thread at a time.
 */
#ifndef TP_STORAGE_CODEC_H
#define TP_STORAGE_CODEC_H

#include "base/buf.h"
#include "base/error.h"
#include "storage/format.h"

struct tp_codec;

/* NULL if there is no memory. */
struct tp_codec *tp_codec_new(void);
/* Takes NULL. Returns NULL. */
struct tp_codec *tp_codec_free(struct tp_codec *codec);
TP_DEFINE_CLEANUP(struct tp_codec *, tp_codec_free)

/* Buffers for whoever has the codec, TP_FORMAT_BLOCK_BYTES each. */
uint8_t *tp_codec_base(struct tp_codec *codec);
uint8_t *tp_codec_raw(struct tp_codec *codec);

/*
 * Compresses a block of LEN bytes against BASE, as long (NULL: none), and puts the result over it
 * if that is smaller. LEVEL as in struct tp_image_writer_options.
 */
struct torpor_error *tp_codec_pack_block(struct tp_codec *codec, int level, uint8_t *data,
	size_t len, const uint8_t *base, enum tp_format_codec *how_out,
	size_t *len_out) TP_MUST_USE;

/* Decodes a block into OUT, LEN bytes. BASE is needed for TP_CODEC_ZSTD_PREFIX. False: damaged. */
bool tp_codec_unpack_block(struct tp_codec *codec, enum tp_format_codec how, const void *stored,
	size_t stored_len, const uint8_t *base, uint8_t *out, size_t len) TP_MUST_USE;

/* Appends a section to OUT, compressed if that is smaller, and describes it in ENTRY_OUT. */
struct torpor_error *tp_codec_pack_section(struct tp_codec *codec, int level, const void *data,
	size_t len, const void *prefix, size_t prefix_len, struct tp_buf *out,
	struct tp_format_section_entry *entry_out) TP_MUST_USE;

/* Decodes a section into RAW, of the raw length that was stated. False: damaged, or wrong prefix.
 */
bool tp_codec_unpack_section(struct tp_codec *codec, enum tp_format_codec how, const void *stored,
	size_t stored_len, const void *prefix, size_t prefix_len, void *raw,
	size_t raw_len) TP_MUST_USE;

/* XXH3-64. */
uint64_t tp_sum(const void *data, size_t len);
/* The sum of a block's pages and their numbers, as docs/FORMAT.md defines it. */
uint64_t tp_sum_pages(const uint64_t *pages, unsigned int n, const uint8_t *bytes);

#endif
