/* SPDX-License-Identifier: Apache-2.0 */
/* Completing an image: sections, header, and the steps that make it durable and visible. */
#include <endian.h>
#include <string.h>

#include "base/mem.h"
#include "base/probe.h"
#include "storage/codec.h"
#include "storage/writer_priv.h"

static struct torpor_error *check_meta(const struct tp_image_writer *w,
	const struct tp_image_meta *meta, uint64_t *space_pages_out)
{
	const char *why = NULL;
	uint64_t space_pages;

	TP_TRY(tp_error_in(tp_image_space_pages(meta->blocks, meta->n_blocks, &space_pages),
		"write image", w->name));
	if (meta->kind < TP_IMAGE_TEMPLATE || meta->kind > TP_IMAGE_FULL)
		why = "it is of no kind";
	else if ((meta->kind == TP_IMAGE_SESSION) != (w->options.base_fd >= 0))
		why = "sessions need a base, and nothing else has one";
	else if (meta->kind == TP_IMAGE_TEMPLATE && w->options.device_prefix_len > 0)
		why = "a template's device state has no prefix";
	else if (w->next_page > space_pages)
		why = "it has pages outside its RAM blocks";
	else if (strnlen(meta->config, TP_FORMAT_MAX_CONFIG + 1) > TP_FORMAT_MAX_CONFIG)
		why = "its config is too long";
	else if (meta->device_len > TP_FORMAT_MAX_DEVICE)
		why = "its device state is too large";
	if (why)
		return tp_error(TORPOR_E_INVALID, "write image", w->name, "%s", why);
	*space_pages_out = space_pages;
	return NULL;
}

/* Builds all sections, in order, with their entries. */
static struct torpor_error *build_sections(struct tp_image_writer *w, struct tp_codec *codec,
	const struct tp_image_meta *meta, struct tp_buf *out,
	struct tp_format_section_entry entries[TP_SECTION_COUNT])
{
	const struct tp_image_writer_options *o = &w->options;
	TP_BUF struct tp_buf ram = {0};

	tp_ram_encode(meta->blocks, meta->n_blocks, &ram);
	tp_index_finish(&w->index);
	const struct {
		const void *data;
		size_t len;
		const void *prefix;
		size_t prefix_len;
	} parts[TP_SECTION_COUNT] = {
		[TP_SECTION_CONFIG] = {meta->config, strlen(meta->config)},
		[TP_SECTION_RAM] = {ram.data, ram.len},
		[TP_SECTION_INDEX] = {w->index.encoded.data, w->index.encoded.len},
		[TP_SECTION_BLOCKS] = {w->table.data, w->table.len},
		[TP_SECTION_DEVICE] = {meta->device, meta->device_len, o->device_prefix,
			o->device_prefix_len},
	};
	for (size_t i = 0; i < TP_SECTION_COUNT; i++)
		TP_TRY(tp_codec_pack_section(codec, o->level, parts[i].data, parts[i].len,
			parts[i].prefix, parts[i].prefix_len, out, &entries[i]));
	return NULL;
}

/* Appends the sections, and fills in their entries in HEADER. */
static struct torpor_error *write_sections(struct tp_image_writer *w,
	const struct tp_image_meta *meta, const struct tp_call *call,
	struct tp_format_header *header)
{
	struct tp_codec *codec = tp_workers_take_codec(w->options.workers);
	TP_BUF struct tp_buf sections = {0};

	if (!codec)
		return tp_error(TORPOR_E_NOMEM, "write image", w->name, "no memory for packing");
	struct torpor_error *err = build_sections(w, codec, meta, &sections, header->sections);
	tp_workers_give_codec(w->options.workers, codec);
	TP_TRY(tp_error_in(err, "write image", w->name));
	return tp_out_append_all(&w->out, sections.data, sections.len, call);
}

