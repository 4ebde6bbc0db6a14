/* SPDX-License-Identifier: Apache-2.0 */
/* Bases: counted, filled from a template image, stored as one. */
#include "snapshot/base.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "snapshot/base_private.h"
#include "snapshot/procmem.h"
#include "snapshot/sparse.h"
#include "snapshot/state.h"
#include "storage/image_reader.h"

/* Nobody can change, shrink, grow or unseal it. */
static const int base_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;

struct tp_base *tp_base_ref(struct tp_base *base)
{
	atomic_fetch_add_explicit(&base->refs, 1, memory_order_relaxed);
	return base;
}

struct tp_base *tp_base_unref(struct tp_base *base)
{
	if (!base || atomic_fetch_sub_explicit(&base->refs, 1, memory_order_acq_rel) > 1)
		return NULL;
	tp_close(base->fd);
	tp_record_deinit(&base->record);
	for (size_t i = 0; i < base->n_blocks; i++)
		free(base->blocks[i].name);
	free(base->blocks);
	free(base->config);
	free(base->device);
	free(base->small);
	free(base->load_prefix);
	free(base);
	return NULL;
}

struct tp_base *tp_base_new(void)
{
	struct tp_base *base = tp_calloc(1, sizeof(*base));

	atomic_init(&base->refs, 1);
	base->fd = -1;
	return base;
}

struct tp_base *tp_base_none(const struct tp_record *record)
{
	struct tp_base *base = tp_base_new();

	tp_record_copy(&base->record, record);
	return base;
}

void tp_base_set_blocks(struct tp_base *base, const struct tp_ram_block *blocks, size_t n)
{
	base->blocks = tp_calloc(n, sizeof(*blocks));
	base->n_blocks = n;
	for (size_t i = 0; i < n; i++) {
		base->blocks[i].name = tp_strdup(blocks[i].name);
		base->blocks[i].len = blocks[i].len;
		uint64_t pages = TP_DIV_UP(blocks[i].len, TP_PAGE_SIZE);
		if (i == 0)
			base->ram_pages = pages;
		else
			base->small_len += pages * TP_PAGE_SIZE;
	}
}

static struct torpor_error *note_inode(struct tp_base *base)
{
	struct stat st;

	if (fstat(base->fd, &st) < 0)
		return tp_error_errno(
			errno, "stat the base of template", base->record.template_name);
	base->dev = st.st_dev;
	base->inode = st.st_ino;
	return NULL;
}

struct torpor_error *tp_base_seal(struct tp_base *base)
{
	if (fcntl(base->fd, F_ADD_SEALS, base_seals) < 0)
		return tp_error_errno(
			errno, "seal the base of template", base->record.template_name);
	return note_inode(base);
}

struct torpor_error *tp_base_compose_prefix(struct tp_base *base)
{
	struct tp_state state = {
		.blocks = base->blocks,
		.n_blocks = base->n_blocks,
		.small = base->small,
		.small_len = base->small_len,
	};

	return tp_state_compose_prefix(base->record.guest.machine_type, &state, &base->load_prefix,
		&base->load_prefix_len);
}

struct tp_image_meta tp_base_meta(const struct tp_base *base)
{
	struct tp_image_meta meta = {
		.kind = TP_IMAGE_TEMPLATE,
		.config = base->config,
		.device = base->device,
		.device_len = base->device_len,
		.blocks = base->blocks,
		.n_blocks = base->n_blocks,
	};

	memcpy(meta.template_id, base->id, sizeof(base->id));
	return meta;
}

static struct torpor_error *write_pages(
	void *data, const uint64_t *pages, const uint8_t *bytes, unsigned int n)
{
	const struct tp_base *base = data;

	return tp_sparse_write(base->fd, pages, bytes, n, "base");
}

/* The main RAM block must be what the configuration says, or QEMU would map too little. */
static struct torpor_error *check_template(
	const struct tp_image_meta *meta, const struct tp_record *record, const char *name)
{
	if (meta->kind != TP_IMAGE_TEMPLATE)
		return tp_error(TORPOR_E_MISMATCH, "open template", name, "it is a %s image",
			tp_image_kind_name(meta->kind));
	if (record->is_session || meta->blocks[0].len != record->guest.memory_bytes)
		return tp_error(TORPOR_E_CORRUPT, "open template", name,
			"its config and its RAM blocks disagree");
	return tp_state_check_blocks(meta->blocks, meta->n_blocks, name);
}

