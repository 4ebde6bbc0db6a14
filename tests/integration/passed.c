/* SPDX-License-Identifier: Apache-2.0 */
/* A tracer inside the program that it traces. */
#include "passed.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/mem.h"

#define PLACES_MAX 256
#define NOP	   0x90
#define BREAKPOINT 0xcc

/* Where an argument is, as the note says: "8@$5", "8@%rax", "-4@96(%r15)". */
struct operand {
	bool is_there;
	bool in_memory;
	int size; /* bytes; negative: signed */
	int reg;  /* index into gregs, or -1: `value` alone */
	int64_t value;
};

struct place {
	uint8_t *at;
	const char *probe;
	struct operand args[2];
};

static struct place places[PLACES_MAX];
static unsigned int n_places;

/* Written by whichever thread passes a probe; complete where `done`. */
static struct it_passed log_entries[IT_PASSED_MAX];
static atomic_bool done[IT_PASSED_MAX];
static atomic_size_t n_passed;

/* --- notes --- */

static int register_number(const char *name, size_t len)
{
	static const struct {
		const char *names; /* by size: 8, 4, 2, 1 bytes */
		int number;
	} table[] = {
		{" rax eax ax al ", REG_RAX},
		{" rbx ebx bx bl ", REG_RBX},
		{" rcx ecx cx cl ", REG_RCX},
		{" rdx edx dx dl ", REG_RDX},
		{" rsi esi si sil ", REG_RSI},
		{" rdi edi di dil ", REG_RDI},
		{" rbp ebp bp bpl ", REG_RBP},
		{" rsp esp sp spl ", REG_RSP},
		{" r8 r8d r8w r8b ", REG_R8},
		{" r9 r9d r9w r9b ", REG_R9},
		{" r10 r10d r10w r10b ", REG_R10},
		{" r11 r11d r11w r11b ", REG_R11},
		{" r12 r12d r12w r12b ", REG_R12},
		{" r13 r13d r13w r13b ", REG_R13},
		{" r14 r14d r14w r14b ", REG_R14},
		{" r15 r15d r15w r15b ", REG_R15},
	};
	char wanted[8];

	snprintf(wanted, sizeof(wanted), " %.*s ", (int)len, name);
	for (size_t i = 0; i < TP_ARRAY_LEN(table); i++) {
		if (strstr(table[i].names, wanted))
			return table[i].number;
	}
	cr_assert_fail("a probe's argument is in register \"%s\"", wanted);
	return -1;
}

static struct operand parse_operand(const char *text)
{
	struct operand operand = {.is_there = true, .reg = -1};
	char *at;

	operand.size = (int)strtol(text, &at, 10);
	cr_assert_eq(*at++, '@', "a probe's argument is \"%s\"", text);
	if (*at == '$') {
		operand.value = strtoll(at + 1, NULL, 0);
	} else if (*at == '%') {
		operand.reg = register_number(at + 1, strcspn(at + 1, " "));
	} else {
		operand.in_memory = true;
		operand.value = strtoll(at, &at, 0);
		cr_assert(strncmp(at, "(%", 2) == 0, "a probe's argument is \"%s\"", text);
		operand.reg = register_number(at + 2, strcspn(at + 2, "),"));
		cr_assert_eq(
			at[2 + strcspn(at + 2, "),")], ')', "a probe's argument is \"%s\"", text);
	}
	return operand;
}

/* A note: location, base, semaphore, then provider, name, arguments as strings. */
static void add_place(const uint8_t *desc, uint64_t moved)
{
	uint64_t location;
	const char *provider = (const char *)desc + 24;
	const char *name = provider + strlen(provider) + 1;
	const char *args = name + strlen(name) + 1;
	const char *second = strchr(args, ' ');

	memcpy(&location, desc, sizeof(location));
	if (strcmp(provider, "torpor") != 0)
		return;
	cr_assert_lt(n_places, PLACES_MAX);
	struct place *place = &places[n_places++];
	*place = (struct place){.at = (uint8_t *)(uintptr_t)(location + moved), .probe = name};
	place->args[0] = parse_operand(args);
	if (second)
		place->args[1] = parse_operand(second + 1);
}

static int first_object(struct dl_phdr_info *info, size_t size, void *data)
{
	(void)size;
	*(uint64_t *)data = info->dlpi_addr;
	return 1; /* the program itself comes first */
}

