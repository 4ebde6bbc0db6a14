/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by tests with real guests. */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *from_environment(const char *name)
{
	const char *value = getenv(name);

	cr_assert_not_null(value, "%s is not set: run this through meson test", name);
	return value;
}

const char *it_guest_dir(void)
{
	return from_environment("TORPOR_TEST_GUEST");
}

static void build_template(struct torpor_engine *engine)
{
	char kernel[4096];
	char initrd[4096];
	struct torpor_template *tmpl;

	snprintf(kernel, sizeof(kernel), "%s/vmlinuz", it_guest_dir());
	snprintf(initrd, sizeof(initrd), "%s/initrd.img", it_guest_dir());
	struct torpor_template_spec spec = {
		.name = IT_TEMPLATE, .kernel = kernel, .initrd = initrd};
	it_ok(torpor_template_build(engine, &spec, NULL, NULL, NULL, NULL, &tmpl));
	torpor_template_close(tmpl);
}

static void log_line(void *data, int level, const char *line)
{
	(void)data;
	if (level >= 2)
		fprintf(stderr, "torpor: %s\n", line);
}

/*
 * A state directory of this program's own, so that what tests that run beside it leave or lack
 * doesn't count; with the templates of all.
 */
static const char *own_state_dir(void)
{
	static char own[4096];
	char exe[4096] = "";
	char shared[4096];
	char link[4200];

	snprintf(shared, sizeof(shared), "%s/templates", from_environment("TORPOR_TEST_STATE"));
	/* Criterion calls its workers by a name of its own; what they run is the program. */
	cr_assert_gt(readlink("/proc/self/exe", exe, sizeof(exe) - 1), 0);
	snprintf(own, sizeof(own), "%s-%s", from_environment("TORPOR_TEST_STATE"),
		strrchr(exe, '/') + 1);
	snprintf(link, sizeof(link), "%s/templates", own);
	(void)!mkdir(from_environment("TORPOR_TEST_STATE"), 0700);
	(void)!mkdir(shared, 0700);
	(void)!mkdir(own, 0700);
	cr_assert(symlink(shared, link) == 0 || errno == EEXIST, "%s: %m", link);
	return own;
}

struct torpor_engine *it_open_with(struct torpor_engine_options options)
{
	char lock_path[4096];
	struct torpor_engine *engine;
	struct torpor_template_info info;

	if (!options.state_dir)
		options.state_dir = own_state_dir();
	if (!options.log)
		options.log = log_line;
	it_ok(torpor_engine_open(&options, &engine));
	snprintf(lock_path, sizeof(lock_path), "%s/test.lock", options.state_dir);
	int lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert(lock >= 0 && flock(lock, LOCK_EX) == 0);
	struct torpor_error *err = torpor_template_lookup(engine, IT_TEMPLATE, &info);
	if (err) {
		torpor_error_free(err);
		build_template(engine);
	}
	close(lock);
	return engine;
}

struct torpor_engine *it_open(void)
{
	return it_open_with((struct torpor_engine_options){0});
}

struct torpor_template *it_template(struct torpor_engine *engine)
{
	struct torpor_template *tmpl;

	it_ok(torpor_template_open(engine, IT_TEMPLATE, NULL, &tmpl));
	return tmpl;
}

const char *it_name(const char *prefix)
{
	static char names[64][65];
	static unsigned int next;
	char *name = names[next % 64];

	snprintf(name, sizeof(names[0]), "%s-%d-%u", prefix, getpid(), next);
	next++;
	return name;
}

struct torpor_session *it_start(struct torpor_template *tmpl)
{
	struct torpor_session_spec spec = {.name = it_name("it")};
	struct torpor_session *session;

	it_ok(torpor_session_start(tmpl, &spec, NULL, NULL, &session));
	return session;
}

static void gather(void *data, int stream, const void *bytes, size_t len)
{
	FILE *f = data;

	(void)stream;
	fwrite(bytes, 1, len, f);
}

