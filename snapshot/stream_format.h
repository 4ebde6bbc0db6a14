/* SPDX-License-Identifier: Apache-2.0 */
/* The marks of QEMU's migration stream (migration/savevm.h, migration/ram.c). */
#ifndef TP_SNAPSHOT_STREAM_FORMAT_H
#define TP_SNAPSHOT_STREAM_FORMAT_H

#include "base/macros.h"

#define TP_QEMU_MAGIC	UINT32_C(0x5145564d) /* "QEVM" */
#define TP_QEMU_VERSION UINT32_C(3)

/* What a section starts with. */
enum tp_qemu_mark {
	TP_QEMU_EOF = 0x00,
	TP_QEMU_SECTION_START = 0x01,
	TP_QEMU_SECTION_PART = 0x02,
	TP_QEMU_SECTION_END = 0x03,
	TP_QEMU_SECTION_FULL = 0x04,
	TP_QEMU_SUBSECTION = 0x05,
	TP_QEMU_VMDESC = 0x06,
	TP_QEMU_CONFIGURATION = 0x07,
	TP_QEMU_COMMAND = 0x08,
	TP_QEMU_FOOTER = 0x7e,
};

/* The low bits of a page's offset in the ram section. */
enum tp_ram_flag {
	TP_RAM_FULL = 0x01, /* obsolete */
	TP_RAM_ZERO = 0x02,
	TP_RAM_MEM_SIZE = 0x04,
	TP_RAM_PAGE = 0x08,
	TP_RAM_EOS = 0x10,
	TP_RAM_CONTINUE = 0x20,
	TP_RAM_XBZRLE = 0x40,
	TP_RAM_HOOK = 0x80, /* RDMA */
	TP_RAM_COMPRESS = 0x100,
	TP_RAM_MULTIFD_FLUSH = 0x200,
};

#define TP_RAM_FLAGS_MASK (TP_PAGE_SIZE - 1)

#define TP_RAM_SECTION_NAME	"ram"
#define TP_RAM_SECTION_INSTANCE UINT32_C(0)
#define TP_RAM_SECTION_VERSION	UINT32_C(4)

/* A section's footer: its mark and the section's id. */
#define TP_QEMU_FOOTER_LEN 5

/* The one command in an ordinary stream: QEMU 10.0 and later announce the switch-over by it. */
#define TP_QEMU_CMD_SWITCHOVER_START 11

#endif
