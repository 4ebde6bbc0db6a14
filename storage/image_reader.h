/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading an image. Nothing in the file is trusted: sizes are checked before they are used, and
 * every byte before it is handed out. Damage gives CORRUPT and names the section.
 *
 * An open image doesn't change and may be used by several threads.
 */
#ifndef TP_STORAGE_IMAGE_READER_H
#define TP_STORAGE_IMAGE_READER_H

#include "storage/image.h"
#include "storage/workers.h"

struct tp_image;

/*
 * Opens NAME under DIRFD and checks all of it but the blocks. MISMATCH or UNSUPPORTED for versions,
 * ciphers and flags this reader doesn't know.
 */
struct torpor_error *tp_image_open(int dirfd, const char *name, const struct tp_call *call,
	struct tp_image **image_out) TP_MUST_USE;
/* The same for an open file, which belongs to the image on success. NAME is for messages. */
struct torpor_error *tp_image_open_fd(int fd, const char *name, const struct tp_call *call,
	struct tp_image **image_out) TP_MUST_USE;
/* Takes NULL. Returns NULL. */
struct tp_image *tp_image_close(struct tp_image *image);
TP_DEFINE_CLEANUP(struct tp_image *, tp_image_close)

/* What follows is valid as long as the image is open. */
const struct tp_image_meta *tp_image_meta(const struct tp_image *image);
const uint8_t *tp_image_uuid(const struct tp_image *image); /* 16 bytes */
uint64_t tp_image_created_ns(const struct tp_image *image); /* CLOCK_REALTIME */
uint64_t tp_image_space_size(const struct tp_image *image); /* pages in the page space */
uint64_t tp_image_page_count(const struct tp_image *image); /* pages stored */
uint64_t tp_image_block_count(const struct tp_image *image);
uint64_t tp_image_file_bytes(const struct tp_image *image);
/* Whether loading needs the template's pages, and tp_image_device its device state. */
bool tp_image_needs_base(const struct tp_image *image);
bool tp_image_needs_device_prefix(const struct tp_image *image);

/*
 * The device state; PREFIX is what the writer was given as prefix (else MISMATCH). *DEVICE_OUT is
 * the caller's to free. NOMEM if there is no room for it.
 */
struct torpor_error *tp_image_device(const struct tp_image *image, const void *prefix,
	size_t prefix_len, void **device_out, size_t *len_out) TP_MUST_USE;

/*
 * Takes N pages (1 ... TP_FORMAT_BLOCK_PAGES): their numbers, ascending, and their content,
 * N * TP_PAGE_SIZE bytes, both valid during the call. Called from several threads at a time, for
 * distinct pages, in no order. A failure ends the loading.
 */
typedef struct torpor_error *tp_page_sink_fn(
	void *data, const uint64_t *pages, const uint8_t *bytes, unsigned int n);

/*
 * Hands all stored pages to SINK, each checked. BASE_FD holds the template's page space (-1 where
 * the image needs none; MISMATCH if it is the wrong one). WORKERS may be NULL: all is done on the
 * caller's thread, as small images always are. Once this has returned SINK isn't called any more.
 */
struct torpor_error *tp_image_load(const struct tp_image *image, int base_fd,
	struct tp_workers *workers, tp_page_sink_fn *sink, void *data,
	const struct tp_call *call) TP_MUST_USE;

/* Called for each section and block in turn; ERR is NULL where it is sound, and not to be freed. */
typedef void tp_image_report_fn(void *data, const char *section, const struct torpor_error *err);

/*
 * Checks every byte of the file anew. With BASE_FD -1 an image that needs a base is checked by the
 * sums of what is stored only. Goes on behind damage; returns the first failure. REPORT may be
 * NULL.
 */
struct torpor_error *tp_image_verify(const struct tp_image *image, int base_fd,
	tp_image_report_fn *report, void *data, const struct tp_call *call) TP_MUST_USE;

#endif
