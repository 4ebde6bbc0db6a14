/* SPDX-License-Identifier: Apache-2.0 */
/* zstd contexts that stay warm, and XXH3 sums. */
#include "storage/codec.h"

#include <endian.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/mem.h"
#include "storage/image_writer.h"

struct tp_codec {
	ZSTD_CCtx *pack;
	ZSTD_DCtx *unpack;
	uint8_t *base;
	uint8_t *raw;
	uint8_t *packed; /* as long as a block: what doesn't fit isn't worth compressing */
};

/* Faster levels were not faster on guests' memory; docs/FORMAT.md has the figures. */
#define BLOCK_LEVEL 1
/* Sections are small and written once; what counts is their size. */
#define SECTION_LEVEL 3

struct tp_codec *tp_codec_new(void)
{
	struct tp_codec *codec = tp_calloc(1, sizeof(*codec));

	codec->pack = ZSTD_createCCtx();
	codec->unpack = ZSTD_createDCtx();
	codec->base = malloc(TP_FORMAT_BLOCK_BYTES);
	codec->raw = malloc(TP_FORMAT_BLOCK_BYTES);
	codec->packed = malloc(TP_FORMAT_BLOCK_BYTES);
	if (codec->pack && codec->unpack && codec->base && codec->raw && codec->packed)
		return codec;
	return tp_codec_free(codec);
}

struct tp_codec *tp_codec_free(struct tp_codec *codec)
{
	if (codec) {
		ZSTD_freeCCtx(codec->pack);
		ZSTD_freeDCtx(codec->unpack);
		free(codec->base);
		free(codec->raw);
		free(codec->packed);
		free(codec);
	}
	return NULL;
}

uint8_t *tp_codec_base(struct tp_codec *codec)
{
	return codec->base;
}

uint8_t *tp_codec_raw(struct tp_codec *codec)
{
	return codec->raw;
}

/* The smallest window that lets the end of LEN bytes refer to the start of their prefix. */
static int window_log(size_t len, size_t prefix_len)
{
	int log = 10; /* the least that zstd knows */

	while (((uint64_t)1 << log) < (uint64_t)len + prefix_len)
		log++;
	return log;
}