/* All that the image says besides pages. */
static struct torpor_error *read_meta(
	const struct tp_image *image, const char *name, struct tp_base *base)
{
	const struct tp_image_meta *meta = tp_image_meta(image);

	TP_TRY(tp_record_parse(meta->config, name, &base->record));
	TP_TRY(check_template(meta, &base->record, name));
	base->config = tp_strdup(meta->config);
	memcpy(base->id, meta->template_id, sizeof(base->id));
	tp_base_set_blocks(base, meta->blocks, meta->n_blocks);
	return tp_image_device(image, NULL, 0, &base->device, &base->device_len);
}

/* Checks the content against the identity, and derives from it what clones load. */
static struct torpor_error *complete(struct tp_base *base, const char *name,
	struct tp_workers *workers, const struct tp_call *call)
{
	struct tp_image_meta own = tp_base_meta(base);

	TP_TRY(tp_error_in(
		tp_identity_check(base->fd, &own, workers, call), "open template", name));
	base->small = tp_malloc(base->small_len);
	TP_TRY(tp_pread_full(
		base->fd, base->small, base->small_len, base->ram_pages * TP_PAGE_SIZE, "base"));
	return tp_base_compose_prefix(base);
}

struct torpor_error *tp_base_fill(int dirfd, const char *name, struct tp_workers *workers,
	const struct tp_call *call, struct tp_base **base_out)
{
	uint64_t start = tp_now_ns();
	TP_CLEANUP(tp_image_close) struct tp_image *image = NULL;
	TP_CLEANUP(tp_base_unref) struct tp_base *base = tp_base_new();

	TP_TRY(tp_image_open(dirfd, name, call, &image));
	TP_TRY(read_meta(image, name, base));
	TP_TRY(tp_memfd(TP_BASE_MEMFD, tp_base_pages(base) * TP_PAGE_SIZE, &base->fd));
	TP_TRY(tp_image_load(image, -1, workers, write_pages, base, call));
	TP_TRY(complete(base, name, workers, call));
	TP_TRY(tp_base_seal(base));
	base->fill_ns = tp_now_ns() - start;
	*base_out = TP_TAKE(base);
	return NULL;
}

/* --- From a guest's process --- */

static struct torpor_error *open_of_process(const struct tp_base *base, pid_t pid, int *fd_out)
{
	uint64_t size = tp_base_pages(base) * TP_PAGE_SIZE;
	struct torpor_error *err =
		tp_procmem_open_memfd(pid, TP_BASE_MEMFD, size, base_seals, fd_out);

	if (err && torpor_error_code(err) == TORPOR_E_NOT_FOUND)
		return tp_error_recode(err, TORPOR_E_MISMATCH);
	return err;
}

struct torpor_error *tp_base_take_back(int dirfd, const char *name, pid_t pid,
	struct tp_workers *workers, const struct tp_call *call, struct tp_base **base_out)
{
	TP_CLEANUP(tp_image_close) struct tp_image *image = NULL;
	TP_CLEANUP(tp_base_unref) struct tp_base *base = tp_base_new();

	TP_TRY(tp_image_open(dirfd, name, call, &image));
	TP_TRY(read_meta(image, name, base));
	TP_TRY(open_of_process(base, pid, &base->fd));
	TP_TRY(complete(base, name, workers, call));
	TP_TRY(note_inode(base));
	*base_out = TP_TAKE(base);
	return NULL;
}

struct torpor_error *tp_base_find_twin(const struct tp_base *base, pid_t pid,
	struct tp_workers *workers, const struct tp_call *call, int *fd_out)
{
	struct tp_image_meta meta = tp_base_meta(base);
	TP_FD int fd = -1;

	TP_TRY(open_of_process(base, pid, &fd));
	TP_TRY(tp_identity_check(fd, &meta, workers, call));
	*fd_out = TP_TAKE_FD(fd);
	return NULL;
}

/* --- Storing --- */

struct torpor_error *tp_base_save(struct tp_base *base, struct tp_image_writer_options options,
	const struct tp_call *call, struct tp_image_stats *stats_out)
{
	TP_CLEANUP(tp_image_writer_free) struct tp_image_writer *writer = NULL;

	options.base_fd = -1;
	options.device_prefix = NULL;
	options.device_prefix_len = 0;
	TP_TRY(tp_image_writer_new(&options, call, &writer));
	TP_TRY(tp_sparse_put(writer, base->fd, tp_base_pages(base), "base", call));
	struct tp_image_meta meta = tp_base_meta(base);
	return tp_image_writer_commit(writer, &meta, call, stats_out);
}
