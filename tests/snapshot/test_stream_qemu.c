/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams and memory of a real QEMU, with nothing but firmware in the guest.
 *
 * The way of a session is walked: a template whose RAM lies in a memfd; a clone of it over private
 * memory, which runs its firmware again and so changes pages; and that clone's state carried
 * into others, once by the stream and once by writing into the process. What comes out must be the
 * RAM that went in, and the devices too.
 */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "decoded.h"
#include "qemu.h"
#include "snapshot/procmem.h"

#define RAM_LEN	  (16 * TP_MIB)
#define RAM_PAGES (RAM_LEN / TP_PAGE_SIZE)

static void must(struct torpor_error *err)
{
	cr_assert_null(err, "%s", err ? torpor_error_message(err) : "");
}

/* ---- Steps ---- */

struct bench {
	const char *machine;	 /* in full */
	int base;		 /* the template's RAM */
	char dir[32];		 /* for what QEMU writes to files only */
	struct decoded template; /* what its migration gave */
};

static char *bench_path(const struct bench *b, const char *name)
{
	return tp_asprintf("%s/%s", b->dir, name);
}

static void start(struct qemu *q, const struct bench *b, bool template)
{
	TP_FREE char *machine = tp_asprintf("%s,suppress-vmdesc=on,memory-backend=ram", b->machine);
	TP_FREE char *memory = tp_asprintf(
		"memory-backend-file,id=ram,size=16M,mem-path=/proc/self/fd/%d,share=%s",
		QEMU_MEMORY_FD, template ? "on" : "off");
	const char *args[] = {"-machine", machine, "-object", memory, "-m", "16", "-S",
		template ? NULL : "-incoming", "defer", NULL};

	qemu_start(q, b->base, args);
}

/* A file that is read once. */
static struct tp_buf slurp(const struct bench *b, const char *name)
{
	TP_FREE char *path = bench_path(b, name);
	struct tp_buf content = {0};
	char *data = NULL;

	must(tp_read_file(AT_FDCWD, path, 256 * TP_MIB, &data, &content.len));
	content.data = (uint8_t *)data;
	cr_assert_eq(unlink(path), 0);
	return content;
}

static void save(struct qemu *q, struct decoded *d)
{
	struct tp_call call = tp_call_within(60 * TP_NSEC_PER_SEC);
	TP_FD int fd = qemu_open_socket(q, "outgoing");
	struct tp_stream_fd from = {.fd = fd, .call = &call, .object = "QEMU"};

	qemu_run(q, "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"fd:outgoing\"}}");
	must(decode_source(d, tp_stream_from_fd(&from)));
	qemu_await(q, "\"status\": \"completed\"", "\"failed\"");
}

static void save_devices(struct qemu *q, const struct bench *b, struct decoded *d)
{
	TP_FREE char *path = bench_path(b, "devices");

	qemu_run(q,
		"{\"execute\": \"xen-save-devices-state\", \"arguments\": {\"filename\": \"%s\", "
		"\"live\": false}}",
		path);
	TP_BUF struct tp_buf stream = slurp(b, "devices");
	must(decode(d, stream.data, stream.len, SIZE_MAX));
	cr_assert_null(d->machine);
	cr_assert_eq(d->n_blocks, 0);
}

static void load(struct qemu *q, const struct decoded *d)
{
	struct tp_call call = tp_call_within(60 * TP_NSEC_PER_SEC);
	TP_FD int fd = qemu_open_socket(q, "incoming");
	struct tp_stream_fd to = {.fd = fd, .call = &call, .object = "QEMU"};

	qemu_run(q,
		"{\"execute\": \"migrate-incoming\", \"arguments\": {\"uri\": \"fd:incoming\"}}");
	must(encode(d, tp_stream_to_fd(&to)));
	qemu_await(q, "\"status\": \"completed\"", "\"failed\"");
}

static struct tp_buf dump_ram(struct qemu *q, const struct bench *b)
{
	TP_FREE char *path = bench_path(b, "ram");

	qemu_run(q,
		"{\"execute\": \"pmemsave\", \"arguments\": {\"val\": 0, \"size\": %ju, "
		"\"filename\": \"%s\"}}",
		(uintmax_t)RAM_LEN, path);
	return slurp(b, "ram");
}

