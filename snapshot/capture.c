/* SPDX-License-Identifier: Apache-2.0 */
/* Capture: choosing the way, the direct one, and the one for guests with RAM of their own. */
#include "snapshot/capture.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/probe.h"
#include "engine/control.h"
#include "snapshot/capture_private.h"
#include "snapshot/sparse.h"
#include "snapshot/state.h"
#include "snapshot/stream.h"

const char *tp_path_name(enum tp_path path)
{
	static const char *const names[] = {
		[TP_PATH_AUTO] = "auto",
		[TP_PATH_DIRECT] = "direct",
		[TP_PATH_STREAM] = "stream",
		[TP_PATH_OWN] = "own",
	};

	return names[path];
}

static void free_blocks(struct tp_ram_block *blocks, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(blocks[i].name);
	free(blocks);
}

void tp_capture_deinit(struct tp_capture *capture)
{
	free_blocks(capture->blocks, capture->n_blocks);
	free(capture->device);
	*capture = (struct tp_capture){0};
}

/* --- Before the stop --- */

/* What a process needs once. */
static struct torpor_error *prepare_process(
	struct tp_guest *guest, struct tp_memory *memory, const struct tp_call *call)
{
	TP_TRY(tp_memory_allowed(memory, guest));
	if (memory->devices.read_fd < 0)
		TP_TRY(tp_device_file_init(&memory->devices, guest, call));
	return tp_memory_locate_small(memory, guest, call);
}

void tp_capture_prepare_ahead(struct tp_guest *guest, struct tp_memory *memory,
	const struct tp_capture_options *options, const struct tp_call *call)
{
	if (!memory->base || memory->denied || options->path == TP_PATH_STREAM)
		return;
	struct torpor_error *err = prepare_process(guest, memory, call);
	if (err)
		tp_log(TP_LOG_DEBUG, "left to the first park: %s", torpor_error_message(err));
	torpor_error_free(err);
}

static struct torpor_error *prepare_direct(
	struct tp_guest *guest, struct tp_memory *memory, const struct tp_call *call)
{
	TP_TRY(prepare_process(guest, memory, call));
	/* Copied to here, so that the page faults come before the stop. */
	if (!memory->small_now)
		memory->small_now = tp_memdup(memory->base->small, memory->base->small_len);
	return NULL;
}

struct torpor_error *tp_capture_prepare(struct tp_guest *guest, struct tp_memory *memory,
	const struct tp_capture_options *options, const struct tp_call *call,
	enum tp_path *path_out, uint64_t *pages_out)
{
	if (!memory->base) {
		*path_out = TP_PATH_OWN;
		*pages_out = memory->ram_pages;
		return NULL;
	}
	if (options->path != TP_PATH_STREAM) {
		struct torpor_error *err = prepare_direct(guest, memory, call);
		if (!err) {
			*path_out = TP_PATH_DIRECT;
			return tp_procmem_count(
				tp_guest_pid(guest), &memory->mapping, options->scan, pages_out);
		}
		/* A call that is over, or a QEMU that is gone, has no other way either. */
		enum torpor_errc code = torpor_error_code(err);
		if (options->path == TP_PATH_DIRECT || code == TORPOR_E_TIMEOUT ||
			code == TORPOR_E_CANCELLED || code == TORPOR_E_QEMU)
			return err;
		tp_error_log(tp_error_in(err, "stream path instead of direct", NULL));
	}
	*path_out = TP_PATH_STREAM;
	*pages_out = 0; /* unknown: the writer extends its reservation as it goes */
	return NULL;
}

/* --- Direct --- */

/* Copies up to a block's worth of pages, starting SKIP pages into RUNS[0]; says how far it got. */
struct cursor {
	const struct tp_run *run;
	const struct tp_run *end;
	uint64_t skip; /* pages of *run that are done */
};

