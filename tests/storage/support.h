/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of storage share: a directory, pages with known content, whole images. */
#ifndef TESTS_STORAGE_SUPPORT_H
#define TESTS_STORAGE_SUPPORT_H

#include "storage/identity.h"
#include "storage/image_reader.h"
#include "storage/image_writer.h"

/* A directory, workers and staging. */
struct world {
	char path[64];
	int dirfd;
	struct tp_workers *workers;
	struct tp_staging *staging;
};
void world_init(struct world *world);
/* Removes the directory with all that is in it. */
void world_deinit(struct world *world);

extern const struct tp_call forever;

/* Prints ERR and aborts unless it is NULL. */
void must(struct torpor_error *err);
/* Frees ERR; its code, or 0 for NULL. */
enum torpor_errc code_of(struct torpor_error *err);
/* Whether ERR's message has WHAT in it; frees it. */
bool says(struct torpor_error *err, const char *what);

/* The content of page NUMBER in version VERSION: text, noise, and mostly zeros take turns. */
void fill_page(uint8_t *page, uint64_t number, uint64_t version);
/* A sealed memfd of PAGES pages, each in version VERSION; -1 fails the test. */
int make_base(uint64_t pages, uint64_t version);

/* What an image is made of. */
struct spec {
	enum tp_image_kind kind;
	int base_fd;
	uint64_t space_pages;
	const uint64_t *pages; /* NULL: the first n_pages of the page space */
	uint64_t n_pages;
	uint64_t version; /* of the content; 0: all zeros */
	const char *config;
	const void *device;
	size_t device_len;
	const void *prefix;
	size_t prefix_len;
	int level;
	uint64_t reserve;
};

/* Two RAM blocks that make up PAGES pages, the second of one page; valid until the next call. */
struct tp_image_meta spec_meta(const struct spec *spec);
struct tp_image_writer_options spec_options(
	const struct world *world, const char *name, const struct spec *spec);
struct torpor_error *put_pages(
	struct tp_image_writer *writer, const struct spec *spec, const struct tp_call *call);
struct torpor_error *write_image(const struct world *world, const char *name,
	const struct spec *spec, const struct tp_call *call, struct tp_image_stats *stats);

/* A sink that checks pages against a version's content and counts them. */
struct check_sink {
	uint64_t version;
	_Atomic uint64_t pages;
	_Atomic uint64_t sum; /* of all page numbers */
	_Atomic uint64_t wrong;
};
tp_page_sink_fn check_sink;

/* Opens, loads and verifies an image of SPEC; aborts unless all of it comes back. */
void read_back(const struct world *world, const char *name, const struct spec *spec,
	uint64_t pages_due, bool with_workers);

/* Entries in the world's directory, with or without hidden ones. */
unsigned int count_files(const struct world *world);
uint8_t *slurp(const struct world *world, const char *name, size_t *len_out);
void spit(const struct world *world, const char *name, const void *data, size_t len);

/* Opens an image in memory, with all that a reader does: load and verify. The first failure. */
struct torpor_error *read_bytes(const void *data, size_t len, int base_fd);

#endif
