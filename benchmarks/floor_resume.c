/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor of a resume: QEMU's own part, and the bytes' part, with nothing of Torpor's between.
 *
 * QEMU's part can't be had without the pages: virtio devices compare their rings, which are in RAM,
 * with their state. So the pages are put in place first, outside the interval, as are composing the
 * stream, telling QEMU its capabilities and handing it the descriptor.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "benchmarks/bench_priv.h"
#include "engine/control.h"
#include "snapshot/state.h"
#include "storage/image_priv.h"
#include "storage/pack.h"

/* --- QEMU's part --- */

struct sink {
	pid_t pid;
	const struct tp_memory *memory;
	uint8_t *small;
};

static struct torpor_error *put_pages(
	void *data, const uint64_t *pages, const uint8_t *bytes, unsigned int n)
{
	struct sink *sink = data;

	for (unsigned int i = 0; i < n; i++) {
		const uint8_t *page = bytes + i * TP_PAGE_SIZE;
		struct tp_run run = {.first_page = pages[i], .count = 1};
		if (pages[i] >= sink->memory->ram_pages)
			memcpy(sink->small + (pages[i] - sink->memory->ram_pages) * TP_PAGE_SIZE,
				page, TP_PAGE_SIZE);
		else
			TP_TRY(tp_procmem_write_runs(
				sink->pid, &sink->memory->mapping, &run, 1, page));
	}
	return NULL;
}

/* The stream that a shell loads, all of it. */
static struct torpor_error *compose(
	int fd, const char *machine, const struct tp_state *state, const struct tp_call *call)
{
	struct tp_stream_fd target = {.fd = fd, .call = call, .object = "guest state"};
	TP_STREAM_WRITER struct tp_stream_writer *w =
		tp_stream_writer_new(tp_stream_to_fd(&target));
	size_t n = state->n_blocks - 1;
	TP_FREE struct tp_stream_block *blocks = tp_state_stream_blocks(state->blocks + 1, n);

	TP_TRY(tp_stream_put_header(w, machine));
	TP_TRY(tp_stream_put_ram_start(w, blocks, n));
	TP_TRY(tp_state_put_small(w, state, NULL, 0));
	TP_TRY(tp_stream_put_ram_end(w));
	TP_TRY(tp_stream_put_devices(w, state->device, state->device_len));
	TP_TRY(tp_stream_put_end(w));
	return lseek(fd, 0, SEEK_SET) < 0 ? tp_error_errno(errno, "rewind", "guest state") : NULL;
}

/* All that must be there before the interval begins. */
static struct torpor_error *get_ready(struct tp_shell *shell, const struct tp_image *image,
	const struct tp_call *call, int *fd_out)
{
	const struct tp_base *base = shell->memory.base;
	TP_FREE uint8_t *small = tp_memdup(base->small, base->small_len);
	TP_FREE void *device = NULL;
	struct sink sink = {
		.pid = tp_guest_pid(shell->guest), .memory = &shell->memory, .small = small};
	struct tp_state state = {.blocks = base->blocks,
		.n_blocks = base->n_blocks,
		.small = small,
		.small_len = base->small_len};
	TP_FD int fd = -1;

	TP_TRY(tp_image_load(image, base->fd, NULL, put_pages, &sink, call));
	TP_TRY(tp_image_device(image, base->device, base->device_len, &device, &state.device_len));
	state.device = device;
	TP_TRY(tp_memfd("torpor-floor", 0, &fd));
	TP_TRY(compose(fd, base->record.guest.machine_type, &state, call));
	TP_TRY(tp_guest_execute(shell->guest, "migrate-set-capabilities",
		json_pack("{s:[{s:s, s:b}]}", "capabilities", "capability", "events", "state", 1),
		-1, call, NULL));
	TP_TRY(tp_guest_execute(
		shell->guest, "getfd", json_pack("{s:s}", "fdname", "floor"), fd, call, NULL));
	*fd_out = TP_TAKE_FD(fd);
	return NULL;
}

static struct torpor_error *load(struct bench *b, struct torpor_session *session,
	const struct tp_image *image, const struct tp_call *call, uint64_t *load_ns)
{
	TP_CLEANUP(tp_shell_free) struct tp_shell *shell = NULL;
	TP_FD int fd = -1;
	uint64_t resumed_ns;

	TP_TRY(tp_shell_start_bare(session->tmpl, call, &shell));
	TP_TRY(get_ready(shell, image, call, &fd));
	TP_TRY(bench_settle(b));
	uint64_t start = tp_now_ns();
	TP_TRY(tp_guest_execute(shell->guest, "migrate-incoming",
		json_pack("{s:s}", "uri", "fd:floor"), -1, call, NULL));
	TP_TRY(tp_guest_load_wait(shell->guest, call));
	TP_TRY(tp_guest_cont(shell->guest, call, &resumed_ns));
	*load_ns = resumed_ns - start;
	return NULL;
}