static void fill_header(const struct tp_image_writer *w, const struct tp_image_meta *meta,
	uint64_t meta_offset, uint64_t space_pages, struct tp_format_header *header)
{
	memcpy(header->magic, TP_FORMAT_MAGIC, sizeof(header->magic));
	header->version = htole32(TP_FORMAT_VERSION);
	header->header_len = htole32(sizeof(*header));
	header->kind = htole32((uint32_t)meta->kind);
	memcpy(header->uuid, w->uuid, sizeof(header->uuid));
	memcpy(header->template_id, meta->template_id, sizeof(header->template_id));
	header->created_ns = htole64(w->created_ns);
	header->file_size = htole64(w->out.offset);
	header->meta_offset = htole64(meta_offset);
	header->space_pages = htole64(space_pages);
	header->page_count = htole64(w->pages_stored);
	header->block_count = htole32((uint32_t)(w->table.len / sizeof(struct tp_format_block)));
	header->header_sum = htole64(tp_sum(header, offsetof(struct tp_format_header, header_sum)));
}

/* The file becomes durable, and visible. */
static struct torpor_error *publish(struct tp_image_writer *w, const struct tp_call *call)
{
	bool replaced = false;

	TP_TRY(tp_io_truncate(w->fd, w->out.offset, w->name));
	TP_TRY(tp_io_sync(w->fd, w->name));
	TP_PROBE1(image__synced, w->name);
	TP_TRY(tp_call_check(call, "write image", w->name));
	TP_TRY(tp_io_rename(
		w->options.dirfd, w->temp_name, w->name, w->options.only_new ? NULL : &replaced));
	free(TP_TAKE(w->temp_name));
	struct torpor_error *err = tp_io_sync_dir(w->options.dirfd, w->name);
	/* Where there was an image before, the new one stays: better either of them than none. */
	if (err && !replaced)
		tp_error_log(tp_io_unlink(w->options.dirfd, w->name));
	return err;
}

static struct torpor_error *commit(struct tp_image_writer *w, const struct tp_image_meta *meta,
	const struct tp_call *call, struct tp_image_stats *stats)
{
	struct tp_format_header header = {0};
	uint64_t space_pages = 0;

	TP_TRY(check_meta(w, meta, &space_pages));
	TP_TRY(tp_writer_finish_blocks(w, call));
	TP_PROBE3(image__packed, w->name, w->pages_put, w->pages_stored);
	uint64_t meta_offset = w->out.offset;
	TP_TRY(write_sections(w, meta, call, &header));
	TP_TRY(tp_out_flush(&w->out, call));
	fill_header(w, meta, meta_offset, space_pages, &header);
	TP_TRY(tp_io_pwrite(w->fd, &header, sizeof(header), 0, w->name));
	TP_PROBE2(image__written, w->name, w->out.offset);

	uint64_t before = tp_now_ns();
	TP_TRY(publish(w, call));
	TP_PROBE1(image__durable, w->name);
	*stats = (struct tp_image_stats){
		.pages_put = w->pages_put,
		.pages_stored = w->pages_stored,
		.blocks = w->table.len / sizeof(struct tp_format_block),
		.block_bytes = meta_offset - sizeof(header),
		.device_bytes = le32toh(header.sections[TP_SECTION_DEVICE].stored_len),
		.file_bytes = w->out.offset,
		.sync_ns = tp_now_ns() - before,
	};
	return NULL;
}

struct torpor_error *tp_image_writer_commit(struct tp_image_writer *w,
	const struct tp_image_meta *meta, const struct tp_call *call,
	struct tp_image_stats *stats_out)
{
	struct tp_image_stats stats;

	TP_TRY(tp_writer_check(w));
	if (w->lent)
		return tp_error(TORPOR_E_INVALID, "write image", w->name, "a block is still lent");
	w->over = true;
	TP_TRY(commit(w, meta, call, &stats));
	if (stats_out)
		*stats_out = stats;
	return NULL;
}