static unsigned int take_runs(struct cursor *at, struct tp_page_block *block, struct tp_run *taken)
{
	unsigned int n = 0;

	block->count = 0;
	while (at->run < at->end && block->count < TP_FORMAT_BLOCK_PAGES) {
		uint64_t room = TP_FORMAT_BLOCK_PAGES - block->count;
		taken[n].first_page = at->run->first_page + at->skip;
		taken[n].count = TP_MIN(at->run->count - at->skip, room);
		for (uint64_t i = 0; i < taken[n].count; i++)
			block->pages[block->count++] = taken[n].first_page + i;
		at->skip += taken[n].count;
		if (at->skip == at->run->count) {
			at->run++;
			at->skip = 0;
		}
		n++;
	}
	return n;
}

static struct torpor_error *copy_runs(pid_t pid, const struct tp_mapping *mapping,
	const struct tp_runs *runs, struct tp_image_writer *writer, const struct tp_call *call)
{
	struct cursor at = {.run = runs->run, .end = runs->run + runs->n};
	struct tp_run taken[TP_FORMAT_BLOCK_PAGES];

	while (at.run < at.end) {
		struct tp_page_block *block;
		TP_TRY(tp_image_writer_get(writer, call, &block));
		unsigned int n = take_runs(&at, block, taken);
		struct torpor_error *err =
			tp_procmem_read_runs(pid, mapping, taken, n, block->data);
		if (err)
			block->count = 0;
		err = tp_error_first(err, tp_image_writer_put(writer, block));
		if (err)
			return err;
	}
	return NULL;
}

/* Copies the small blocks as they are; what differs is looked for once all is copied. */
static struct torpor_error *copy_small(pid_t pid, struct tp_memory *memory)
{
	const struct tp_base *base = memory->base;
	uint8_t *at = memory->small_now;

	for (size_t i = 1; i < base->n_blocks; i++) {
		TP_TRY(tp_procmem_read(
			pid, memory->small_addresses[i - 1], at, base->blocks[i].len));
		at += TP_ROUND_UP(base->blocks[i].len, TP_PAGE_SIZE);
	}
	return NULL;
}

static struct torpor_error *put_small(
	const struct tp_memory *memory, struct tp_image_writer *writer, const struct tp_call *call)
{
	const struct tp_base *base = memory->base;

	return tp_put_small(
		writer, memory->small_now, base->small_len, base->small, base->ram_pages, call);
}

/* The device sections out of what xen-save-devices-state wrote. */
static struct torpor_error *read_devices(
	int fd, const struct tp_call *call, struct tp_capture *capture)
{
	TP_STREAM struct tp_stream *stream = NULL;
	struct tp_stream_item item;

	if (lseek(fd, 0, SEEK_SET) < 0)
		return tp_error_errno(errno, "rewind", "device state");
	struct tp_stream_fd source = {.fd = fd, .call = call, .object = "device state"};
	TP_TRY(tp_stream_open(tp_stream_from_fd(&source), &stream));
	TP_TRY(tp_stream_next(stream, &item));
	if (item.kind != TP_STREAM_DEVICES)
		return tp_error(TORPOR_E_QEMU, "read", "device state", "it holds no devices");
	capture->device = tp_memdup(item.devices, item.devices_len);
	capture->device_len = item.devices_len;
	return NULL;
}

static struct torpor_error *capture_direct(struct tp_guest *guest, struct tp_memory *memory,
	enum tp_scan_method scan, struct tp_image_writer *writer, const struct tp_call *call,
	struct tp_capture *capture)
{
	const char *image = tp_image_writer_name(writer);
	pid_t pid = tp_guest_pid(guest);
	TP_RUNS struct tp_runs runs = {0};

