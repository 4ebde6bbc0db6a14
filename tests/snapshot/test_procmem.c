/* SPDX-License-Identifier: Apache-2.0 */
/* Another process's memory, with a child whose memory is known. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "snapshot/procmem.h"
#include "subject.h"

/* Pages of the file that the child maps. 2 MiB and more, so that huge pages are possible. */
#define PAGES	 8192
#define FILE_LEN (PAGES * TP_PAGE_SIZE)

static void must(struct torpor_error *err)
{
	cr_assert_null(err, "%s", err ? torpor_error_message(err) : "");
}

static void refuses(struct torpor_error *err, enum torpor_errc code)
{
	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), code, "%s", torpor_error_message(err));
	torpor_error_free(err);
}

/* Code that runs in the child has no Criterion; what fails there ends it. */
static void child_must(bool good)
{
	if (!good)
		_exit(1);
}

/* ---- The file, and what the child does with it ---- */

/* Every third page of the file is a hole. */
static bool is_hole(uint64_t page)
{
	return page % 3 == 0;
}

/* Written by the child: runs of several lengths, single pages, the first and the last one. */
static bool is_written(uint64_t page)
{
	return page < 2 || page == PAGES - 1 || page % 97 == 5 || (page > 3000 && page < 3333) ||
	       (page > 6000 && page < 7500 && page % 2 == 0);
}

/* Only read by the child. */
static bool is_read(uint64_t page)
{
	return page % 2 == 1;
}

static uint8_t file_byte(uint64_t page)
{
	return is_hole(page) ? 0 : (uint8_t)(page % 250 + 1);
}

static uint8_t child_byte(uint64_t page)
{
	return is_written(page) ? (uint8_t)(page % 100 + 150) : file_byte(page);
}

static int make_file(void)
{
	uint8_t bytes[TP_PAGE_SIZE];
	int fd = -1;

	must(tp_memfd("subject", FILE_LEN, &fd));
	for (uint64_t page = 0; page < PAGES; page++) {
		memset(bytes, file_byte(page), sizeof(bytes));
		if (!is_hole(page))
			must(tp_pwrite_full(fd, bytes, sizeof(bytes), page * TP_PAGE_SIZE, "file"));
	}
	return fd;
}