/* One zstd frame; *LEN_OUT is 0 where it doesn't fit into ROOM bytes. */
static struct torpor_error *compress(ZSTD_CCtx *ctx, int level, const void *data, size_t len,
	const void *prefix, size_t prefix_len, void *out, size_t room, size_t *len_out)
{
	ZSTD_CCtx_reset(ctx, ZSTD_reset_session_and_parameters);
	ZSTD_CCtx_setParameter(ctx, ZSTD_c_compressionLevel, level);
	if (prefix_len > 0) {
		ZSTD_CCtx_setParameter(ctx, ZSTD_c_windowLog, window_log(len, prefix_len));
		ZSTD_CCtx_refPrefix(ctx, prefix, prefix_len);
	}

	size_t n = ZSTD_compress2(ctx, out, room, data, len);
	if (!ZSTD_isError(n))
		*len_out = n;
	else if (ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall)
		*len_out = 0;
	else if (ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
		return tp_error(TORPOR_E_NOMEM, "compress", NULL, "no memory for zstd");
	else
		return tp_error(TORPOR_E_INTERNAL, "compress", NULL, "%s", ZSTD_getErrorName(n));
	return NULL;
}

/* One zstd frame that must decode to exactly LEN bytes. */
static bool decompress(ZSTD_DCtx *ctx, const void *stored, size_t stored_len, const void *prefix,
	size_t prefix_len, void *out, size_t len)
{
	size_t frame = ZSTD_findFrameCompressedSize(stored, stored_len);

	if (ZSTD_isError(frame) || frame != stored_len)
		return false;
	ZSTD_DCtx_reset(ctx, ZSTD_reset_session_and_parameters);
	if (prefix_len > 0)
		ZSTD_DCtx_refPrefix(ctx, prefix, prefix_len);
	return ZSTD_decompressDCtx(ctx, out, len, stored, stored_len) == len;
}

struct torpor_error *tp_codec_pack_block(struct tp_codec *codec, int level, uint8_t *data,
	size_t len, const uint8_t *base, enum tp_format_codec *how_out, size_t *len_out)
{
	/* Saving less than this isn't worth the reader's time. */
	size_t room = len - len / 64;
	size_t packed = 0;

	if (level == TP_IMAGE_LEVEL_DEFAULT)
		level = BLOCK_LEVEL;
	if (level != TP_IMAGE_LEVEL_STORE)
		TP_TRY(compress(codec->pack, level, data, len, base, base ? len : 0, codec->packed,
			room, &packed));
	if (packed == 0) {
		*how_out = TP_CODEC_RAW;
		*len_out = len;
		return NULL;
	}
	memcpy(data, codec->packed, packed);
	*how_out = base ? TP_CODEC_ZSTD_PREFIX : TP_CODEC_ZSTD;
	*len_out = packed;
	return NULL;
}

bool tp_codec_unpack_block(struct tp_codec *codec, enum tp_format_codec how, const void *stored,
	size_t stored_len, const uint8_t *base, uint8_t *out, size_t len)
{
	size_t base_len = how == TP_CODEC_ZSTD_PREFIX ? len : 0;

	return tp_codec_unpack_section(codec, how, stored, stored_len, base, base_len, out, len);
}

struct torpor_error *tp_codec_pack_section(struct tp_codec *codec, int level, const void *data,
	size_t len, const void *prefix, size_t prefix_len, struct tp_buf *out,
	struct tp_format_section_entry *entry_out)
{
	TP_FREE void *packed = len > 0 ? malloc(len) : NULL;
	size_t packed_len = 0;

	if (len > 0 && !packed)
		return tp_error(TORPOR_E_NOMEM, "compress", NULL, "no memory for %zu bytes", len);
	if (len > 0 && level != TP_IMAGE_LEVEL_STORE)
		TP_TRY(compress(codec->pack, SECTION_LEVEL, data, len, prefix, prefix_len, packed,
			len - 1, &packed_len));

	const void *stored = packed_len > 0 ? packed : data;
	size_t stored_len = packed_len > 0 ? packed_len : len;
	enum tp_format_codec how = packed_len == 0  ? TP_CODEC_RAW
				   : prefix_len > 0 ? TP_CODEC_ZSTD_PREFIX
						    : TP_CODEC_ZSTD;
	tp_buf_put(out, stored, stored_len);
	*entry_out = (struct tp_format_section_entry){
		.stored_len = htole32((uint32_t)stored_len),
		.raw_len = htole32((uint32_t)len),
		.stored_sum = htole64(tp_sum(stored, stored_len)),
		.raw_sum = htole64(tp_sum(data, len)),
		.codec = (uint8_t)how,
	};
	return NULL;
}

bool tp_codec_unpack_section(struct tp_codec *codec, enum tp_format_codec how, const void *stored,
	size_t stored_len, const void *prefix, size_t prefix_len, void *raw, size_t raw_len)
{
	switch (how) {
	case TP_CODEC_RAW:
		if (stored_len != raw_len)
			return false;
		if (raw_len > 0)
			memcpy(raw, stored, raw_len);
		return true;
	case TP_CODEC_ZSTD:
		return decompress(codec->unpack, stored, stored_len, NULL, 0, raw, raw_len);
	case TP_CODEC_ZSTD_PREFIX:
		return decompress(
			codec->unpack, stored, stored_len, prefix, prefix_len, raw, raw_len);
	}
	return false;
}

uint64_t tp_sum(const void *data, size_t len)
{
	return XXH3_64bits(data, len);
}

uint64_t tp_sum_pages(const uint64_t *pages, unsigned int n, const uint8_t *bytes)
{
	uint64_t numbers[TP_FORMAT_BLOCK_PAGES];

	assert(n <= TP_FORMAT_BLOCK_PAGES);
	for (unsigned int i = 0; i < n; i++)
		numbers[i] = htole64(pages[i]);
	return XXH3_64bits_withSeed(
		bytes, n * TP_PAGE_SIZE, XXH3_64bits(numbers, n * sizeof(numbers[0])));
}