	capture->stop_ns = tp_now_ns();
	TP_TRY(tp_guest_stop(guest, call));
	TP_PROBE2(save__stopped, image, capture->stop_ns);
	TP_TRY(tp_guest_save_devices(guest, &memory->devices, call));
	TP_PROBE1(save__devices, image);
	TP_TRY(tp_procmem_scan(pid, &memory->mapping, scan, &runs));
	TP_PROBE3(save__scanned, image, runs.pages, runs.n);
	TP_TRY(copy_runs(pid, &memory->mapping, &runs, writer, call));
	TP_PROBE2(save__copied, image, runs.pages);
	TP_TRY(copy_small(pid, memory));
	TP_PROBE1(save__captured, image);
	capture->captured_ns = tp_now_ns();

	capture->scan = scan == TP_SCAN_AUTO ? tp_procmem_scan_method() : scan;
	capture->pages_scanned = runs.pages;
	TP_TRY(put_small(memory, writer, call));
	return read_devices(memory->devices.read_fd, call, capture);
}

/* --- RAM of its own --- */

static struct torpor_error *capture_own(struct tp_guest *guest, struct tp_memory *memory,
	struct tp_image_writer *writer, const struct tp_call *call, struct tp_capture *capture)
{
	TP_STATE struct tp_state state = {0};

	capture->stop_ns = tp_now_ns();
	TP_TRY(tp_guest_stop(guest, call));
	TP_PROBE2(save__stopped, tp_image_writer_name(writer), capture->stop_ns);
	TP_TRY(tp_state_take(guest, memory->ram_pages * TP_PAGE_SIZE, call, &state));
	TP_TRY(tp_sparse_put(writer, memory->ram_fd, memory->ram_pages, "guest memory", call));
	TP_TRY(tp_put_small(writer, state.small, state.small_len, NULL, memory->ram_pages, call));
	TP_PROBE1(save__captured, tp_image_writer_name(writer));
	capture->captured_ns = tp_now_ns();

	capture->pages_scanned = memory->ram_pages;
	capture->blocks = TP_TAKE(state.blocks);
	capture->n_blocks = state.n_blocks;
	state.n_blocks = 0;
	capture->device = TP_TAKE(state.device);
	capture->device_len = state.device_len;
	return NULL;
}

/* --- All --- */

struct torpor_error *tp_capture_run(struct tp_guest *guest, struct tp_memory *memory,
	enum tp_path path, enum tp_scan_method scan, struct tp_image_writer *writer,
	const struct tp_call *call, struct tp_capture *capture_out)
{
	TP_CAPTURE struct tp_capture capture = {.path = path};

	switch (path) {
	case TP_PATH_DIRECT:
		TP_TRY(capture_direct(guest, memory, scan, writer, call, &capture));
		break;
	case TP_PATH_STREAM:
		TP_TRY(tp_capture_stream(guest, memory, writer, call, &capture));
		break;
	case TP_PATH_OWN:
		TP_TRY(capture_own(guest, memory, writer, call, &capture));
		break;
	case TP_PATH_AUTO:
		return tp_error(TORPOR_E_INTERNAL, "capture", NULL, "no path was chosen");
	}
	*capture_out = capture;
	capture = (struct tp_capture){0};
	return NULL;
}

struct torpor_error *tp_capture_commit(const struct tp_capture *capture,
	const struct tp_memory *memory, const uint8_t template_id[TP_IDENTITY_LEN],
	const struct tp_record *record, struct tp_image_writer *writer, const struct tp_call *call,
	struct tp_image_stats *stats_out)
{
	const struct tp_base *base = memory->base;
	TP_FREE char *config = tp_record_format(record);
	struct tp_image_meta meta = {
		.kind = base ? TP_IMAGE_SESSION : TP_IMAGE_FULL,
		.config = config,
		.device = capture->device,
		.device_len = capture->device_len,
		.blocks = base ? base->blocks : capture->blocks,
		.n_blocks = base ? base->n_blocks : capture->n_blocks,
	};

	memcpy(meta.template_id, template_id, TP_IDENTITY_LEN);
	return tp_image_writer_commit(writer, &meta, call, stats_out);
}
