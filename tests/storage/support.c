/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the tests of storage. */
#include "support.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

const struct tp_call forever = {.deadline_ns = TP_NO_DEADLINE, .cancel_fd = -1};

void must(struct torpor_error *err)
{
	if (!err)
		return;
	fprintf(stderr, "unexpected: %s\n", torpor_error_message(err));
	abort();
}

enum torpor_errc code_of(struct torpor_error *err)
{
	enum torpor_errc code = err ? torpor_error_code(err) : 0;

	torpor_error_free(err);
	return code;
}

bool says(struct torpor_error *err, const char *what)
{
	bool found = err && strstr(torpor_error_message(err), what);

	if (!found)
		fprintf(stderr, "\"%s\" isn't about %s\n",
			err ? torpor_error_message(err) : "no error", what);
	torpor_error_free(err);
	return found;
}

void world_init(struct world *world)
{
	const char *where = getenv("TMPDIR");

	snprintf(world->path, sizeof(world->path), "%s/torpor-storage-XXXXXX",
		where ? where : "/tmp");
	if (!mkdtemp(world->path))
		abort();
	world->dirfd = open(world->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(tp_workers_new(2, &world->workers));
	must(tp_staging_new(0, &world->staging));
}

/* Calls FN for each file of the directory. */
static void for_each_file(const struct world *world, void (*fn)(const struct world *, const char *))
{
	DIR *dir = opendir(world->path);
	struct dirent *entry;

	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			fn(world, entry->d_name);
	closedir(dir);
}

static void remove_file(const struct world *world, const char *name)
{
	unlinkat(world->dirfd, name, 0);
}

void world_deinit(struct world *world)
{
	tp_staging_free(world->staging);
	tp_workers_free(world->workers);
	for_each_file(world, remove_file);
	close(world->dirfd);
	rmdir(world->path);
}

static unsigned int counted;

static void count_file(const struct world *world, const char *name)
{
	(void)world;
	(void)name;
	counted++;
}

unsigned int count_files(const struct world *world)
{
	counted = 0;
	for_each_file(world, count_file);
	return counted;
}

static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

void fill_page(uint8_t *page, uint64_t number, uint64_t version)
{
	uint64_t *words = (uint64_t *)page;
	uint64_t seed = mix(number * 31 + version);

	memset(page, 0, TP_PAGE_SIZE);
	if (version == 0)
		return;
	switch (number % 3) {
	case 0:
		for (size_t i = 0; i < TP_PAGE_SIZE / 8; i++)
			words[i] = seed = mix(seed);
		break;
	case 1:
		for (size_t at = 0; at + 64 < TP_PAGE_SIZE;) {
			seed = mix(seed);
			at += (size_t)sprintf((char *)page + at, "the %x page says %u; ",
				(unsigned int)seed & 0xff, (unsigned int)(seed >> 60));
		}
		break;
	default:
		words[0] = number + 1;
		words[seed % 512] = version;
		words[511] = 7;
	}
}

int make_base(uint64_t pages, uint64_t version)
{
	uint8_t page[TP_PAGE_SIZE] __attribute__((aligned(16)));
	int fd;

	must(tp_memfd("base", pages * TP_PAGE_SIZE, &fd));
	for (uint64_t i = 0; i < pages && version != 0; i++) {
		fill_page(page, i, version);
		must(tp_pwrite_full(fd, page, sizeof(page), i * TP_PAGE_SIZE, "base"));
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) < 0)
		abort();
	return fd;
}

struct tp_image_meta spec_meta(const struct spec *spec)
{
	static char main_ram[] = "pc.ram";
	static char bios[] = "pc.bios";
	static _Thread_local struct tp_ram_block blocks[2];

	blocks[0] = (struct tp_ram_block){main_ram, (spec->space_pages - 1) * TP_PAGE_SIZE};
	blocks[1] = (struct tp_ram_block){bios, 100};
	return (struct tp_image_meta){
		.kind = spec->kind,
		.template_id = {1, 2, 3},
		.config = spec->config ? spec->config : "{}",
		.device = spec->device,
		.device_len = spec->device_len,
		.blocks = blocks,
		.n_blocks = 2,
	};
}

struct tp_image_writer_options spec_options(
	const struct world *world, const char *name, const struct spec *spec)
{
	static const uint8_t uuid[16] = {0xc0, 0xff, 0xee};

	return (struct tp_image_writer_options){
		.dirfd = world->dirfd,
		.name = name,
		.base_fd = spec->base_fd,
		.device_prefix = spec->prefix,
		.device_prefix_len = spec->prefix_len,
		.workers = world->workers,
		.staging = world->staging,
		.level = spec->level,
		.reserve_bytes = spec->reserve,
		.uuid = uuid,
		.created_ns = 1,
	};
}