static void read_notes(const uint8_t *file)
{
	const ElfW(Ehdr) *elf = (const ElfW(Ehdr) *)file;
	const ElfW(Shdr) *sections = (const ElfW(Shdr) *)(file + elf->e_shoff);
	const char *names = (const char *)file + sections[elf->e_shstrndx].sh_offset;
	uint64_t moved = 0;

	dl_iterate_phdr(first_object, &moved);
	for (unsigned int i = 0; i < elf->e_shnum; i++) {
		if (strcmp(names + sections[i].sh_name, ".note.stapsdt") != 0)
			continue;
		const uint8_t *at = file + sections[i].sh_offset;
		const uint8_t *end = at + sections[i].sh_size;
		while (at < end) {
			const ElfW(Nhdr) *note = (const ElfW(Nhdr) *)at;
			at += sizeof(*note) + TP_ROUND_UP(note->n_namesz, 4U);
			add_place(at, moved);
			at += TP_ROUND_UP(note->n_descsz, 4U);
		}
	}
}

/* --- passing --- */

static uint64_t evaluate(const struct operand *operand, const greg_t *regs)
{
	uint64_t value = (uint64_t)operand->value;
	int bytes = abs(operand->size);

	if (operand->reg >= 0)
		value += (uint64_t)regs[operand->reg];
	if (operand->in_memory) {
		uint64_t content = 0;
		memcpy(&content, (const void *)(uintptr_t)value, (size_t)bytes);
		return content;
	}
	return bytes == 8 ? value : value & ((UINT64_C(1) << (8 * bytes)) - 1);
}

static void note(const struct place *place, const greg_t *regs)
{
	size_t i = atomic_fetch_add(&n_passed, 1);

	if (i >= IT_PASSED_MAX)
		return;
	struct it_passed *entry = &log_entries[i];
	*entry = (struct it_passed){.probe = place->probe};
	const char *who = (const char *)(uintptr_t)evaluate(&place->args[0], regs);
	if (who)
		strncpy(entry->who, who, sizeof(entry->who) - 1);
	if (place->args[1].is_there)
		entry->second = evaluate(&place->args[1], regs);
	if (strncmp(place->probe, "qmp__", 5) == 0)
		strncpy(entry->command, (const char *)(uintptr_t)entry->second,
			sizeof(entry->command) - 1);
	atomic_store(&done[i], true);
}

static void on_breakpoint(int signal_number, siginfo_t *info, void *context)
{
	const greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	const uint8_t *at = (const uint8_t *)(uintptr_t)regs[REG_RIP] - 1;

	(void)signal_number;
	(void)info;
	for (unsigned int i = 0; i < n_places; i++) {
		if (places[i].at == at) {
			note(&places[i], regs);
			return; /* behind it: it stood for a nop */
		}
	}
	abort();
}

static void break_at(const struct place *place)
{
	uintptr_t page = (uintptr_t)place->at & ~(uintptr_t)(TP_PAGE_SIZE - 1);

	cr_assert_eq(*place->at, NOP, "%s is at no nop", place->probe);
	cr_assert_eq(mprotect((void *)page, TP_PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
	*place->at = BREAKPOINT;
	cr_assert_eq(mprotect((void *)page, TP_PAGE_SIZE, PROT_READ | PROT_EXEC), 0);
}

unsigned int it_passed_begin(void)
{
	struct sigaction action = {
		.sa_sigaction = on_breakpoint, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct stat st;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	cr_assert(fd >= 0 && fstat(fd, &st) == 0);
	/* Stays: names are read out of it. */
	const uint8_t *file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	cr_assert_neq(file, MAP_FAILED);
	close(fd);
	read_notes(file);
	cr_assert_eq(sigaction(SIGTRAP, &action, NULL), 0);
	for (unsigned int i = 0; i < n_places; i++)
		break_at(&places[i]);
	return n_places;
}

const struct it_passed *it_passed(size_t *n_out)
{
	*n_out = atomic_load(&n_passed);
	cr_assert_leq(*n_out, IT_PASSED_MAX);
	for (size_t i = 0; i < *n_out; i++)
		cr_assert(atomic_load(&done[i]), "a probe is being passed: ask once all is over");
	return log_entries;
}

void it_passed_forget(void)
{
	memset(done, 0, sizeof(done));
	atomic_store(&n_passed, 0);
}

const struct it_passed *it_passed_find(const char *who, const char *probe)
{
	size_t n;
	const struct it_passed *entries = it_passed(&n);

	for (size_t i = 0; i < n; i++) {
		if (strcmp(entries[i].who, who) == 0 && strcmp(entries[i].probe, probe) == 0)
			return &entries[i];
	}
	return NULL;
}

const char *it_passed_by(const char *who)
{
	static char text[4096];
	size_t n, len = 0;
	const struct it_passed *entries = it_passed(&n);

	text[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		if (strcmp(entries[i].who, who) != 0 || entries[i].command[0])
			continue;
		len += (size_t)snprintf(
			text + len, sizeof(text) - len, "%s%s", len ? " " : "", entries[i].probe);
		cr_assert_lt(len, sizeof(text));
	}
	return text;
}