const char *it_run(struct torpor_session *session, const char *script)
{
	static char *text;
	size_t len = 0;
	const char *const argv[] = {"sh", "-c", script, NULL};
	struct torpor_exec_result result;
	struct torpor_call call = {.timeout_ns = UINT64_C(120000000000)};

	free(text);
	text = NULL;
	FILE *f = open_memstream(&text, &len);
	struct torpor_exec exec = {.argv = argv, .output = gather, .output_data = f};
	it_ok(torpor_session_exec(session, &exec, &call, &result));
	fclose(f);
	cr_assert(result.exited && result.status == 0, "\"%s\" gave status %d: %s", script,
		result.status, text);
	if (len > 0 && text[len - 1] == '\n')
		text[len - 1] = '\0';
	return text;
}

static bool read_stat(const char *pid, char *name, int *parent, unsigned long long *start)
{
	char path[64];
	char line[1024];

	snprintf(path, sizeof(path), "/proc/%.16s/stat", pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return false;
	size_t n = fread(line, 1, sizeof(line) - 1, f);
	fclose(f);
	line[n] = '\0';
	char *open_paren = strchr(line, '(');
	char *close_paren = strrchr(line, ')');
	if (!open_paren || !close_paren)
		return false;
	snprintf(name, 32, "%.*s", (int)(close_paren - open_paren - 1), open_paren + 1);
	return sscanf(close_paren + 1,
		       " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
		       "%*d %llu",
		       parent, start) == 2;
}

bool it_process_exists(int pid, uint64_t start_time)
{
	char text[16];
	char name[32];
	int parent;
	unsigned long long start;

	snprintf(text, sizeof(text), "%d", pid);
	return read_stat(text, name, &parent, &start) && start == start_time;
}

bool it_with_libvirt(void)
{
	const char *launcher = getenv("TORPOR_LAUNCHER");

	return launcher && strcmp(launcher, "libvirt") == 0;
}

const char *it_killed(void)
{
	return it_with_libvirt() ? "libvirt says that it failed" : "signal 9";
}

const char *it_killed_early(void)
{
	return it_with_libvirt() ? "monitor" : "signal 9";
}

/* libvirtd's children; but a guest's name has the pid of the engine's process in it. */
static bool is_domain_of(int owner, const char *pid)
{
	char path[64];
	char line[8192];
	char in_name[32];

	snprintf(path, sizeof(path), "/proc/%.16s/cmdline", pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return false;
	size_t n = fread(line, 1, sizeof(line) - 1, f);
	fclose(f);
	line[n] = '\0';
	snprintf(in_name, sizeof(in_name), "-%d-", owner);
	const char *name = memmem(line, n, "guest=", strlen("guest="));
	return name && strstr(name, in_name);
}

bool it_is_qemu_of(int owner, const char *pid)
{
	char name[32];
	int parent;
	unsigned long long start;

	if (*pid < '1' || *pid > '9' || !read_stat(pid, name, &parent, &start) ||
		(!strstr(name, "qemu") && !strstr(name, "torpor")))
		return false;
	return parent == owner || (it_with_libvirt() && is_domain_of(owner, pid));
}

unsigned int it_qemu_children(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	unsigned int count = 0;

	cr_assert_not_null(proc);
	while ((entry = readdir(proc)))
		count += it_is_qemu_of(getpid(), entry->d_name);
	closedir(proc);
	return count;
}

unsigned int it_partial_files(const struct torpor_engine *engine)
{
	char path[4096];
	struct dirent *entry;
	unsigned int count = 0;

	snprintf(path, sizeof(path), "%s/images", torpor_engine_state_dir(engine));
	DIR *dir = opendir(path);
	cr_assert_not_null(dir);
	while ((entry = readdir(dir)))
		count += strstr(entry->d_name, ".part") != NULL;
	closedir(dir);
	return count;
}
