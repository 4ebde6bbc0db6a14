/* SPDX-License-Identifier: Apache-2.0 */
/* Restore. */
#include "snapshot/restore.h"

#include <pthread.h>
#include <string.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/probe.h"
#include "engine/control.h"
#include "engine/qemu_info.h"
#include "snapshot/sparse.h"
#include "snapshot/state.h"
#include "snapshot/stream.h"

/* --- Does it fit? --- */

struct torpor_error *tp_restore_check_qemu(
	const struct tp_record *record, const char *qemu_version, const char *object)
{
	const char *wrote = record->guest.qemu_version;

	TP_FREE char *why_not = tp_qemu_version_why_not(record->guest.machine, qemu_version, wrote);
	if (!why_not)
		return NULL;
	return tp_error_hint(tp_error(TORPOR_E_MISMATCH, "check image", object, "%s", why_not),
		"Resume it with QEMU %s%s.", wrote,
		record->guest.machine == TP_MACHINE_MICROVM ? "" : " or newer");
}

static struct torpor_error *check_blocks(
	const struct tp_image_meta *meta, const struct tp_base *base, const char *object)
{
	bool same = meta->n_blocks == base->n_blocks;

	for (size_t i = 0; same && i < base->n_blocks; i++)
		same = meta->blocks[i].len == base->blocks[i].len &&
		       strcmp(meta->blocks[i].name, base->blocks[i].name) == 0;
	if (!same)
		return tp_error(TORPOR_E_CORRUPT, "check image", object,
			"its table of RAM blocks is not its template's");
	return NULL;
}

static struct torpor_error *check_base(const struct tp_image_meta *meta,
	const struct tp_record *record, const struct tp_base *base, const char *object)
{
	if (memcmp(meta->template_id, base->id, sizeof(base->id)) != 0)
		return tp_error(TORPOR_E_MISMATCH, "check image", object,
			"it was parked against another template than %s",
			base->record.template_name);
	const char *field = tp_guest_config_difference(&record->guest, &base->record.guest);
	/* A session may have been parked by a newer QEMU than its template was frozen by. */
	if (field && strcmp(field, "qemu_version") != 0)
		return tp_error(TORPOR_E_MISMATCH, "check image", object,
			"its guest differs from its template's in \"%s\"", field);
	return check_blocks(meta, base, object);
}

struct torpor_error *tp_restore_check(const struct tp_image *image, const struct tp_record *record,
	const struct tp_base *base, const char *qemu_version, const char *object)
{
	const struct tp_image_meta *meta = tp_image_meta(image);
	enum tp_image_kind wanted = base ? TP_IMAGE_SESSION : TP_IMAGE_FULL;

	if (meta->kind != wanted || !record->is_session)
		return tp_error(TORPOR_E_MISMATCH, "check image", object,
			"it is a %s image, not a %s one", tp_image_kind_name(meta->kind),
			tp_image_kind_name(wanted));
	if (meta->blocks[0].len != record->guest.memory_bytes)
		return tp_error(TORPOR_E_CORRUPT, "check image", object,
			"its config and its RAM blocks disagree");
	TP_TRY(tp_state_check_blocks(meta->blocks, meta->n_blocks, object));
	TP_TRY(tp_restore_check_qemu(record, qemu_version, object));
	return base ? check_base(meta, record, base, object) : NULL;
}

/* --- Where pages go --- */

struct target {
	struct tp_guest *guest;
	struct tp_memory *memory;
	uint8_t *small; /* the small blocks' pages; NULL: none differ */
	/* Stream path: pages of main RAM go into the stream, one thread at a time. */
	struct tp_stream_writer *stream;
	pthread_mutex_t lock;
};

static struct torpor_error *write_process(
	struct target *t, const uint64_t *pages, const uint8_t *bytes, unsigned int n)
{
	struct tp_run runs[TP_FORMAT_BLOCK_PAGES];
	unsigned int n_runs = 0;