struct torpor_error *put_pages(
	struct tp_image_writer *writer, const struct spec *spec, const struct tp_call *call)
{
	for (uint64_t i = 0; i < spec->n_pages;) {
		struct tp_page_block *block;
		TP_TRY(tp_image_writer_get(writer, call, &block));
		for (; i < spec->n_pages && block->count < TP_FORMAT_BLOCK_PAGES; i++) {
			uint64_t page = spec->pages ? spec->pages[i] : i;
			block->pages[block->count] = page;
			fill_page(block->data + block->count * TP_PAGE_SIZE, page, spec->version);
			block->count++;
		}
		TP_TRY(tp_image_writer_put(writer, block));
	}
	return NULL;
}

struct torpor_error *write_image(const struct world *world, const char *name,
	const struct spec *spec, const struct tp_call *call, struct tp_image_stats *stats)
{
	TP_CLEANUP(tp_image_writer_free) struct tp_image_writer *writer = NULL;
	struct tp_image_writer_options options = spec_options(world, name, spec);
	struct tp_image_meta meta = spec_meta(spec);

	TP_TRY(tp_image_writer_new(&options, call, &writer));
	TP_TRY(put_pages(writer, spec, call));
	return tp_image_writer_commit(writer, &meta, call, stats);
}

struct torpor_error *check_sink(
	void *data, const uint64_t *pages, const uint8_t *bytes, unsigned int n)
{
	struct check_sink *sink = data;
	uint8_t due[TP_PAGE_SIZE] __attribute__((aligned(16)));

	for (unsigned int i = 0; i < n; i++) {
		fill_page(due, pages[i], sink->version);
		sink->wrong += memcmp(due, bytes + i * TP_PAGE_SIZE, TP_PAGE_SIZE) != 0;
		sink->sum += pages[i];
	}
	sink->pages += n;
	return NULL;
}

static void check(bool truth, const char *what)
{
	if (truth)
		return;
	fprintf(stderr, "not as it should be: %s\n", what);
	abort();
}

void read_back(const struct world *world, const char *name, const struct spec *spec,
	uint64_t pages_due, bool with_workers)
{
	TP_CLEANUP(tp_image_close) struct tp_image *image = NULL;
	struct check_sink sink = {.version = spec->version};
	struct tp_image_meta due = spec_meta(spec);
	TP_FREE void *device = NULL;
	size_t device_len;

	must(tp_image_open(world->dirfd, name, &forever, &image));
	const struct tp_image_meta *meta = tp_image_meta(image);
	check(meta->kind == due.kind, "kind");
	check(strcmp(meta->config, due.config) == 0, "config");
	check(memcmp(meta->template_id, due.template_id, 32) == 0, "template id");
	check(meta->n_blocks == 2 && meta->blocks[0].len == due.blocks[0].len &&
			strcmp(meta->blocks[1].name, due.blocks[1].name) == 0,
		"RAM blocks");
	must(tp_image_device(image, spec->prefix, spec->prefix_len, &device, &device_len));
	check(device_len == spec->device_len, "device length");
	check(device_len == 0 || memcmp(device, spec->device, device_len) == 0, "device state");
	must(tp_image_load(image, spec->base_fd, with_workers ? world->workers : NULL, check_sink,
		&sink, &forever));
	check(sink.wrong == 0, "content of pages");
	check(sink.pages == pages_due && tp_image_page_count(image) == pages_due, "page count");
	must(tp_image_verify(image, spec->base_fd, NULL, NULL, &forever));
	must(tp_image_verify(image, -1, NULL, NULL, &forever));
}

uint8_t *slurp(const struct world *world, const char *name, size_t *len_out)
{
	char *data;

	must(tp_read_file(world->dirfd, name, 64 << 20, &data, len_out));
	return (uint8_t *)data;
}

void spit(const struct world *world, const char *name, const void *data, size_t len)
{
	TP_FD int fd = openat(world->dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	must(tp_pwrite_full(fd, data, len, 0, name));
}

static struct torpor_error *ignore_pages(
	void *data, const uint64_t *pages, const uint8_t *bytes, unsigned int n)
{
	(void)data;
	(void)pages;
	(void)bytes;
	(void)n;
	return NULL;
}

struct torpor_error *read_bytes(const void *data, size_t len, int base_fd)
{
	TP_CLEANUP(tp_image_close) struct tp_image *image = NULL;
	TP_FD int fd = -1;

	must(tp_memfd("image", 0, &fd));
	must(tp_pwrite_full(fd, data, len, 0, "image"));
	TP_TRY(tp_image_open_fd(fd, "image", &forever, &image));
	TP_TAKE_FD(fd);
	TP_TRY(tp_image_verify(image, base_fd, NULL, NULL, &forever));
	return tp_image_load(image, base_fd, NULL, ignore_pages, NULL, &forever);
}