static void find_ram(const struct qemu *q, const struct bench *b, struct tp_mapping *ram)
{
	struct stat st;

	cr_assert_eq(fstat(b->base, &st), 0);
	must(tp_procmem_find_file(q->pid, st.st_dev, st.st_ino, ram));
	cr_assert_eq(tp_mapping_pages(ram), RAM_PAGES);
}

/* Runs a template until FIRMWARE_WORDS (NULL: not at all), takes its state, seals its RAM. */
static void bench_init(struct bench *b, const char *machine, const char *firmware_words)
{
	struct qemu q;

	*b = (struct bench){.machine = machine, .dir = "/tmp/torpor-stream-XXXXXX"};
	cr_assert_not_null(mkdtemp(b->dir));
	must(tp_memfd("base", RAM_LEN, &b->base));
	start(&q, b, true);
	if (firmware_words) {
		qemu_run(&q, "{\"execute\": \"cont\"}");
		qemu_await_console(&q, firmware_words);
		qemu_run(&q, "{\"execute\": \"stop\"}");
	}
	qemu_run(&q,
		"{\"execute\": \"migrate-set-capabilities\", \"arguments\": {\"capabilities\": "
		"[{\"capability\": \"x-ignore-shared\", \"state\": true}]}}");
	save(&q, &b->template);
	qemu_end(&q);
	cr_assert_str_eq(b->template.machine, machine);
	cr_assert(b->template.ignores_shared);
	cr_assert_eq(fcntl(b->base, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
}

static void bench_deinit(struct bench *b)
{
	decoded_deinit(&b->template);
	tp_close(b->base);
	cr_assert_eq(rmdir(b->dir), 0); /* nothing was left behind */
}

/* A clone in the template's state: its small blocks and its devices over the base. */
static void start_clone(struct qemu *q, const struct bench *b)
{
	start(q, b, false);
	load(q, &b->template);
}

static uint8_t *read_base(const struct bench *b)
{
	uint8_t *base = tp_malloc(RAM_LEN);

	must(tp_pread_full(b->base, base, RAM_LEN, 0, "base"));
	return base;
}

/* What PAGES of the private mapping hold, back to back. */
static uint8_t *read_pages(
	const struct qemu *q, const struct tp_mapping *ram, const struct tp_runs *runs)
{
	uint8_t *bytes = tp_malloc(runs->pages * TP_PAGE_SIZE + 1);

	must(tp_procmem_read_runs(q->pid, ram, runs->run, runs->n, bytes));
	return bytes;
}

/* Applies RUNS to a copy of the base: what the whole RAM is, if the scan missed nothing. */
static uint8_t *compose(const struct bench *b, const struct tp_runs *runs, const uint8_t *bytes)
{
	uint8_t *ram = read_base(b);

	for (size_t i = 0; i < runs->n; i++) {
		size_t len = runs->run[i].count * TP_PAGE_SIZE;
		memcpy(ram + runs->run[i].first_page * TP_PAGE_SIZE, bytes, len);
		bytes += len;
	}
	return ram;
}

/* Named by the template's backend, as everywhere with memory-backend=. */
static size_t main_block(const struct decoded *d)
{
	size_t block = decoded_find_block(d, "ram");

	cr_assert_neq(block, SIZE_MAX);
	return block;
}

static void check_devices(const struct decoded *is, const struct decoded *was)
{
	cr_assert_eq(is->devices.len, was->devices.len);
	cr_assert_arr_eq(is->devices.data, was->devices.data, was->devices.len);
}

/* ---- A session, captured twice ---- */

struct session {
	struct decoded full;	/* by migrate */
	struct decoded devices; /* by xen-save-devices-state */
	struct tp_runs runs;	/* private pages, and their bytes */
	uint8_t *bytes;
	struct tp_buf ram; /* as the guest sees it */
};

/* A clone that starts its firmware once more, so that it has pages of its own, and stops. */
static void session_init(struct session *s, const struct bench *b)
{
	struct tp_mapping ram;
	struct qemu q;

	*s = (struct session){0};
	start_clone(&q, b);
	qemu_run(&q, "{\"execute\": \"cont\"}");
	qemu_run(&q, "{\"execute\": \"system_reset\"}");
	qemu_await_console(&q, "enter handle_19");
	qemu_run(&q, "{\"execute\": \"stop\"}");
	find_ram(&q, b, &ram);
	must(tp_procmem_allowed(q.pid));
	must(tp_procmem_scan(q.pid, &ram, TP_SCAN_AUTO, &s->runs));
	s->bytes = read_pages(&q, &ram, &s->runs);
	save_devices(&q, b, &s->devices);
	s->ram = dump_ram(&q, b);
	save(&q, &s->full);
	qemu_end(&q);
}

static void session_deinit(struct session *s)
{
	decoded_deinit(&s->full);
	decoded_deinit(&s->devices);
	tp_runs_deinit(&s->runs);
	free(s->bytes);
	tp_buf_deinit(&s->ram);
}

/* The session as a stream: the template's small blocks, DEVICES, and pages only if WITH_PAGES. */
static void describe(
	const struct bench *b, const struct session *s, bool with_pages, struct decoded *d)
{
	const struct decoded *small = &b->template;
	size_t main_ram = main_block(small);
	const uint8_t *bytes = s->bytes;

	*d = (struct decoded){
		.machine = small->machine, .blocks = small->blocks, .n_blocks = small->n_blocks};
	d->pages = tp_calloc(small->n_pages + s->runs.pages, sizeof(*d->pages));
	for (size_t i = 0; i < small->n_pages; i++)
		d->pages[d->n_pages++] = small->pages[i];
	for (size_t i = 0; i < s->runs.n && with_pages; i++) {
		for (uint64_t j = 0; j < s->runs.run[i].count; j++, bytes += TP_PAGE_SIZE) {
			struct decoded_page *page = &d->pages[d->n_pages++];
			page->block = main_ram;
			page->offset = (s->runs.run[i].first_page + j) * TP_PAGE_SIZE;
			memcpy(page->bytes, bytes, TP_PAGE_SIZE);
		}
	}
	d->devices = s->devices.devices;
}

/* Q has loaded the session: nothing may differ. Main RAM is looked at in three ways. */
static void check_session(struct qemu *q, const struct bench *b, const struct session *s)
{
	struct decoded now;
	struct tp_mapping ram;
	TP_BUF struct tp_buf seen = dump_ram(q, b);

	cr_assert_eq(seen.len, RAM_LEN);
	cr_assert_arr_eq(seen.data, s->ram.data, RAM_LEN);

	TP_FREE uint8_t *mapped = tp_malloc(RAM_LEN);
	TP_FREE uint8_t *expected = compose(b, &s->runs, s->bytes);
	find_ram(q, b, &ram);
	must(tp_procmem_read(q->pid, ram.start, mapped, RAM_LEN));
	cr_assert_arr_eq(mapped, expected, RAM_LEN);

	save(q, &now);
	cr_assert_eq(now.n_blocks, s->full.n_blocks);
	for (size_t i = 0; i < now.n_blocks; i++) {
		TP_FREE uint8_t *is = decoded_content(&now, i);
		TP_FREE uint8_t *was = decoded_content(&s->full, i);
		cr_assert_str_eq(now.blocks[i].name, s->full.blocks[i].name);
		cr_assert_arr_eq(is, was, s->full.blocks[i].used_len, "%s", now.blocks[i].name);
	}
	check_devices(&now, &s->full);
	decoded_deinit(&now);
}

/* ---- The tests ---- */

Test(qemu, both_captures_agree)
{
	struct bench b;
	struct session s;

	bench_init(&b, "pc-i440fx-7.2", "enter handle_19");
	session_init(&s, &b);
	cr_assert_gt(s.runs.pages, 0);
	cr_assert_lt(s.runs.pages, RAM_PAGES);
	TP_FREE uint8_t *by_scan = compose(&b, &s.runs, s.bytes);
	TP_FREE uint8_t *by_stream = decoded_content(&s.full, main_block(&s.full));
	cr_assert_arr_eq(by_scan, by_stream, RAM_LEN);
	cr_assert_eq(s.devices.devices.len, s.full.devices.len);
	session_deinit(&s);
	bench_deinit(&b);
}

Test(qemu, session_goes_through_the_stream)
{
	struct bench b;
	struct session s;
	struct decoded d;
	struct qemu q;

	bench_init(&b, "pc-i440fx-7.2", "enter handle_19");
	session_init(&s, &b);
	describe(&b, &s, true, &d);
	start(&q, &b, false);
	load(&q, &d);
	check_session(&q, &b, &s);
	qemu_end(&q);
	free(d.pages);
	session_deinit(&s);
	bench_deinit(&b);
}

Test(qemu, session_goes_into_the_process)
{
	struct bench b;
	struct session s;
	struct decoded d;
	struct tp_mapping ram;
	struct qemu q;

	bench_init(&b, "pc-i440fx-7.2", "enter handle_19");
	session_init(&s, &b);
	describe(&b, &s, false, &d);
	start(&q, &b, false);
	find_ram(&q, &b, &ram);
	must(tp_procmem_write_runs(q.pid, &ram, s.runs.run, s.runs.n, s.bytes));
	load(&q, &d);
	check_session(&q, &b, &s);
	qemu_end(&q);
	free(d.pages);
	session_deinit(&s);
	bench_deinit(&b);
}

/* The guest lives on after that, and the base never changed. */
Test(qemu, loaded_clone_runs_and_leaves_the_base_alone)
{
	struct bench b;
	struct qemu q;

	bench_init(&b, "pc-i440fx-7.2", "enter handle_19");
	TP_FREE uint8_t *before = read_base(&b);
	start_clone(&q, &b);
	qemu_run(&q, "{\"execute\": \"cont\"}");
	qemu_run(&q, "{\"execute\": \"system_reset\"}");
	qemu_await_console(&q, "enter handle_19");
	qemu_end(&q);
	TP_FREE uint8_t *after = read_base(&b);
	cr_assert_arr_eq(after, before, RAM_LEN);
	bench_deinit(&b);
}

/* Addresses of all small blocks, found by their content after a load. */
static void check_located(const char *machine)
{
	struct tp_block_wanted wanted[16] = {0};
	TP_FREE struct tp_ramblock *listed = NULL;
	uint64_t at[16] = {0};
	struct bench b;
	struct qemu q;
	size_t n_listed = 0;
	size_t n = 0;

	bench_init(&b, machine, NULL);
	start_clone(&q, &b);
	TP_FREE char *text = qemu_monitor(&q, "info ramblock");
	must(tp_procmem_parse_ramblock(text, &listed, &n_listed));
	for (size_t i = 0; i < n_listed; i++) {
		size_t block = decoded_find_block(&b.template, listed[i].name);
		cr_assert_neq(block, SIZE_MAX, "%s", listed[i].name);
		if (block == main_block(&b.template))
			continue;
		wanted[n].name = listed[i].name;
		wanted[n].used_len = listed[i].used_len;
		wanted[n].max_len = listed[i].max_len;
		wanted[n].address = listed[i].address;
		wanted[n].content = decoded_content(&b.template, block);
		n++;
	}
	cr_assert_geq(n, 4);
	must(tp_procmem_locate_blocks(q.pid, wanted, n, at));
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < i; j++)
			cr_assert_neq(at[i], at[j]);
		if (strcmp(wanted[i].name, "pc.bios") == 0) {
			/* QEMU's own word for the one block that it can be asked about. */
			TP_FREE char *said = qemu_monitor(&q, "gpa2hva 0xffff0000");
			TP_FREE char *expected = tp_asprintf(
				"%#jx", (uintmax_t)(at[i] + wanted[i].used_len - 0x10000));
			cr_assert(strstr(said, expected), "%s, not %s", said, expected);
		}
		free((void *)wanted[i].content);
	}
	qemu_end(&q);
	bench_deinit(&b);
}

Test(qemu, small_blocks_are_located_in_a_pc)
{
	check_located("pc-i440fx-7.2");
}

Test(qemu, small_blocks_are_located_in_a_q35)
{
	check_located("pc-q35-7.2");
}

Test(qemu, small_blocks_are_located_in_a_microvm)
{
	check_located("microvm");
}