static uint8_t *map_private(int fd)
{
	uint8_t *at = mmap(NULL, FILE_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	child_must(at != MAP_FAILED);
	return at;
}

static void touch(volatile uint8_t *at)
{
	uint8_t byte = 0;

	for (uint64_t page = 0; page < PAGES; page++)
		if (is_read(page))
			byte ^= at[page * TP_PAGE_SIZE];
	(void)byte;
	for (uint64_t page = 0; page < PAGES; page++)
		if (is_written(page))
			memset((uint8_t *)at + page * TP_PAGE_SIZE, child_byte(page), TP_PAGE_SIZE);
}

static void map_and_touch(int fd, struct subject_notes *notes)
{
	uint8_t *at = map_private(fd);

	touch(at);
	notes->address[0] = (uintptr_t)at;
}

static void find(const struct subject *s, int fd, struct tp_mapping *mapping)
{
	struct stat st;

	cr_assert_eq(fstat(fd, &st), 0);
	must(tp_procmem_find_file(s->pid, st.st_dev, st.st_ino, mapping));
}

static struct torpor_error *try_find(const struct subject *s, int fd)
{
	struct tp_mapping mapping;
	struct stat st;

	cr_assert_eq(fstat(fd, &st), 0);
	return tp_procmem_find_file(s->pid, st.st_dev, st.st_ino, &mapping);
}

/* ---- Finding the mapping ---- */

Test(find_file, gives_the_whole_mapping)
{
	TP_FD int fd = make_file();
	struct subject s;
	struct tp_mapping m;

	subject_start(&s, map_and_touch, fd);
	find(&s, fd, &m);
	cr_assert_eq(m.start, s.notes->address[0]);
	cr_assert_eq(m.end - m.start, FILE_LEN);
	cr_assert_eq(m.offset, 0);
	cr_assert_eq(tp_mapping_pages(&m), PAGES);
	subject_end(&s);
}

static void map_in_pieces(int fd, struct subject_notes *notes)
{
	uint8_t *at = map_private(fd);

	/* Another flag or other rights make the middle a mapping of its own for the kernel. */
	child_must(madvise(at + FILE_LEN / 4, FILE_LEN / 4, MADV_DONTFORK) == 0);
	child_must(mprotect(at + FILE_LEN / 2, FILE_LEN / 4, PROT_READ) == 0);
	notes->address[0] = (uintptr_t)at;
}

Test(find_file, joins_pieces)
{
	TP_FD int fd = make_file();
	struct subject s;
	struct tp_mapping m;

	subject_start(&s, map_in_pieces, fd);
	find(&s, fd, &m);
	cr_assert_eq(m.start, s.notes->address[0]);
	cr_assert_eq(m.end - m.start, FILE_LEN);
	subject_end(&s);
}

static void map_with_gap(int fd, struct subject_notes *notes)
{
	uint8_t *at = map_private(fd);

	(void)notes;
	child_must(munmap(at + FILE_LEN / 2, TP_PAGE_SIZE) == 0);
}

static void map_twice(int fd, struct subject_notes *notes)
{
	(void)notes;
	(void)map_private(fd);
	(void)map_private(fd);
}

/* Adjacent, but not where the file goes on. */
static void map_shifted(int fd, struct subject_notes *notes)
{
	uint8_t *at = map_private(fd);

	(void)notes;
	child_must(mmap(at + FILE_LEN / 2, FILE_LEN / 2, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd,
			   0) != MAP_FAILED);
}

Test(find_file, refuses_gaps_and_several_mappings)
{
	void (*const bodies[])(int fd, struct subject_notes *notes) = {
		map_with_gap, map_twice, map_shifted};
	TP_FD int fd = make_file();

	for (size_t i = 0; i < TP_ARRAY_LEN(bodies); i++) {
		struct subject s;
		subject_start(&s, bodies[i], fd);
		refuses(try_find(&s, fd), TORPOR_E_UNSUPPORTED);
		subject_end(&s);
	}
}

static void do_nothing(int fd, struct subject_notes *notes)
{
	(void)fd, (void)notes;
}

Test(find_file, says_that_there_is_none)
{
	TP_FD int fd = make_file();
	struct subject s;

	subject_start(&s, do_nothing, fd);
	refuses(try_find(&s, fd), TORPOR_E_NOT_FOUND);
	subject_end(&s);
}

/* ---- Private pages ---- */

static void check_runs(const struct tp_runs *runs, bool (*expected)(uint64_t page))
{
	uint64_t pages = 0;
	uint64_t page = 0;

	for (size_t i = 0; i < runs->n; i++) {
		for (; page < runs->run[i].first_page; page++)
			cr_assert(!expected(page), "page %ju is missing", (uintmax_t)page);
		for (; page < runs->run[i].first_page + runs->run[i].count; page++)
			cr_assert(expected(page), "page %ju is too much", (uintmax_t)page);
		pages += runs->run[i].count;
		cr_assert(i == 0 || runs->run[i].first_page >
					    runs->run[i - 1].first_page + runs->run[i - 1].count);
	}
	for (; page < PAGES; page++)
		cr_assert(!expected(page), "page %ju is missing", (uintmax_t)page);
	cr_assert_eq(runs->pages, pages);
}

/* All methods of this host against the truth; where the ioctl is missing, that must be said. */
static void check_scan(
	const struct subject *s, const struct tp_mapping *m, bool (*expected)(uint64_t page))
{
	static const enum tp_scan_method methods[] = {
		TP_SCAN_AUTO, TP_SCAN_PAGEMAP, TP_SCAN_PAGEMAP_SCAN};

	for (size_t i = 0; i < TP_ARRAY_LEN(methods); i++) {
		TP_RUNS struct tp_runs runs = {0};
		uint64_t count = 0;
		if (methods[i] == TP_SCAN_PAGEMAP_SCAN &&
			tp_procmem_scan_method() != TP_SCAN_PAGEMAP_SCAN) {
			(void)fprintf(stderr, "This kernel has no PAGEMAP_SCAN: not tested\n");
			refuses(tp_procmem_scan(s->pid, m, methods[i], &runs),
				TORPOR_E_UNSUPPORTED);
			continue;
		}
		must(tp_procmem_scan(s->pid, m, methods[i], &runs));
		check_runs(&runs, expected);
		must(tp_procmem_count(s->pid, m, methods[i], &count));
		cr_assert_eq(count, runs.pages);
	}
}

Test(scan, finds_what_was_written_and_not_what_was_read)
{
	TP_FD int fd = make_file();
	struct subject s;
	struct tp_mapping m;

	subject_start(&s, map_and_touch, fd);
	find(&s, fd, &m);
	check_scan(&s, &m, is_written);
	subject_end(&s);
}

static bool never(uint64_t page)
{
	(void)page;
	return false;
}

static void only_map(int fd, struct subject_notes *notes)
{
	(void)notes;
	(void)map_private(fd);
}

Test(scan, finds_nothing_in_an_untouched_mapping)
{
	TP_FD int fd = make_file();
	struct subject s;
	struct tp_mapping m;

	subject_start(&s, only_map, fd);
	find(&s, fd, &m);
	check_scan(&s, &m, never);
	subject_end(&s);
}

static bool is_written_in_first_half(uint64_t page)
{
	return page < PAGES / 2 && is_written(page);
}

static void touch_and_drop_half(int fd, struct subject_notes *notes)
{
	uint8_t *at = map_private(fd);

	(void)notes;
	touch(at);
	child_must(madvise(at + FILE_LEN / 2, FILE_LEN / 2, MADV_DONTNEED) == 0);
	touch(at); /* reads show the file again, writes are new copies */
	child_must(madvise(at + FILE_LEN / 2, FILE_LEN / 2, MADV_DONTNEED) == 0);
}

Test(scan, forgets_copies_that_were_dropped)
{
	TP_FD int fd = make_file();
	struct subject s;
	struct tp_mapping m;

	subject_start(&s, touch_and_drop_half, fd);
	find(&s, fd, &m);
	check_scan(&s, &m, is_written_in_first_half);
	subject_end(&s);
}

/* A file made of huge pages, where the kernel grants them; what is private doesn't change. */
static int make_huge_file(void)
{
	int fd = -1;

	must(tp_memfd("subject", FILE_LEN, &fd));
	uint8_t *at = mmap(NULL, FILE_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert_neq(at, MAP_FAILED);
	(void)madvise(at, FILE_LEN, MADV_HUGEPAGE);
	memset(at, 0x11, FILE_LEN);
	munmap(at, FILE_LEN);
	return fd;
}

static void map_and_touch_huge(int fd, struct subject_notes *notes)
{
	uint8_t *room = mmap(NULL, 2 * FILE_LEN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t aligned = TP_ROUND_UP((uintptr_t)room, 2 * TP_MIB);

	(void)notes;
	child_must(room != MAP_FAILED);
	uint8_t *at = mmap(
		(void *)aligned, FILE_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0);
	child_must(at != MAP_FAILED);
	(void)madvise(at, FILE_LEN, MADV_HUGEPAGE);
	touch(at);
}

Test(scan, is_right_over_huge_pages)
{
	TP_FD int fd = make_huge_file();
	struct subject s;
	struct tp_mapping m;

	subject_start(&s, map_and_touch_huge, fd);
	find(&s, fd, &m);
	check_scan(&s, &m, is_written);
	subject_end(&s);
}

static void touch_and_page_out(int fd, struct subject_notes *notes)
{
	uint8_t *at = map_private(fd);

	(void)notes;
	touch(at);
	child_must(madvise(at, FILE_LEN, MADV_PAGEOUT) == 0);
}

/* How many of the process's pages are in swap, from what the kernel says by another way. */
static unsigned long swapped_kib(pid_t pid)
{
	TP_FREE char *path = tp_asprintf("/proc/%d/status", (int)pid);
	TP_FREE char *text = NULL;
	size_t len = 0;

	must(tp_read_file(AT_FDCWD, path, TP_MIB, &text, &len));
	const char *at = strstr(text, "VmSwap:");
	return at ? strtoul(at + strlen("VmSwap:"), NULL, 10) : 0;
}

Test(scan, finds_pages_that_were_swapped_out)
{
	TP_FD int fd = make_file();
	struct subject s;
	struct tp_mapping m;
	struct sysinfo host;

	cr_assert_eq(sysinfo(&host), 0);
	subject_start(&s, touch_and_page_out, fd);
	find(&s, fd, &m);
	if (host.freeswap == 0)
		(void)fprintf(stderr, "This host has no swap: pages in swap are not tested\n");
	else
		cr_assert_gt(swapped_kib(s.pid), 0);
	check_scan(&s, &m, is_written);
	subject_end(&s);
}

Test(runs, are_joined_where_they_touch)
{
	TP_RUNS struct tp_runs runs = {0};

	tp_runs_add(&runs, 3, 2);
	tp_runs_add(&runs, 5, 1);
	tp_runs_add(&runs, 7, 0);
	tp_runs_add(&runs, 7, 10);
	for (uint64_t page = 100; page < 1000; page += 2)
		tp_runs_add(&runs, page, 1);
	cr_assert_eq(runs.n, 2 + 450);
	cr_assert_eq(runs.pages, 3 + 10 + 450);
	cr_assert_eq(runs.run[0].first_page, 3);
	cr_assert_eq(runs.run[0].count, 3);
	cr_assert_eq(runs.run[1].first_page, 7);
	cr_assert_eq(runs.run[1].count, 10);
}

/* ---- The bytes ---- */

/* The child's written pages are more than one call takes. */
Test(transfer, reads_the_pages_of_runs)
{
	TP_FD int fd = make_file();
	TP_RUNS struct tp_runs runs = {0};
	struct subject s;
	struct tp_mapping m;

	subject_start(&s, map_and_touch, fd);
	find(&s, fd, &m);
	/* One run for each page, none joined, and empty ones in between. */
	for (uint64_t page = 0; page < PAGES; page += 2)
		tp_runs_add(&runs, page, 1);
	runs.run[77].count = 0;
	cr_assert_gt(runs.n, 2048);
	TP_FREE uint8_t *bytes = tp_malloc(runs.n * TP_PAGE_SIZE);
	must(tp_procmem_read_runs(s.pid, &m, runs.run, runs.n, bytes));
	const uint8_t *at = bytes;
	for (size_t i = 0; i < runs.n; i++) {
		for (size_t j = 0; j < runs.run[i].count * TP_PAGE_SIZE; j++)
			cr_assert_eq(at[j], child_byte(runs.run[i].first_page));
		at += runs.run[i].count * TP_PAGE_SIZE;
	}
	subject_end(&s);
}

Test(transfer, writes_private_copies_and_leaves_the_file_alone)
{
	TP_FD int fd = make_file();
	TP_RUNS struct tp_runs runs = {0};
	struct subject s;
	struct tp_mapping m;

	subject_start(&s, only_map, fd);
	find(&s, fd, &m);
	for (uint64_t page = 0; page < PAGES; page++)
		if (is_written(page))
			tp_runs_add(&runs, page, 1);
	TP_FREE uint8_t *bytes = tp_malloc(runs.pages * TP_PAGE_SIZE);
	uint8_t *at = bytes;
	for (size_t i = 0; i < runs.n; i++)
		for (uint64_t j = 0; j < runs.run[i].count; j++, at += TP_PAGE_SIZE)
			memset(at, child_byte(runs.run[i].first_page + j), TP_PAGE_SIZE);
	must(tp_procmem_write_runs(s.pid, &m, runs.run, runs.n, bytes));

	check_scan(&s, &m, is_written);
	TP_FREE uint8_t *now = tp_malloc(FILE_LEN);
	TP_FREE uint8_t *file = tp_malloc(FILE_LEN);
	must(tp_procmem_read(s.pid, m.start, now, FILE_LEN));
	must(tp_pread_full(fd, file, FILE_LEN, 0, "file"));
	for (uint64_t page = 0; page < PAGES; page++) {
		cr_assert_eq(now[page * TP_PAGE_SIZE], child_byte(page));
		cr_assert_eq(now[(page + 1) * TP_PAGE_SIZE - 1], child_byte(page));
		cr_assert_eq(file[page * TP_PAGE_SIZE], file_byte(page));
	}
	subject_end(&s);
}

Test(transfer, reads_and_writes_any_length)
{
	TP_FD int fd = make_file();
	struct subject s;
	struct tp_mapping m;
	uint8_t bytes[100];
	uint8_t expected[100];

	subject_start(&s, map_and_touch, fd);
	find(&s, fd, &m);
	memset(expected, child_byte(0), 50);
	memset(expected + 50, child_byte(1), 50);
	must(tp_procmem_read(s.pid, m.start + TP_PAGE_SIZE - 50, bytes, sizeof(bytes)));
	cr_assert_arr_eq(bytes, expected, sizeof(bytes));
	memset(expected, 0x77, sizeof(expected));
	must(tp_procmem_write(s.pid, m.start + TP_PAGE_SIZE - 50, expected, sizeof(expected)));
	must(tp_procmem_read(s.pid, m.start + TP_PAGE_SIZE - 50, bytes, sizeof(bytes)));
	cr_assert_arr_eq(bytes, expected, sizeof(bytes));
	must(tp_procmem_read(s.pid, m.start, NULL, 0));
	subject_end(&s);
}

static void map_half_readable(int fd, struct subject_notes *notes)
{
	uint8_t *at = map_private(fd);

	child_must(mprotect(at, FILE_LEN / 2, PROT_READ) == 0);
	child_must(mprotect(at + FILE_LEN / 2, FILE_LEN / 2, PROT_NONE) == 0);
	notes->address[0] = (uintptr_t)at;
}

Test(transfer, says_what_it_cannot_reach)
{
	const struct tp_run runs[] = {{0, 2}, {PAGES / 2 - 1, 2}};
	TP_FREE uint8_t *bytes = tp_malloc(4 * TP_PAGE_SIZE);
	TP_FD int fd = make_file();
	struct subject s;
	struct tp_mapping m;

	subject_start(&s, map_half_readable, fd);
	find(&s, fd, &m);
	must(tp_procmem_read_runs(s.pid, &m, runs, 1, bytes));
	refuses(tp_procmem_read_runs(s.pid, &m, runs, 2, bytes), TORPOR_E_IO);
	refuses(tp_procmem_write_runs(s.pid, &m, runs, 1, bytes), TORPOR_E_IO);
	refuses(tp_procmem_read(s.pid, 0, bytes, 1), TORPOR_E_IO);
	refuses(tp_procmem_write(s.pid, UINT64_MAX - 4096, bytes, 1), TORPOR_E_IO);
	subject_end(&s);
}

Test(transfer, refuses_runs_outside_the_mapping)
{
	const struct tp_run bad[] = {{PAGES, 1}, {PAGES - 1, 2}, {0, PAGES + 1}, {UINT64_MAX, 1},
		{1, UINT64_MAX}, {UINT64_MAX / TP_PAGE_SIZE + 1, 1}};
	TP_FREE uint8_t *bytes = tp_malloc(4 * TP_PAGE_SIZE);
	TP_FD int fd = make_file();
	struct subject s;
	struct tp_mapping m;

	subject_start(&s, map_and_touch, fd);
	find(&s, fd, &m);
	for (size_t i = 0; i < TP_ARRAY_LEN(bad); i++) {
		TP_ERROR struct torpor_error *err =
			tp_procmem_read_runs(s.pid, &m, &bad[i], 1, bytes);
		cr_assert_not_null(err);
		cr_assert(strstr(torpor_error_message(err), "lie outside of a mapping"));
		refuses(tp_procmem_write_runs(s.pid, &m, &bad[i], 1, bytes), TORPOR_E_INVALID);
	}
	subject_end(&s);
}

/* ---- Rights, and processes that are gone ---- */

static void try_everything(
	const struct subject *s, int fd, const struct tp_mapping *m, enum torpor_errc code)
{
	TP_RUNS struct tp_runs runs = {0};
	uint8_t byte = 0;

	refuses(tp_procmem_allowed(s->pid), code);
	refuses(try_find(s, fd), code);
	refuses(tp_procmem_read(s->pid, m->start, &byte, 1), code);
	refuses(tp_procmem_write(s->pid, m->start, &byte, 1), code);
	refuses(tp_procmem_scan(s->pid, m, TP_SCAN_AUTO, &runs), code);
	refuses(tp_procmem_scan(s->pid, m, TP_SCAN_PAGEMAP, &runs), code);
}

Test(rights, suffice_for_a_child)
{
	TP_FD int fd = make_file();
	struct subject s;
	struct tp_mapping m;

	subject_start(&s, map_and_touch, fd);
	find(&s, fd, &m);
	must(tp_procmem_allowed(s.pid));
	check_scan(&s, &m, is_written); /* asking has touched nothing */
	subject_end(&s);
}

static void become_unreadable(int fd, struct subject_notes *notes)
{
	map_and_touch(fd, notes);
	/* What setuid programs are: nobody but the administrator may look. */
	child_must(prctl(PR_SET_DUMPABLE, 0) == 0);
}

Test(rights, that_are_missing_are_explained)
{
	TP_FD int fd = make_file();
	struct subject s;

	subject_start(&s, become_unreadable, fd);
	struct tp_mapping m = {.start = s.notes->address[0], .end = s.notes->address[0] + FILE_LEN};
	/* Root gives up its rights for a while; the child's user is nobody else even then. */
	uid_t user = geteuid();
	cr_assert_eq(user == 0 ? seteuid(65534) : 0, 0);
	try_everything(&s, fd, &m, TORPOR_E_DENIED);
	TP_ERROR struct torpor_error *err = tp_procmem_allowed(s.pid);
	cr_assert_eq(seteuid(user), 0);
	cr_assert_not_null(torpor_error_hint(err));
	cr_assert(strstr(torpor_error_hint(err), "CAP_SYS_PTRACE"));
	subject_end(&s);
}

Test(rights, over_a_process_that_ended)
{
	TP_FD int fd = make_file();
	struct subject s;
	struct tp_mapping m;

	subject_start(&s, map_and_touch, fd);
	find(&s, fd, &m);
	subject_kill(&s);
	try_everything(&s, fd, &m, TORPOR_E_QEMU);
	subject_end(&s);
	try_everything(&s, fd, &m, TORPOR_E_QEMU);
}
