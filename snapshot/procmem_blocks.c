/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding QEMU's small RAM blocks in its address space.
 *
 * QEMU after 7.2 prints the addresses in `info ramblock`. 7.2 prints only lengths, and
 * gpa2hva knows only blocks that the guest can address, which the ACPI tables are not. But
 * lengths and alignment leave few candidates, and once a block has been loaded its content is
 * known. So the content decides, and a given address is checked by it as well.
 */
#include "snapshot/procmem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "snapshot/procmem_internal.h"

/* A wrong candidate mostly differs in its first bytes, so little is read at first. */
#define COMPARE_LEN (16 * TP_KIB)

#define RAMBLOCKS_MAX 256
#define NAME_COLUMN   24 /* its width, right-aligned */

/* ---- info ramblock ---- */

/*
 *               Block Name    PSize              Offset               Used              Total [...]
 *                  pc.bios    4 KiB  0x0000000001000000 0x0000000000040000 0x0000000000040000 [...]
 *
 * with an address (HVA) and a read-only mark (RO) behind in QEMU after 7.2 (physmem.c,
 * ram_block_format).
 */
static struct torpor_error *parse_ramblock_line(
	const char *line, bool has_address, struct tp_ramblock *block_out)
{
	struct tp_ramblock block = {0};
	uint64_t offset = 0;

	int fields = sscanf(line, "%255s %*u %*s %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64,
		block.name, &offset, &block.used_len, &block.max_len, &block.address);
	bool complete = fields >= (has_address ? 5 : 4);
	if (!complete || block.used_len > block.max_len)
		return tp_error(TORPOR_E_UNSUPPORTED, "read RAM blocks", NULL,
			"QEMU's list has a line that is not understood: %s", line);
	if (!has_address)
		block.address = 0;
	*block_out = block;
	return NULL;
}

struct torpor_error *tp_procmem_parse_ramblock(
	const char *text, struct tp_ramblock **blocks_out, size_t *n_out)
{
	TP_FREE char *copy = tp_strdup(text);
	TP_FREE struct tp_ramblock *blocks = tp_calloc(RAMBLOCKS_MAX, sizeof(*blocks));
	char *save = NULL;
	size_t n = 0;

	char *line = strtok_r(copy, "\r\n", &save);
	if (!line || !strstr(line, "Block Name") || !strstr(line, "Used") || !strstr(line, "Total"))
		return tp_error(TORPOR_E_UNSUPPORTED, "read RAM blocks", NULL,
			"QEMU's list has a heading that is not understood: %s", line ? line : "");
	bool has_address = strstr(line, "HVA");
	while ((line = strtok_r(NULL, "\r\n", &save))) {
		/* A backend that no machine uses, as libvirt makes one where it is told of another,
		 * has no name: it isn't the guest's. */
		if (strspn(line, " ") >= NAME_COLUMN)
			continue;
		if (n == RAMBLOCKS_MAX)
			return tp_error(TORPOR_E_LIMIT, "read RAM blocks", NULL,
				"QEMU has more than %d", RAMBLOCKS_MAX);
		TP_TRY(parse_ramblock_line(line, has_address, &blocks[n]));
		n++;
	}
	*blocks_out = TP_TAKE(blocks);
	*n_out = n;
	return NULL;
}

/* ---- Addresses ---- */

/* Whether WANTED's content lies at ADDRESS. What can't be read isn't it. */
static struct torpor_error *holds_content(
	pid_t pid, const struct tp_block_wanted *wanted, uint64_t address, bool *holds_out)
{
	const uint8_t *content = wanted->content;
	uint8_t there[COMPARE_LEN];
	bool same = true;

	for (uint64_t at = 0; at < wanted->used_len && same;) {
		size_t len = TP_MIN(wanted->used_len - at, sizeof(there));
		struct torpor_error *err = tp_procmem_read(pid, address + at, there, len);
		if (err && torpor_error_code(err) != TORPOR_E_IO)
			return err;
		same = !err && memcmp(there, content + at, len) == 0;
		torpor_error_free(err);
		at += len;
	}
	*holds_out = same;
	return NULL;
}

static struct torpor_error *unknown(const struct tp_block_wanted *wanted, const char *why)
{
	struct torpor_error *err =
		tp_error(TORPOR_E_UNSUPPORTED, "locate RAM block", wanted->name, "%s", why);

	return tp_error_hint(err, "its content has to go through the migration stream");
}

static struct torpor_error *confirm(pid_t pid, const struct tp_block_wanted *wanted)
{
	bool holds = false;

	TP_TRY(holds_content(pid, wanted, wanted->address, &holds));
	return holds ? NULL
		     : unknown(wanted, "what lies at the address that QEMU gave is something else");
}

static struct torpor_error *search(pid_t pid, const struct tp_block_wanted *wanted,
	const struct tp_vma *vmas, size_t n_vmas, uint64_t *address_out)
{
	size_t n = 0;
	TP_FREE struct tp_mapping *candidates =
		tp_procmem_anon_among(vmas, n_vmas, wanted->used_len, wanted->max_len, &n);
	uint64_t address = 0;

	for (size_t i = 0; i < n; i++) {
		bool holds = false;
		TP_TRY(holds_content(pid, wanted, candidates[i].start, &holds));
		if (holds && address != 0)
			return unknown(wanted, "its content is found more than once");
		if (holds)
			address = candidates[i].start;
	}
	if (address == 0)
		return unknown(wanted, "its content is not found in QEMU's memory");
	*address_out = address;
	return NULL;
}

struct torpor_error *tp_procmem_locate_blocks(
	pid_t pid, const struct tp_block_wanted *wanted, size_t n, uint64_t *addresses_out)
{
	TP_FREE uint64_t *addresses = tp_calloc(n, sizeof(*addresses));
	TP_FREE struct tp_vma *vmas = NULL;
	size_t n_vmas = 0;

	TP_TRY(tp_procmem_vmas(pid, &vmas, &n_vmas));
	for (size_t i = 0; i < n; i++) {
		addresses[i] = wanted[i].address;
		if (wanted[i].max_len > 0 && wanted[i].max_len < wanted[i].used_len)
			return unknown(&wanted[i], "it is longer than it can get");
		if (addresses[i] != 0)
			TP_TRY(confirm(pid, &wanted[i]));
		else
			TP_TRY(search(pid, &wanted[i], vmas, n_vmas, &addresses[i]));
	}
	for (size_t i = 0; i < n; i++)
		addresses_out[i] = addresses[i];
	return NULL;
}
