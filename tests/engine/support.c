/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine's tests share. */
#include "support.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

void must(struct torpor_error *err)
{
	cr_assert_null(err, "%s", err ? torpor_error_message(err) : "");
}

void must_fail(struct torpor_error *err, enum torpor_errc code, const char *part)
{
	cr_assert_not_null(err, "it should have failed");
	cr_assert_eq(torpor_error_code(err), code, "code is %s, in: %s",
		torpor_errc_name(torpor_error_code(err)), torpor_error_message(err));
	if (part)
		cr_assert_not_null(strstr(torpor_error_message(err), part), "no \"%s\" in: %s",
			part, torpor_error_message(err));
	torpor_error_free(err);
}

struct tp_guest_config pc_config(void)
{
	return (struct tp_guest_config){
		.machine_type = (char *)"pc-i440fx-7.2",
		.machine = TP_MACHINE_PC,
		.accel = TP_ACCEL_TCG,
		.cpu_model = (char *)"qemu64-v1,-svm",
		.memory_bytes = 64 * TP_MIB,
		.vcpus = 1,
		.qemu_version = (char *)"7.2.22",
		.channels = true,
	};
}

char *make_directory(void)
{
	char *path = tp_strdup("/tmp/torpor-engine-XXXXXX");

	cr_assert_not_null(mkdtemp(path));
	return path;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void remove_tree(const char *path)
{
	cr_assert_eq(nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

size_t count_entries(const char *path)
{
	DIR *dir = opendir(path);
	size_t n = 0;

	cr_assert_not_null(dir);
	for (struct dirent *entry; (entry = readdir(dir));)
		n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(dir);
	return n;
}

bool process_runs(pid_t pid)
{
	char path[64];
	char text[512] = "";

	snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
	FILE *file = fopen(path, "r");
	if (!file)
		return false;
	size_t n = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	const char *state = n > 0 ? strrchr(text, ')') : NULL;
	return state && strncmp(state, ") Z", 3) != 0 && strncmp(state, ") X", 3) != 0;
}
