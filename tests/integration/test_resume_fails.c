/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A resume that can't be: refused before any guest runs, with no process left and the image as it
 * was; and shells that die.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "pool/session.h"
#include "storage/image_writer.h"

static struct torpor_engine *engine;
static struct torpor_template *tmpl;

static void open_all(void)
{
	engine = it_open();
	tmpl = it_template(engine);
}

static void close_all(void)
{
	it_fault_clear();
	torpor_template_close(tmpl);
	engine = torpor_engine_close(engine);
	cr_assert_eq(it_qemu_children(), 0, "a guest outlived its engine");
}

TestSuite(resume_fails, .init = open_all, .fini = close_all, .timeout = 400);
/* With a state directory of their own. */
TestSuite(resume_fails_elsewhere, .timeout = 400);

/* A parked session, its image, and what that held when it was sound. */
struct parked {
	struct torpor_session *session;
	char path[512];
	uint8_t *sound;
	size_t len;
};

static struct parked park(void)
{
	struct parked p = {.session = it_start(tmpl)};
	struct torpor_session_info info;

	it_run(p.session, "head -c 1500000 /dev/urandom > /data; sha256sum /data > /sum");
	it_ok(torpor_session_park(p.session, NULL, NULL));
	it_ok(torpor_session_info(p.session, &info));
	snprintf(p.path, sizeof(p.path), "%s", info.image_path);
	p.sound = it_read(p.path, &p.len);
	cr_assert_not_null(p.sound);
	return p;
}

/* The sound image is back: all is well. */
static void check_resumes(struct parked *p)
{
	it_write(p->path, p->sound, p->len);
	it_ok(torpor_session_resume(p->session, NULL, NULL));
	it_run(p->session, "sha256sum -c /sum");
}

static void unpark(struct parked *p)
{
	it_ok(torpor_session_destroy(p->session, NULL));
	free(p->sound);
}

static void check_nothing_left(struct parked *p)
{
	struct torpor_session_info info;

	it_ok(torpor_session_info(p->session, &info));
	cr_assert_eq(info.state, TORPOR_SESSION_PARKED);
	cr_assert_eq(it_qemu_children(), 0, "a process is left");
	cr_assert_eq(it_own_rundirs(engine->state_dir), 0);
}

static bool is_damage(enum torpor_errc code)
{
	return code == TORPOR_E_CORRUPT || code == TORPOR_E_MISMATCH ||
	       code == TORPOR_E_UNSUPPORTED;
}

/* Refused, for what the message says WHY of; the file stays as it is. */
static void check_refused(struct parked *p, const uint8_t *bytes, size_t len, const char *why)
{
	size_t after_len;
	struct torpor_error *err = torpor_session_resume(p->session, NULL, NULL);

	cr_assert_not_null(err, "resumed in spite of a damaged %s", why);
	cr_assert(is_damage(torpor_error_code(err)), "%s", torpor_error_message(err));
	cr_assert_not_null(strstr(torpor_error_message(err), why), "no \"%s\" in \"%s\"", why,
		torpor_error_message(err));
	torpor_error_free(err);
	check_nothing_left(p);
	uint8_t *after = it_read(p->path, &after_len);
	cr_assert(after && after_len == len && memcmp(after, bytes, len) == 0,
		"the image was touched");
	free(after);
}

static void check_verify_finds(const struct parked *p, const char *why, bool by_cli)
{
	bool decoded;
	const char *out;
	char args[1200];
	struct torpor_error *err = torpor_image_verify(engine, p->path, NULL, &decoded);

	cr_assert_not_null(err, "verified in spite of a damaged %s", why);
	cr_assert_not_null(strstr(torpor_error_message(err), why), "no \"%s\" in \"%s\"", why,
		torpor_error_message(err));
	torpor_error_free(err);
	if (!by_cli)
		return;
	snprintf(args, sizeof(args), "--state %s image verify %s", engine->state_dir, p->path);
	cr_assert_eq(it_cli(args, NULL, &out), 1);
	cr_assert_not_null(strstr(out, why), "no \"%s\" in \"%s\"", why, out);
	snprintf(args, sizeof(args), "--json --state %s image verify %s", engine->state_dir,
		p->path);
	cr_assert_eq(it_cli(args, &out, NULL), 1);
	json_t *json = json_loads(out, 0, NULL);
	const char *message =
		json_string_value(json_object_get(json_object_get(json, "error"), "message"));
	cr_assert(message && strstr(message, why), "%s", out);
	json_decref(json);
}

/* --- Damage --- */

/* Where what is, by the sound file's own header. */
struct region {
	const char *name;
	size_t start;
	size_t len;
};

