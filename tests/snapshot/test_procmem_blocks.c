/* SPDX-License-Identifier: Apache-2.0 */
/* Finding RAM blocks in a child that allocates memory the way QEMU does. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "snapshot/procmem.h"
#include "subject.h"

#define ALIGN (2 * TP_MIB)

static void must(struct torpor_error *err)
{
	cr_assert_null(err, "%s", err ? torpor_error_message(err) : "");
}

static void refuses(struct torpor_error *err, enum torpor_errc code, const char *words)
{
	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), code, "%s", torpor_error_message(err));
	cr_assert(strstr(torpor_error_message(err), words), "%s", torpor_error_message(err));
	torpor_error_free(err);
}

/* ---- The child ---- */

static uint8_t *map_at(void *at, size_t len, int prot, int flags)
{
	uint8_t *got = mmap(at, len, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (got == MAP_FAILED)
		_exit(1);
	return got;
}

/* A block of LEN bytes: aligned, with room in front of it and an inaccessible page behind. */
static uint8_t *block_of(size_t len, uint8_t fill, size_t filled_len)
{
	uint8_t *room = map_at(NULL, len + 2 * ALIGN, PROT_NONE, 0);
	uint8_t *at = (uint8_t *)TP_ROUND_UP((uintptr_t)room + TP_PAGE_SIZE, ALIGN);

	map_at(at, len, PROT_READ | PROT_WRITE, MAP_FIXED);
	memset(at, fill, filled_len);
	return at;
}

/* What the child has: 0 and 1 are alike in length, 2 is longer than its content, 3 and 4 are
 * alike, 5 was joined by the kernel to memory in front of it. */
static void lay_blocks(int fd, struct subject_notes *notes)
{
	(void)fd;
	notes->address[0] = (uintptr_t)block_of(0x20000, 'a', 0x20000);
	notes->address[1] = (uintptr_t)block_of(0x20000, 'b', 0x20000);
	notes->address[2] = (uintptr_t)block_of(ALIGN, 'c', 0x1000);
	notes->address[3] = (uintptr_t)block_of(0x10000, 'd', 0x10000);
	notes->address[4] = (uintptr_t)block_of(0x10000, 'd', 0x10000);
	uint8_t *joined = block_of(0x40000, 'e', 0x40000);
	map_at(joined - TP_PAGE_SIZE, TP_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_FIXED);
	notes->address[5] = (uintptr_t)joined;
	/* Not blocks: without a guard, and not aligned. */
	uint8_t *open_ended = block_of(0x30000, 'f', 0x30000);
	map_at(open_ended + 0x30000, TP_PAGE_SIZE, PROT_READ, MAP_FIXED);
	uint8_t *uneven = map_at(NULL, ALIGN * 2, PROT_NONE, 0);
	uneven = (uint8_t *)TP_ROUND_UP((uintptr_t)uneven, ALIGN) + TP_PAGE_SIZE;
	map_at(uneven, 0x50000, PROT_READ | PROT_WRITE, MAP_FIXED);
	memset(uneven, 'g', 0x50000);
	notes->address[6] = (uintptr_t)open_ended;
	notes->address[7] = (uintptr_t)uneven;
}

static struct tp_block_wanted want(
	const char *name, uint64_t used_len, uint64_t max_len, uint8_t fill)
{
	uint8_t *content = tp_malloc(used_len);

	memset(content, fill, used_len);
	return (struct tp_block_wanted){
		.name = name, .content = content, .used_len = used_len, .max_len = max_len};
}

static struct torpor_error *locate(
	const struct subject *s, struct tp_block_wanted wanted, uint64_t *address_out)
{
	struct torpor_error *err = tp_procmem_locate_blocks(s->pid, &wanted, 1, address_out);

	free((void *)wanted.content);
	return err;
}

/* ---- Locating ---- */

/* Candidates may be others of the child's, too: a sanitizer's own memory can look the same. */
static bool is_found(const struct subject *s, size_t which, uint64_t max_len)
{
	TP_FREE struct tp_mapping *found = NULL;
	size_t n = 0;
	bool is = false;

	must(tp_procmem_find_anon(s->pid, 0x1000, max_len, &found, &n));
	cr_assert_eq(!found, n == 0);
	for (size_t i = 0; i < n; i++) {
		cr_assert_eq(found[i].start % ALIGN, 0);
		cr_assert(max_len == 0 || found[i].end - found[i].start == max_len);
		is |= found[i].start == s->notes->address[which];
	}
	return is;
}

Test(find_anon, gives_aligned_and_guarded_memory_of_a_length)
{
	struct subject s;

	subject_start(&s, lay_blocks, -1);
	cr_assert(is_found(&s, 0, 0x20000));
	cr_assert(is_found(&s, 1, 0x20000));
	cr_assert(!is_found(&s, 2, 0x20000));
	cr_assert(is_found(&s, 2, ALIGN));
	cr_assert(is_found(&s, 5, 0x40000));
	cr_assert(!is_found(&s, 6, 0x30000));
	cr_assert(!is_found(&s, 7, 0x50000));
	for (size_t i = 0; i < 5; i++)
		cr_assert(is_found(&s, i, 0));
	subject_end(&s);
}

Test(locate, finds_blocks_by_content)
{
	struct subject s;
	uint64_t at = 0;

	subject_start(&s, lay_blocks, -1);
	must(locate(&s, want("a", 0x20000, 0x20000, 'a'), &at));
	cr_assert_eq(at, s.notes->address[0]);
	must(locate(&s, want("b", 0x20000, 0x20000, 'b'), &at));
	cr_assert_eq(at, s.notes->address[1]);
	must(locate(&s, want("c", 0x1000, ALIGN, 'c'), &at));
	cr_assert_eq(at, s.notes->address[2]);
	must(locate(&s, want("e", 0x40000, 0x40000, 'e'), &at));
	cr_assert_eq(at, s.notes->address[5]);
	must(locate(&s, want("b, length unknown", 0x20000, 0, 'b'), &at));
	cr_assert_eq(at, s.notes->address[1]);
	subject_end(&s);
}

Test(locate, refuses_what_is_not_there_or_not_unique)
{
	struct subject s;
	uint64_t at = 0;

	subject_start(&s, lay_blocks, -1);
	refuses(locate(&s, want("x", 0x20000, 0x20000, 'x'), &at), TORPOR_E_UNSUPPORTED,
		"not found");
	refuses(locate(&s, want("f", 0x30000, 0x30000, 'f'), &at), TORPOR_E_UNSUPPORTED,
		"not found");
	refuses(locate(&s, want("d", 0x10000, 0x10000, 'd'), &at), TORPOR_E_UNSUPPORTED,
		"more than once");
	refuses(locate(&s, want("too long", 0x2000, 0x1000, 'a'), &at), TORPOR_E_UNSUPPORTED,
		"longer than it can get");
	/* Alike up to the last byte. */
	struct tp_block_wanted almost = want("almost a", 0x20000, 0x20000, 'a');
	((uint8_t *)almost.content)[0x1ffff] = 'z';
	refuses(locate(&s, almost, &at), TORPOR_E_UNSUPPORTED, "not found");
	cr_assert_eq(at, 0);
	subject_end(&s);
}

Test(locate, checks_addresses_that_are_given)
{
	struct subject s;
	uint64_t at = 0;

	subject_start(&s, lay_blocks, -1);
	struct tp_block_wanted wanted = want("d", 0x10000, 0x10000, 'd');
	wanted.address = s.notes->address[4];
	must(locate(&s, wanted, &at));
	cr_assert_eq(at, s.notes->address[4]);
	const uint64_t wrong[] = {s.notes->address[0], 0x1000};
	for (size_t i = 0; i < TP_ARRAY_LEN(wrong); i++) {
		wanted = want("d", 0x10000, 0x10000, 'd');
		wanted.address = wrong[i];
		refuses(locate(&s, wanted, &at), TORPOR_E_UNSUPPORTED, "something else");
	}
	subject_end(&s);
}

/* ---- info ramblock ---- */

Test(ramblock, is_read_without_addresses)
{
	static const char text[] =
		"              Block Name    PSize              Offset               Used  "
		"            Total\r\n"
		"                  pc.ram    4 KiB  0x0000000000000000 0x0000000001000000 "
		"0x0000000001000000\r\n"
		"    /rom@etc/acpi/tables    4 KiB  0x0000000001080000 0x0000000000020000 "
		"0x0000000000200000\r\n";
	TP_FREE struct tp_ramblock *blocks = NULL;
	size_t n = 0;

	must(tp_procmem_parse_ramblock(text, &blocks, &n));
	cr_assert_eq(n, 2);
	cr_assert_str_eq(blocks[1].name, "/rom@etc/acpi/tables");
	cr_assert_eq(blocks[1].used_len, 0x20000);
	cr_assert_eq(blocks[1].max_len, 0x200000);
	cr_assert_eq(blocks[1].address, 0);
}

Test(ramblock, is_read_with_addresses)
{
	static const char text[] =
		"              Block Name    PSize              Offset               Used  "
		"            Total                HVA  RO\r\n"
		"                 pc.bios    4 KiB  0x0000000001000000 0x0000000000040000 "
		"0x0000000000040000 0x00007f1234600000  ro\r\n";
	TP_FREE struct tp_ramblock *blocks = NULL;
	size_t n = 0;

	must(tp_procmem_parse_ramblock(text, &blocks, &n));
	cr_assert_eq(n, 1);
	cr_assert_str_eq(blocks[0].name, "pc.bios");
	cr_assert_eq(blocks[0].max_len, 0x40000);
	cr_assert_eq(blocks[0].address, 0x7f1234600000);
}

/* libvirt makes a backend that the machine doesn't use. */
Test(ramblock, without_a_name_is_nobodys)
{
	static const char text[] =
		"              Block Name    PSize              Offset               Used  "
		"            Total\r\n"
		"                     ram    4 KiB  0x0000000000000000 0x0000000001000000 "
		"0x0000000001000000\r\n"
		"                            4 KiB  0x0000000001000000 0x0000000001000000 "
		"0x0000000001000000\r\n"
		"                 pc.bios    4 KiB  0x0000000002000000 0x0000000000040000 "
		"0x0000000000040000\r\n";
	TP_FREE struct tp_ramblock *blocks = NULL;
	size_t n = 0;

	must(tp_procmem_parse_ramblock(text, &blocks, &n));
	cr_assert_eq(n, 2);
	cr_assert_str_eq(blocks[1].name, "pc.bios");
}

Test(ramblock, that_is_not_understood_is_refused)
{
	static const char *const texts[] = {
		"",
		"unknown command: 'info ramblock'\r\n",
		"Block Name PSize Offset Used Total\r\npc.ram 4 KiB 0x0 0x1000\r\n",
		"Block Name PSize Offset Used Total\r\npc.ram 4 KiB 0x0 0x2000 0x1000\r\n",
		"Block Name PSize Offset Used Total HVA\r\npc.ram 4 KiB 0x0 0x1000 0x1000 ro\r\n",
		"Block Name PSize Offset Used Total\r\npc.ram four KiB 0x0 0x1000 0x1000\r\n",
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(texts); i++) {
		struct tp_ramblock *blocks = NULL;
		size_t n = 0;
		refuses(tp_procmem_parse_ramblock(texts[i], &blocks, &n), TORPOR_E_UNSUPPORTED,
			"not understood");
		cr_assert_null(blocks);
	}
}