	for (unsigned int i = 0; i < n; i++) {
		struct tp_run *last = n_runs ? &runs[n_runs - 1] : NULL;
		if (last && last->first_page + last->count == pages[i])
			last->count++;
		else
			runs[n_runs++] = (struct tp_run){.first_page = pages[i], .count = 1};
	}
	return tp_procmem_write_runs(
		tp_guest_pid(t->guest), &t->memory->mapping, runs, n_runs, bytes);
}

static struct torpor_error *write_stream(
	struct target *t, const uint64_t *pages, const uint8_t *bytes, unsigned int n)
{
	struct torpor_error *err = NULL;

	pthread_mutex_lock(&t->lock);
	for (unsigned int i = 0; i < n && !err; i++)
		err = tp_stream_put_page(
			t->stream, 0, pages[i] * TP_PAGE_SIZE, bytes + i * TP_PAGE_SIZE);
	pthread_mutex_unlock(&t->lock);
	return err;
}

static struct torpor_error *write_main(
	struct target *t, const uint64_t *pages, const uint8_t *bytes, unsigned int n)
{
	if (!t->memory->base)
		return tp_sparse_write(t->memory->ram_fd, pages, bytes, n, "guest memory");
	if (t->stream)
		return write_stream(t, pages, bytes, n);
	return write_process(t, pages, bytes, n);
}

static struct torpor_error *page_sink(
	void *data, const uint64_t *pages, const uint8_t *bytes, unsigned int n)
{
	struct target *t = data;
	unsigned int main = 0;

	while (main < n && pages[main] < t->memory->ram_pages)
		main++;
	for (unsigned int i = main; i < n; i++)
		memcpy(t->small + (pages[i] - t->memory->ram_pages) * TP_PAGE_SIZE,
			bytes + i * TP_PAGE_SIZE, TP_PAGE_SIZE);
	return main > 0 ? write_main(t, pages, bytes, main) : NULL;
}

/* --- The two ways --- */

/* What is loaded: the image's state, or the template's; IMAGE is NULL for the latter. */
struct source {
	const struct tp_image *image;
	const struct tp_record *record;
	struct tp_workers *workers;
	struct tp_state state; /* blocks are borrowed; small and device are owned if `owned` */
	bool owned;
};

static void source_deinit(struct source *s)
{
	if (s->owned) {
		free(s->state.small);
		free(s->state.device);
	}
}
static inline void source_deinit_cleanup_(struct source *s)
{
	source_deinit(s);
}

static uint64_t small_bytes(const struct tp_ram_block *blocks, size_t n)
{
	uint64_t bytes = 0;

	for (size_t i = 1; i < n; i++)
		bytes += TP_ROUND_UP(blocks[i].len, TP_PAGE_SIZE);
	return bytes;
}

/* All but the pages of the image; small blocks start as the base has them. */
static struct torpor_error *source_init(struct source *s, const struct tp_base *base)
{
	const struct tp_image_meta *meta = s->image ? tp_image_meta(s->image) : NULL;

	if (!meta) {
		s->state = (struct tp_state){
			.blocks = base->blocks,
			.n_blocks = base->n_blocks,
			.small = base->small,
			.small_len = base->small_len,
			.device = base->device,
			.device_len = base->device_len,
		};
		return NULL;
	}
	s->owned = true;
	s->state.blocks = meta->blocks;
	s->state.n_blocks = meta->n_blocks;
	s->state.small_len = small_bytes(meta->blocks, meta->n_blocks);
	s->state.small =
		base ? tp_memdup(base->small, base->small_len) : tp_calloc(1, s->state.small_len);
	return tp_image_device(s->image, base ? base->device : NULL, base ? base->device_len : 0,
		&s->state.device, &s->state.device_len);
}

static struct torpor_error *load_pages(
	struct source *s, struct target *t, const struct tp_call *call)
{
	int base_fd = t->memory->base ? t->memory->base->fd : -1;

