/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/memory.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

const char *const bench_use_names[BENCH_USES] = {
	[BENCH_USE_GUEST] = "guest_ram",
	[BENCH_USE_CODE] = "translated_code",
	[BENCH_USE_HEAP] = "heap",
	[BENCH_USE_PROGRAM] = "program",
	[BENCH_USE_OTHER] = "other",
};

/* A mapping's first line: addresses, rights, offset, device, inode, and mostly a name. */
static bool read_mapping(const char *line, enum bench_use *use_out)
{
	char rights[5];
	char name[256] = "";

	if (sscanf(line, "%*x-%*x %4s %*x %*x:%*x %*u %255[^\n]", rights, name) < 1)
		return false;
	if (strncmp(name, "/memfd:torpor-", strlen("/memfd:torpor-")) == 0)
		*use_out = BENCH_USE_GUEST;
	else if (rights[1] == 'w' && rights[2] == 'x')
		*use_out = BENCH_USE_CODE;
	else if (strcmp(name, "[heap]") == 0)
		*use_out = BENCH_USE_HEAP;
	else if (name[0] == '/')
		*use_out = BENCH_USE_PROGRAM;
	else
		*use_out = BENCH_USE_OTHER;
	return true;
}

void bench_memory_read(FILE *smaps, struct bench_memory *memory_out)
{
	TP_FREE char *line = NULL;
	size_t size = 0;
	enum bench_use use = BENCH_USE_OTHER;
	uint64_t kib;

	*memory_out = (struct bench_memory){0};
	while (getline(&line, &size, smaps) > 0) {
		if (read_mapping(line, &use))
			continue;
		if (sscanf(line, "Pss: %ju", &kib) == 1)
			memory_out->proportional += kib * TP_KIB;
		if (sscanf(line, "Private_Clean: %ju", &kib) == 1 ||
			sscanf(line, "Private_Dirty: %ju", &kib) == 1) {
			memory_out->private_bytes += kib * TP_KIB;
			memory_out->by_use[use] += kib * TP_KIB;
		}
	}
}

static void close_file(FILE *f)
{
	if (f)
		fclose(f);
}
TP_DEFINE_CLEANUP(FILE *, close_file)

static struct torpor_error *open_of(pid_t pid, const char *what, FILE **file_out)
{
	TP_FREE char *path = tp_asprintf("/proc/%d/%s", pid, what);

	*file_out = fopen(path, "re");
	return *file_out ? NULL : tp_error_errno(errno, "read", path);
}

struct torpor_error *bench_memory_of(pid_t pid, struct bench_memory *memory_out)
{
	TP_CLEANUP(close_file) FILE *smaps = NULL;
	TP_CLEANUP(close_file) FILE *status = NULL;
	TP_FREE char *line = NULL;
	size_t size = 0;
	uint64_t kib;

	TP_TRY(open_of(pid, "smaps", &smaps));
	TP_TRY(open_of(pid, "status", &status));
	bench_memory_read(smaps, memory_out);
	while (getline(&line, &size, status) > 0) {
		if (sscanf(line, "VmPTE: %ju", &kib) == 1)
			memory_out->page_tables = kib * TP_KIB;
	}
	if (memory_out->private_bytes == 0)
		return tp_error(
			TORPOR_E_IO, "measure", "a guest's memory", "its process has ended");
	return NULL;
}
