/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stream path is the oracle of the direct one: the same stopped guest, captured both ways, must
 * give the same pages, byte for byte, and either image must load either way.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "inside.h"
#include "support.h"

static struct torpor_engine *engine;
static struct torpor_template *tmpl;

static void open_all(void)
{
	engine = it_open();
	tmpl = it_template(engine);
}

static void close_all(void)
{
	torpor_template_close(tmpl);
	engine = torpor_engine_close(engine);
	cr_assert_eq(it_qemu_children(), 0, "a guest outlived its engine");
}

TestSuite(oracle, .init = open_all, .fini = close_all, .timeout = 500);

/* --- The same pages --- */

static void compare_pages(struct torpor_session *session, const char *one, const char *other,
	const char *state, const char *ways)
{
	struct in_pages a = in_pages_load(session, one);
	struct in_pages b = in_pages_load(session, other);

	cr_assert_eq(a.space, b.space);
	for (uint64_t page = 0; page < a.space; page++) {
		const char *block = page < session->memory.ram_pages ? "RAM" : "a small block";
		cr_assert_eq(a.stored[page], b.stored[page], "%s, %s: page 0x%jx of %s is in one",
			state, ways, (uintmax_t)page, block);
		cr_assert(!a.stored[page] ||
				  memcmp(a.bytes + page * TP_PAGE_SIZE,
					  b.bytes + page * TP_PAGE_SIZE, TP_PAGE_SIZE) == 0,
			"%s, %s: page 0x%jx of %s differs", state, ways, (uintmax_t)page, block);
	}
	cr_assert_eq(a.count, b.count);
	cr_assert_gt(a.count, 0);
	in_pages_deinit(&a);
	in_pages_deinit(&b);
}

/* Every way of loading one image gives the guest's memory. */
static void load_both_ways(struct torpor_session *session, const struct in_ram *ram,
	const char *image, const char *state)
{
	static const enum tp_path paths[] = {TP_PATH_DIRECT, TP_PATH_STREAM};

	for (size_t i = 0; i < TP_ARRAY_LEN(paths); i++) {
		struct tp_shell *shell = in_restore(session, image, paths[i]);
		struct in_ram loaded = in_ram_read(shell->guest, &session->record.guest);
		TP_FREE char *what =
			tp_asprintf("%s, %s loaded by %s", state, image, tp_path_name(paths[i]));
		in_ram_compare(ram, &loaded, what);
		in_ram_deinit(&loaded);
		tp_shell_free(shell);
	}
}

/*
 * Captures a session all ways and compares. Direct comes first: the stream reads memory, and must
 * not have to be there for direct to find its pages.
 */
static void check(struct torpor_session *session, const char *state)
{
	TP_FREE char *by_ioctl = tp_strdup(it_name("by-ioctl"));
	TP_FREE char *by_reading = tp_strdup(it_name("by-reading"));
	TP_FREE char *by_stream = tp_strdup(it_name("by-stream"));
	const char *scanned = by_reading;

	in_stop(session);
	struct in_ram ram = in_ram_read(session->guest, &session->record.guest);
	in_save(session, TP_PATH_DIRECT, TP_SCAN_PAGEMAP, by_reading);
	if (tp_procmem_scan_method() == TP_SCAN_PAGEMAP_SCAN) {
		in_save(session, TP_PATH_DIRECT, TP_SCAN_PAGEMAP_SCAN, by_ioctl);
		compare_pages(session, by_ioctl, by_reading, state, "PAGEMAP_SCAN and pagemap");
		in_remove(engine, by_ioctl);
	} else {
		fprintf(stderr, "NOT TESTED: this kernel has no PAGEMAP_SCAN\n");
	}
	struct tp_image_stats stats = in_save(session, TP_PATH_STREAM, TP_SCAN_AUTO, by_stream);
	fprintf(stderr, "%s: %ju pages\n", state, (uintmax_t)stats.pages_stored);
	compare_pages(session, scanned, by_stream, state, "direct and stream");
	load_both_ways(session, &ram, by_reading, state);
	load_both_ways(session, &ram, by_stream, state);
	in_ram_deinit(&ram);
	in_remove(engine, by_reading);
	in_remove(engine, by_stream);
	in_cont(session);
	it_run(session, "true");
}

/* Resumes SESSION from an image written by PATH, by PATH. */
static void carry(struct torpor_session *session, enum tp_path path)
{
	engine->capture.path = path;
	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_resume(session, NULL, NULL));
	engine->capture.path = TP_PATH_AUTO;
}

Test(oracle, both_ways_give_the_same_pages)
{
	struct torpor_session *session = it_start(tmpl);

	check(session, "fresh clone");
	it_run(session, "ls -R /sys/class > /listing");
	check(session, "after exec");
	it_run(session, "head -c 20000000 /dev/urandom > /data; sha256sum /data > /sum");
	check(session, "after writing 20 MB");
	carry(session, TP_PATH_DIRECT);
	it_run(session, "sha256sum -c /sum");
	check(session, "resumed from an image");
	carry(session, TP_PATH_STREAM);
	it_run(session, "sha256sum -c /sum");
	check(session, "resumed by stream");
	it_run(session, "rm /data; sync; echo 3 > /proc/sys/vm/drop_caches");
	check(session, "after rm and drop_caches");
	it_ok(torpor_session_destroy(session, NULL));
}

