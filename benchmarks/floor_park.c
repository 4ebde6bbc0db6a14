/* SPDX-License-Identifier: Apache-2.0 */
/* The floor of a park: what QEMU, the copy, one core of zstd, and the disk take by themselves. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "benchmarks/bench_priv.h"
#include "engine/control.h"
#include "storage/pack.h"

#define FLOOR_FILE ".bench-floor"

/* Stop and device state, the descriptor being in QEMU already. */
static struct torpor_error *save_devices(
	struct tp_guest *guest, const struct tp_call *call, uint64_t *devices_ns)
{
	TP_FD int memfd = -1;
	json_t *set;

	TP_TRY(tp_memfd("torpor-floor", 0, &memfd));
	TP_FREE char *path = tp_asprintf("/proc/self/fd/%d", memfd);
	TP_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return tp_error_errno(errno, "open", path);
	TP_TRY(tp_guest_execute(guest, "add-fd", NULL, fd, call, &set));
	TP_FREE char *name = tp_asprintf(
		"/dev/fdset/%lld", (long long)json_integer_value(json_object_get(set, "fdset-id")));
	json_decref(set);

	uint64_t start = tp_now_ns();
	TP_TRY(tp_guest_execute(guest, "stop", NULL, -1, call, NULL));
	TP_TRY(tp_guest_execute(guest, "xen-save-devices-state",
		json_pack("{s:s, s:b}", "filename", name, "live", 0), -1, call, NULL));
	*devices_ns = tp_now_ns() - start;
	return NULL;
}

/* Private pages, copied out. */
struct copied {
	struct tp_runs runs;
	uint8_t *bytes;
};

static void copied_deinit(struct copied *copied)
{
	tp_runs_deinit(&copied->runs);
	free(copied->bytes);
}

static struct torpor_error *copy_out(
	struct torpor_session *session, struct copied *copied, uint64_t *copy_ns)
{
	pid_t pid = tp_guest_pid(session->guest);
	const struct tp_mapping *mapping = &session->memory.mapping;

	TP_TRY(tp_procmem_scan(pid, mapping, TP_SCAN_AUTO, &copied->runs));
	copied->bytes = tp_malloc(copied->runs.pages * TP_PAGE_SIZE);
	memset(copied->bytes, 0xff, copied->runs.pages * TP_PAGE_SIZE); /* warm */
	uint64_t start = tp_now_ns();
	TP_TRY(tp_procmem_read_runs(pid, mapping, copied->runs.run, copied->runs.n, copied->bytes));
	*copy_ns = tp_now_ns() - start;
	return NULL;
}

/* A block that is full or the last: packed and written, with the time of both. */
static struct torpor_error *flush(struct tp_codec *codec, int level, struct tp_page_block *block,
	int fd, uint64_t *offset, struct bench_floor_park *floor)
{
	enum tp_format_codec how;
	size_t len;

	uint64_t start = tp_now_ns();
	TP_TRY(tp_codec_pack_block(codec, level, block->data, block->count * TP_PAGE_SIZE,
		tp_codec_base(codec), &how, &len));
	uint64_t packed = tp_now_ns();
	TP_TRY(tp_pwrite_full(fd, block->data, len, *offset, FLOOR_FILE));
	floor->pack_ns += packed - start;
	floor->write_ns += tp_now_ns() - packed;
	*offset += len;
	block->count = 0;
	return NULL;
}

/* The pages that differ from the base, in blocks. Finding them is not in the interval. */
static struct torpor_error *pack_and_write(struct bench *b, const struct tp_base *base,
	const struct copied *copied, struct tp_codec *codec, struct tp_page_block *block, int fd,
	struct bench_floor_park *floor)
{
	const uint8_t *page = copied->bytes;
	uint64_t offset = 0;

	block->count = 0;
	for (size_t i = 0; i < copied->runs.n; i++) {
		const struct tp_run *run = &copied->runs.run[i];
		for (uint64_t j = 0; j < run->count; j++, page += TP_PAGE_SIZE) {
			uint64_t number = run->first_page + j;
			uint8_t *was = tp_codec_base(codec) + block->count * TP_PAGE_SIZE;
			TP_TRY(tp_read_base_pages(base->fd, &number, 1, was));
			if (memcmp(page, was, TP_PAGE_SIZE) == 0)
				continue;
			memcpy(block->data + block->count * TP_PAGE_SIZE, page, TP_PAGE_SIZE);
			if (++block->count == TP_FORMAT_BLOCK_PAGES)
				TP_TRY(flush(
					codec, b->engine->zstd_level, block, fd, &offset, floor));
		}
	}
	if (block->count > 0)
		TP_TRY(flush(codec, b->engine->zstd_level, block, fd, &offset, floor));
	uint64_t start = tp_now_ns();
	if (fsync(fd) < 0)
		return tp_error_errno(errno, "sync", FLOOR_FILE);
	floor->write_ns += tp_now_ns() - start;
	return NULL;
}

static struct torpor_error *make_durable(struct bench *b, const struct tp_base *base,
	const struct copied *copied, struct bench_floor_park *floor)
{
	struct torpor_engine *engine = b->engine;
	TP_FD int fd =
		openat(engine->images_fd, FLOOR_FILE, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return tp_error_errno(errno, "create", FLOOR_FILE);
	struct tp_codec *codec = tp_workers_take_codec(engine->workers);
	struct tp_page_block *block = tp_staging_try_get(engine->staging);
	struct torpor_error *err = NULL;
	if (codec && block)
		err = pack_and_write(b, base, copied, codec, block, fd, floor);
	else
		err = tp_error(TORPOR_E_NOMEM, "measure", "floor", "no codec or staging");
	if (block)
		tp_staging_give(engine->staging, block);
	if (codec)
		tp_workers_give_codec(engine->workers, codec);
	unlinkat(engine->images_fd, FLOOR_FILE, 0);
	return err;
}

/* With the session's turn. */
static struct torpor_error *measure(struct bench *b, struct torpor_session *session, bool pages,
	const struct tp_call *call, struct bench_floor_park *floor_out)
{
	struct bench_floor_park floor = {0};
	__attribute__((cleanup(copied_deinit))) struct copied copied = {0};

	TP_TRY(tp_session_require(session, TORPOR_SESSION_RUNNING, "measure"));
	if (session->memory.denied)
		return tp_error(TORPOR_E_DENIED, "measure", "floor", "%s",
			torpor_error_message(session->memory.denied));
	TP_TRY(bench_settle(b));
	TP_TRY(save_devices(session->guest, call, &floor.devices_ns));
	tp_session_set_state(session, TORPOR_SESSION_PAUSED);
	if (pages) {
		TP_TRY(copy_out(session, &copied, &floor.copy_ns));
		TP_TRY(make_durable(b, session->memory.base, &copied, &floor));
	}
	*floor_out = floor;
	return NULL;
}

struct torpor_error *bench_floor_park(struct bench *b, struct torpor_session *session, bool pages,
	struct bench_floor_park *floor_out)
{
	struct tp_call call = tp_call_from(&b->options->call, PARK_TIMEOUT_NS);

	TP_TRY(tp_session_enter(session, false, &call));
	struct torpor_error *err = measure(b, session, pages, &call, floor_out);
	tp_session_leave(session);
	return err;
}