/* --- The bytes' part --- */

/* A block as it is in memory when the interval begins. */
struct block {
	uint64_t pages[TP_FORMAT_BLOCK_PAGES];
	uint8_t *stored;
	uint8_t *base;
};

static struct torpor_error *read_blocks(
	const struct tp_image *image, int base_fd, struct block *blocks)
{
	for (uint32_t i = 0; i < image->n_blocks; i++) {
		const struct tp_image_block *from = &image->blocks[i];
		tp_index_pages(&image->index, from->place, from->page_count, blocks[i].pages);
		blocks[i].stored = tp_malloc(from->stored_len);
		blocks[i].base = tp_malloc(from->page_count * TP_PAGE_SIZE);
		TP_TRY(tp_pread_full(
			image->fd, blocks[i].stored, from->stored_len, from->offset, image->name));
		TP_TRY(tp_read_base_pages(
			base_fd, blocks[i].pages, from->page_count, blocks[i].base));
	}
	return NULL;
}

static void copy_block(
	const uint64_t *pages, unsigned int n, const uint8_t *bytes, uint8_t *ram, uint64_t limit)
{
	for (unsigned int i = 0; i < n; i++) {
		if (pages[i] < limit)
			memcpy(ram + pages[i] * TP_PAGE_SIZE, bytes + i * TP_PAGE_SIZE,
				TP_PAGE_SIZE);
	}
}

static struct torpor_error *unpack_and_copy(const struct tp_image *image,
	const struct tp_base *base, const struct block *blocks, struct tp_codec *codec,
	struct bench_floor_resume *floor)
{
	size_t size = base->ram_pages * TP_PAGE_SIZE;
	uint8_t *raw = tp_codec_raw(codec);
	uint64_t at = tp_now_ns();
	uint8_t *ram = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, base->fd, 0);
	bool sound = true;

	if (ram == MAP_FAILED)
		return tp_error_errno(errno, "map", "base");
	floor->copy_ns = tp_now_ns() - at;
	for (uint32_t i = 0; i < image->n_blocks && sound; i++) {
		const struct tp_image_block *block = &image->blocks[i];
		const uint8_t *bytes = block->codec == TP_CODEC_RAW ? blocks[i].stored : raw;
		uint64_t start = tp_now_ns();
		if (bytes == raw)
			sound = tp_codec_unpack_block(codec, block->codec, blocks[i].stored,
				block->stored_len, blocks[i].base, raw,
				block->page_count * TP_PAGE_SIZE);
		uint64_t unpacked = tp_now_ns();
		copy_block(blocks[i].pages, block->page_count, bytes, ram, base->ram_pages);
		floor->unpack_ns += unpacked - start;
		floor->copy_ns += tp_now_ns() - unpacked;
	}
	munmap(ram, size);
	return sound ? NULL : tp_error(TORPOR_E_CORRUPT, "decode", image->name, "it is damaged");
}

static struct torpor_error *bytes_part(struct bench *b, const struct tp_image *image,
	const struct tp_base *base, struct bench_floor_resume *floor)
{
	struct block *blocks = tp_calloc(image->n_blocks, sizeof(*blocks));
	struct tp_codec *codec = tp_workers_take_codec(b->engine->workers);
	struct torpor_error *err = NULL;

	if (!codec)
		err = tp_error(TORPOR_E_NOMEM, "make", "codec", "no memory");
	if (!err)
		err = read_blocks(image, base->fd, blocks);
	if (!err)
		err = unpack_and_copy(image, base, blocks, codec, floor);
	for (uint32_t i = 0; i < image->n_blocks; i++) {
		free(blocks[i].stored);
		free(blocks[i].base);
	}
	free(blocks);
	if (codec)
		tp_workers_give_codec(b->engine->workers, codec);
	return err;
}

struct torpor_error *bench_floor_resume(struct bench *b, struct torpor_session *session, bool pages,
	struct bench_floor_resume *floor_out)
{
	struct tp_call call = tp_call_from(&b->options->call, RESUME_TIMEOUT_NS);
	struct bench_floor_resume floor = {0};
	TP_CLEANUP(tp_image_close) struct tp_image *image = NULL;

	TP_TRY(tp_session_open_image(session, &call, &image));
	TP_TRY(load(b, session, image, &call, &floor.load_ns));
	if (pages)
		TP_TRY(bytes_part(b, image, session->tmpl->base, &floor));
	*floor_out = floor;
	return NULL;
}