/* --- Small blocks --- */

/* Turns a byte in the middle of each small block of a stopped guest over. */
static void poke_small(struct torpor_session *session)
{
	const struct tp_base *base = session->memory.base;
	struct tp_call call = in_call();
	pid_t pid = tp_guest_pid(session->guest);

	it_ok(tp_memory_locate_small(&session->memory, session->guest, &call));
	for (size_t i = 1; i < base->n_blocks; i++) {
		uint64_t address = session->memory.small_addresses[i - 1] + base->blocks[i].len / 2;
		uint8_t byte;
		it_ok(tp_procmem_read(pid, address, &byte, 1));
		byte ^= 0xff;
		it_ok(tp_procmem_write(pid, address, &byte, 1));
	}
}

static uint64_t small_pages(const struct in_pages *pages, uint64_t ram_pages)
{
	uint64_t count = 0;

	for (uint64_t page = ram_pages; page < pages->space; page++)
		count += pages->stored[page];
	return count;
}

/* Small blocks that differ from the template's, as they would after a firmware's own writes. */
Test(oracle, small_blocks_travel_both_ways)
{
	struct torpor_session *session = it_start(tmpl);
	TP_FREE char *direct = tp_strdup(it_name("small-direct"));
	TP_FREE char *stream = tp_strdup(it_name("small-stream"));
	uint64_t ram_pages = session->memory.ram_pages;

	in_stop(session);
	poke_small(session);
	in_save(session, TP_PATH_DIRECT, TP_SCAN_AUTO, direct);
	in_save(session, TP_PATH_STREAM, TP_SCAN_AUTO, stream);
	compare_pages(session, direct, stream, "poked", "direct and stream");

	struct in_pages saved = in_pages_load(session, direct);
	cr_assert_eq(small_pages(&saved, ram_pages), session->memory.base->n_blocks - 1);
	for (int i = 0; i < 4; i++) {
		const char *from = i & 1 ? direct : stream;
		struct tp_call call = in_call();
		struct tp_shell *shell =
			in_restore(session, from, i & 2 ? TP_PATH_DIRECT : TP_PATH_STREAM);
		/* Found by content: by what was loaded, so it is there. */
		cr_assert_not_null(shell->memory.small);
		it_ok(tp_memory_locate_small(&shell->memory, shell->guest, &call));
		uint8_t *at = shell->memory.small;
		for (uint64_t page = ram_pages; page < saved.space; page++, at += TP_PAGE_SIZE) {
			if (saved.stored[page])
				cr_assert_eq(
					memcmp(at, saved.bytes + page * TP_PAGE_SIZE, TP_PAGE_SIZE),
					0);
		}
		tp_shell_free(shell);
	}
	in_pages_deinit(&saved);
	in_remove(engine, direct);
	in_remove(engine, stream);
	it_ok(torpor_session_destroy(session, NULL));
}

/* --- The guest goes on --- */

static void start_work(struct torpor_session *session)
{
	it_run(session, "head -c 3000000 /dev/urandom > /data; sha256sum /data > /sum; "
			"setsid sh -c 'i=0; while :; do i=$((i+1)); echo $i >> /count; sleep 0.1; "
			"done' </dev/null >/dev/null 2>&1 & echo $! > /pid");
	it_run(session, "while [ ! -s /count ]; do sleep 0.1; done");
}

static void check_work(struct torpor_session *session, const char *boot_id)
{
	cr_assert_str_eq(it_run(session, "cat /proc/sys/kernel/random/boot_id"), boot_id);
	it_run(session, "sha256sum -c /sum");
	it_run(session,
		"n=$(tail -n 1 /count); while [ $(tail -n 1 /count) = $n ]; do sleep 0.1; done; "
		"awk '$1 != NR {exit 1}' /count && kill -0 $(cat /pid)");
}

Test(oracle, a_guest_goes_on_whichever_ways_it_went)
{
	static const enum tp_path paths[] = {TP_PATH_DIRECT, TP_PATH_STREAM};
	struct torpor_session *session = it_start(tmpl);
	char boot_id[64];

	snprintf(boot_id, sizeof(boot_id), "%s",
		it_run(session, "cat /proc/sys/kernel/random/boot_id"));
	start_work(session);
	for (size_t out = 0; out < TP_ARRAY_LEN(paths); out++) {
		for (size_t in = 0; in < TP_ARRAY_LEN(paths); in++) {
			struct torpor_park_report park;
			struct torpor_resume_report resume;
			engine->capture.path = paths[out];
			it_ok(torpor_session_park(session, NULL, &park));
			cr_assert_eq(park.path, (enum torpor_path)paths[out]);
			engine->capture.path = paths[in];
			it_ok(torpor_session_resume(session, NULL, &resume));
			cr_assert_eq(resume.path, (enum torpor_path)paths[in]);
			check_work(session, boot_id);
			it_run(session, "echo more >> /data; sha256sum /data > /sum");
		}
	}
	it_ok(torpor_session_destroy(session, NULL));
}