static size_t find_regions(const struct parked *p, struct region *regions)
{
	static const char *const names[] = {
		"config", "RAM blocks", "page index", "block table", "device state"};
	struct tp_format_header header;
	size_t n = 0;

	memcpy(&header, p->sound, sizeof(header));
	size_t at = le64toh(header.meta_offset);
	regions[n++] = (struct region){"header", 0, sizeof(header)};
	regions[n++] = (struct region){"block", sizeof(header), at - sizeof(header)};
	for (size_t i = 0; i < TP_SECTION_COUNT; i++) {
		size_t len = le32toh(header.sections[i].stored_len);
		regions[n++] = (struct region){names[i], at, len};
		at += len;
	}
	cr_assert_eq(at, p->len, "the sections don't fill the file");
	return n;
}

Test(resume_fails, a_flipped_bit_anywhere)
{
	enum { SAMPLES = 8 };
	struct parked p = park();
	struct region regions[2 + TP_SECTION_COUNT];
	size_t n = find_regions(&p, regions);
	uint8_t *bad = malloc(p.len);

	for (size_t r = 0; r < n; r++) {
		for (size_t i = 0; i < SAMPLES; i++) {
			/* First, last, and between. */
			size_t at = regions[r].start + (regions[r].len - 1) * i / (SAMPLES - 1);
			memcpy(bad, p.sound, p.len);
			bad[at] ^= (uint8_t)(1u << (i % 8));
			it_write(p.path, bad, p.len);
			check_refused(&p, bad, p.len, regions[r].name);
			check_verify_finds(&p, regions[r].name, i == 3);
		}
	}
	check_resumes(&p);
	unpark(&p);
	free(bad);
}

Test(resume_fails, a_file_that_was_cut_off_or_went_on)
{
	struct parked p = park();
	const size_t lens[] = {0, 1, sizeof(struct tp_format_header) - 1,
		sizeof(struct tp_format_header), p.len / 2, p.len - 1};
	uint8_t *longer = calloc(1, p.len + 1);

	for (size_t i = 0; i < TP_ARRAY_LEN(lens); i++) {
		it_write(p.path, p.sound, lens[i]);
		check_refused(&p, p.sound, lens[i], "header");
		check_verify_finds(&p, "header", true);
	}
	memcpy(longer, p.sound, p.len);
	it_write(p.path, longer, p.len + 1);
	check_refused(&p, longer, p.len + 1, "header");
	check_verify_finds(&p, "header", true);
	check_resumes(&p);
	unpark(&p);
	free(longer);
}

Test(resume_fails, a_file_that_is_gone_or_none)
{
	struct parked p = park();
	char args[1200];
	const char *out;

	cr_assert_eq(unlink(p.path), 0);
	struct torpor_error *err = torpor_session_resume(p.session, NULL, NULL);
	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_NOT_FOUND);
	cr_assert_not_null(strstr(torpor_error_message(err), p.session->name));
	torpor_error_free(err);
	check_nothing_left(&p);
	snprintf(args, sizeof(args), "--state %s image verify %s", engine->state_dir, p.path);
	cr_assert_eq(it_cli(args, NULL, &out), 1);
	cr_assert_not_null(strstr(out, p.path), "%s", out);

	cr_assert_eq(mkdir(p.path, 0700), 0);
	it_fails(torpor_session_resume(p.session, NULL, NULL), TORPOR_E_INVALID);
	check_nothing_left(&p);
	cr_assert_eq(rmdir(p.path), 0);
	check_resumes(&p);
	unpark(&p);
}

/* --- Sound, but not for this place --- */

struct pages {
	pthread_mutex_t lock;
	uint64_t n;
	struct page {
		uint64_t number;
		uint8_t bytes[TP_PAGE_SIZE];
	} * page;
};

static struct torpor_error *gather_pages(
	void *data, const uint64_t *numbers, const uint8_t *bytes, unsigned int n)
{
	struct pages *pages = data;

	pthread_mutex_lock(&pages->lock);
	for (unsigned int i = 0; i < n; i++) {
		struct page *page = &pages->page[pages->n++];
		page->number = numbers[i];
		memcpy(page->bytes, bytes + i * TP_PAGE_SIZE, TP_PAGE_SIZE);
	}
	pthread_mutex_unlock(&pages->lock);
	return NULL;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = ((const struct page *)a)->number;
	uint64_t y = ((const struct page *)b)->number;

	return (x > y) - (x < y);
}

/* Puts VALUE into the config's guest section under KEY. */
static char *edit(const char *config, const char *key, const char *value)
{
	json_t *json = json_loads(config, 0, NULL);
	json_t *guest = json_object_get(json, "guest");

	cr_assert_not_null(json_object_get(guest, key), "no guest.%s in %s", key, config);
	json_object_set_new(guest, key, json_string(value));
	char *text = json_dumps(json, JSON_SORT_KEYS);
	json_decref(json);
	return text;
}