	t->small = s->state.small;
	return s->image ? tp_image_load(s->image, base_fd, s->workers, page_sink, t, call) : NULL;
}

/* Goes on in the stream where the guest waits. */
static struct torpor_error *put_beginning(const struct source *s, const struct tp_memory *memory,
	struct tp_stream_writer *w, const struct tp_stream_block *blocks)
{
	if (memory->base)
		return tp_stream_put_ram_rest(w, blocks, s->state.n_blocks);
	TP_TRY(tp_stream_put_header(w, s->record->guest.machine_type));
	return tp_stream_put_ram_start(w, blocks, s->state.n_blocks);
}

/*
 * All that the guest has not got yet. On the direct path main RAM is put straight into its place,
 * before the devices come: virtio reads its rings from it as it is loaded.
 */
static struct torpor_error *load_all(
	struct source *s, struct target *t, enum tp_path path, const struct tp_call *call)
{
	struct tp_memory *memory = t->memory;
	struct tp_stream_fd sink = {.fd = memory->load_fd, .call = call, .object = "guest state"};
	TP_STREAM_WRITER struct tp_stream_writer *w = tp_stream_writer_new(tp_stream_to_fd(&sink));
	TP_FREE struct tp_stream_block *blocks =
		tp_state_stream_blocks(s->state.blocks, s->state.n_blocks);

	if (path != TP_PATH_STREAM) {
		TP_TRY(load_pages(s, t, call));
		TP_PROBE1(wake__pages, s->record->session_name);
	}
	TP_TRY(put_beginning(s, memory, w, blocks));
	if (path == TP_PATH_STREAM) {
		t->stream = w;
		TP_TRY(load_pages(s, t, call));
	}
	TP_TRY(tp_state_put_small(w, &s->state, memory->base ? memory->base->small : NULL, 1));
	TP_TRY(tp_stream_put_ram_end(w));
	TP_TRY(tp_stream_put_devices(w, s->state.device, s->state.device_len));
	TP_TRY(tp_stream_put_end(w));
	return tp_guest_load_wait(t->guest, call);
}

/* Keeps what the small blocks hold now, where that isn't what the base holds. */
static void remember_small(struct source *s, struct tp_memory *memory)
{
	const struct tp_base *base = memory->base;

	if (base && s->owned && memcmp(s->state.small, base->small, base->small_len) != 0)
		memory->small = TP_TAKE(s->state.small);
}

static struct torpor_error *choose(const struct tp_guest *guest, const struct tp_memory *memory,
	enum tp_path wanted, enum tp_path *path_out)
{
	if (!memory->base) {
		*path_out = TP_PATH_OWN;
		return NULL;
	}
	TP_ERROR struct torpor_error *denied =
		wanted == TP_PATH_STREAM ? NULL : tp_memory_allowed(memory, guest);
	if (wanted == TP_PATH_DIRECT && denied)
		return TP_TAKE(denied);
	*path_out = wanted == TP_PATH_STREAM || denied ? TP_PATH_STREAM : TP_PATH_DIRECT;
	return NULL;
}

struct torpor_error *tp_restore(struct tp_guest *guest, struct tp_memory *memory,
	const struct tp_record *record, const struct tp_image *image, enum tp_path wanted,
	struct tp_workers *workers, const struct tp_call *call, enum tp_path *path_out)
{
	__attribute__((cleanup(source_deinit_cleanup_))) struct source s = {
		.image = image, .record = record, .workers = workers};
	struct target t = {.guest = guest, .memory = memory, .lock = PTHREAD_MUTEX_INITIALIZER};
	enum tp_path path = TP_PATH_AUTO;

	TP_TRY(choose(guest, memory, wanted, &path));
	TP_TRY(source_init(&s, memory->base));
	TP_TRY(load_all(&s, &t, path, call));
	memory->load_fd = tp_close(memory->load_fd);
	TP_PROBE2(wake__loaded, record->session_name, path);
	remember_small(&s, memory);
	*path_out = path;
	return NULL;
}