static void put_pages(struct tp_image_writer *writer, struct pages *pages)
{
	struct tp_call call = tp_call_within(60 * TP_NSEC_PER_SEC);

	qsort(pages->page, pages->n, sizeof(*pages->page), by_number);
	for (uint64_t at = 0; at < pages->n;) {
		struct tp_page_block *block;
		it_ok(tp_image_writer_get(writer, &call, &block));
		for (block->count = 0; at < pages->n && block->count < TP_FORMAT_BLOCK_PAGES;
			at++) {
			block->pages[block->count] = pages->page[at].number;
			memcpy(block->data + block->count++ * TP_PAGE_SIZE, pages->page[at].bytes,
				TP_PAGE_SIZE);
		}
		it_ok(tp_image_writer_put(writer, block));
	}
}

/* Writes P's image anew, with another word in its config or (KEY NULL) against another template. */
static void forge(const struct parked *p, const char *key, const char *value)
{
	struct tp_call call = tp_call_within(60 * TP_NSEC_PER_SEC);
	const struct tp_base *base = tmpl->base;
	struct tp_image *image;
	struct tp_image_writer *writer;
	void *device;
	size_t device_len;

	it_write(p->path, p->sound, p->len);
	it_ok(tp_image_open(engine->images_fd, p->session->name, &call, &image));
	struct pages pages = {.lock = PTHREAD_MUTEX_INITIALIZER};
	pages.page = calloc(tp_image_page_count(image), sizeof(*pages.page));
	it_ok(tp_image_load(image, base->fd, engine->workers, gather_pages, &pages, &call));
	it_ok(tp_image_device(image, base->device, base->device_len, &device, &device_len));
	struct tp_image_meta meta = *tp_image_meta(image);
	char *config = key ? edit(meta.config, key, value) : strdup(meta.config);
	meta.config = config;
	meta.device = device;
	meta.device_len = device_len;
	if (!key)
		meta.template_id[0] ^= 1;

	struct tp_image_writer_options options = {
		.dirfd = engine->images_fd,
		.name = p->session->name,
		.base_fd = base->fd,
		.device_prefix = base->device,
		.device_prefix_len = base->device_len,
		.workers = engine->workers,
	};
	it_ok(tp_image_writer_new(&options, &call, &writer));
	put_pages(writer, &pages);
	it_ok(tp_image_writer_commit(writer, &meta, &call, NULL));
	tp_image_writer_free(writer);
	tp_image_close(image);
	free(pages.page);
	free(device);
	free(config);
}

Test(resume_fails, an_image_of_another_machine_qemu_or_template)
{
	static const struct {
		const char *key;
		const char *value;
		const char *why;
	} cases[] = {
		{"machine_type", "pc-i440fx-3.1", "machine_type"},
		{"cpu", "Conroe-v1", "\"cpu"},
		{"qemu_version", "99.1.0", "99.1.0"},
		{NULL, NULL, "template"},
	};
	struct parked p = park();

	for (size_t i = 0; i < TP_ARRAY_LEN(cases); i++) {
		size_t len;
		struct torpor_session *other;
		forge(&p, cases[i].key, cases[i].value);
		uint8_t *forged = it_read(p.path, &len);
		check_refused(&p, forged, len, cases[i].why);
		/* The file in itself is sound, and a shell that waited is still there. */
		it_ok(torpor_template_prepare(tmpl, 1, NULL));
		it_fails(torpor_session_resume(p.session, NULL, NULL), TORPOR_E_MISMATCH);
		cr_assert_eq(it_qemu_children(), 1);
		cr_assert_eq(it_kill_qemus(), 1);
		it_ok(torpor_template_prepare(tmpl, 2, NULL));
		it_kill_qemus();
		tp_stock_shrink(tmpl, 0, 0);
		if (!cases[i].key)
			it_fails(torpor_session_open(engine, "other", p.path, NULL, &other),
				TORPOR_E_NOT_FOUND);
		free(forged);
	}
	/* The machine is what it says, forged back: forging itself does no harm. */
	forge(&p, "qemu_version", "7.0.0");
	it_ok(torpor_session_resume(p.session, NULL, NULL));
	it_run(p.session, "sha256sum -c /sum");
	it_ok(torpor_session_park(p.session, NULL, NULL));
	check_resumes(&p);
	unpark(&p);
}

Test(resume_fails_elsewhere, when_its_template_was_removed)
{
	char *state = it_own_state();
	struct torpor_session *session;
	struct torpor_session_info info;
	char kept[4200];
	char name[4200];
	bool decoded = true;

	engine = it_open_with((struct torpor_engine_options){.state_dir = state});
	tmpl = it_template(engine);
	struct parked p = park();
	it_ok(torpor_session_info(p.session, &info));
	torpor_session_close(p.session);
	tmpl = torpor_template_close(tmpl);
	snprintf(name, sizeof(name), "%s/templates/" IT_TEMPLATE, state);
	snprintf(kept, sizeof(kept), "%s/kept", state);
	cr_assert_eq(rename(name, kept), 0);

	struct torpor_error *err = torpor_session_open(engine, info.name, NULL, NULL, &session);
	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_NOT_FOUND);
	cr_assert_not_null(strstr(torpor_error_message(err), "template " IT_TEMPLATE), "%s",
		torpor_error_message(err));
	cr_assert_not_null(torpor_error_hint(err));
	torpor_error_free(err);
	it_ok(torpor_image_verify(engine, p.path, NULL, &decoded));
	cr_assert_not(decoded);

	cr_assert_eq(rename(kept, name), 0);
	it_ok(torpor_session_open(engine, info.name, NULL, NULL, &p.session));
	check_resumes(&p);
	unpark(&p);
	torpor_engine_close(engine);
	it_remove_tree(state);
}

/* --- Shells that die --- */

static void kill_qemus(void *data)
{
	unsigned int *count = data;

	*count += it_kill_qemus();
}

/* Strikes at a read of the load, and a second time at the next, when another process is loaded. */
struct twice {
	struct it_fault fault;
	unsigned int times;
};

static void kill_twice(void *data)
{
	struct twice *twice = data;

	it_kill_qemus();
	if (++twice->times == 2)
		return;
	twice->fault.nth = 1;
	atomic_store(&twice->fault.seen[TP_IO_READ], 0);
}

static void check_replaced(struct parked *p, struct torpor_error *err)
{
	it_ok(err);
	it_run(p->session, "sha256sum -c /sum");
	it_ok(torpor_session_park(p->session, NULL, NULL));
	cr_assert_eq(it_qemu_children(), 0);
}

Test(resume_fails, a_shell_that_dies_is_replaced_once)
{
	struct parked p = park();
	struct torpor_resume_report report;
	struct torpor_session *session;
	unsigned int killed = 0;
	unsigned int replaced = 0;
	unsigned int nth;

	/* While it waited: it is passed over. */
	it_ok(torpor_template_prepare(tmpl, 2, NULL));
	cr_assert_eq(it_kill_qemus(), 2);
	it_ok(torpor_session_resume(p.session, NULL, &report));
	cr_assert_eq(report.source, TORPOR_SOURCE_SPAWN);
	cr_assert_eq(report.shells_replaced, 0);
	it_ok(torpor_session_park(p.session, NULL, NULL));
	it_ok(torpor_template_prepare(tmpl, 1, NULL));
	cr_assert_eq(it_kill_qemus(), 1);
	struct torpor_session_spec spec = {.name = it_name("it")};
	it_ok(torpor_session_start(tmpl, &spec, NULL, &report, &session));
	cr_assert_eq(report.source, TORPOR_SOURCE_SPAWN);
	it_ok(torpor_session_destroy(session, NULL));

	/* While it was loaded: whichever read of the image it is at. */
	for (nth = 1;; nth++) {
		struct it_fault fault = {
			.op = TP_IO_READ, .nth = nth, .act = kill_qemus, .data = &killed};
		it_ok(torpor_template_prepare(tmpl, 1, NULL));
		it_fault_set(&fault);
		struct torpor_error *err = torpor_session_resume(p.session, NULL, &report);
		it_fault_clear();
		if (!atomic_load(&fault.struck)) {
			it_ok(err);
			break;
		}
		replaced += report.shells_replaced;
		check_replaced(&p, err);
	}
	cr_assert_gt(killed, 3);
	cr_assert_gt(replaced, 0);

	/* Twice is an error. */
	it_ok(torpor_session_park(p.session, NULL, NULL));
	struct twice twice = {.fault = {.op = TP_IO_READ, .nth = nth - 1, .act = kill_twice}};
	twice.fault.data = &twice;
	it_ok(torpor_template_prepare(tmpl, 2, NULL));
	it_fault_set(&twice.fault);
	struct torpor_error *err = torpor_session_resume(p.session, NULL, NULL);
	it_fault_clear();
	cr_assert_eq(twice.times, 2);
	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_QEMU, "%s", torpor_error_message(err));
	cr_assert_not_null(
		strstr(torpor_error_message(err), it_killed()), "%s", torpor_error_message(err));
	torpor_error_free(err);
	check_nothing_left(&p);
	it_ok(torpor_session_resume(p.session, NULL, NULL));
	it_run(p.session, "sha256sum -c /sum");
	unpark(&p);
}
