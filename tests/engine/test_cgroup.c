/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of processes, in a plain directory with this test in the kernel's part: it notes what is
 * written, in order, and fails what it is told to. On this host's own cgroup nothing is changed.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "engine/cgroup_priv.h"
#include "support.h"

static char *root;
static char writes[4096];   /* "torpor-s1/cpu.max=50000 100000\n" for each */
static const char *failing; /* "file" that fails, or NULL */
static int fails_with;
static unsigned int failures_left;
static bool sweeps; /* what fails does so because the group was swept */
static struct tp_cgroup *cgroup;

static void put_file(const char *name, const char *text)
{
	TP_FREE char *path = tp_asprintf("%s/%s", root, name);
	FILE *file = fopen(path, "w");

	cr_assert_not_null(file);
	fputs(text, file);
	fclose(file);
}

static bool is_there(const char *name)
{
	TP_FREE char *path = tp_asprintf("%s/%s", root, name);

	return access(path, F_OK) == 0;
}

static void set_up(void)
{
	root = make_directory();
	put_file("cgroup.controllers", "cpuset cpu io memory pids\n");
	put_file("cgroup.subtree_control", "\n");
	put_file("cgroup.procs", "");
	put_file("cgroup.type", "domain\n");
	failures_left = UINT32_MAX;
}

static void tear_down(void)
{
	tp_cgroup_close(cgroup);
	remove_tree(root);
	free(root);
}

TestSuite(cgroup, .init = set_up, .fini = tear_down);

static int note(void *data, int group_fd, const char *file, const char *text)
{
	TP_FREE char *link = tp_asprintf("/proc/self/fd/%d", group_fd);
	char path[512] = "";
	size_t len = strlen(writes);

	(void)data;
	cr_assert_gt(readlink(link, path, sizeof(path) - 1), 0);
	const char *group = strcmp(path, root) == 0 ? "" : strrchr(path, '/') + 1;
	if (failing && strcmp(failing, file) == 0 && failures_left > 0) {
		failures_left--;
		if (sweeps)
			tp_cgroup_sweep(cgroup);
		return fails_with;
	}
	snprintf(writes + len, sizeof(writes) - len, "%s/%s=%s\n", group, file, text);
	return 0;
}

static void open_tree(bool change)
{
	must(tp_cgroup_open_with(root, change, note, NULL, &cgroup));
}

/* Places this process; what isn't enforced, joined with "|". */
static char *place(const struct tp_limits *limits)
{
	json_t *unenforced;
	const json_t *text;
	size_t i;
	char *all = tp_strdup("");

	writes[0] = '\0';
	must(tp_cgroup_place(cgroup, "s1", getpid(), limits, &unenforced));
	json_array_foreach (unenforced, i, text) {
		TP_FREE char *before = all;
		all = tp_asprintf("%s%s|", before, json_string_value(text));
	}
	json_decref(unenforced);
	return all;
}

static void assert_place(const struct tp_limits *limits, const char *unenforced)
{
	TP_FREE char *said = place(limits);

	cr_assert_str_eq(said, unenforced, "%s", said);
}

static void assert_written(const char *fmt, ...) TP_PRINTF(1, 2);
static void assert_written(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	TP_FREE char *expected = tp_vasprintf(fmt, ap);
	va_end(ap);
	cr_assert_str_eq(writes, expected, "written was:\n%s", writes);
}

Test(cgroup, what_is_offered_is_enabled)
{
	put_file("cgroup.subtree_control", "cpuset memory\n");
	open_tree(true);
	assert_written("/cgroup.subtree_control=+cpu\n/cgroup.subtree_control=+pids\n"
		       "/cgroup.subtree_control=+io\n");
}

Test(cgroup, looking_changes_nothing)
{
	open_tree(false);
	assert_written("%s", "");
	put_file("cgroup.procs", "1\n2\n");
	tp_cgroup_close(cgroup);
	open_tree(false);
	assert_written("%s", "");
	cr_assert_not(is_there("torpor.self"));
	struct tp_limits limits = {.pids = 1};
	assert_place(&limits, "pids: the cgroup has processes of its own, and so can't limit "
			      "groups below it|");
}

Test(cgroup, limits_come_before_the_process)
{
	struct tp_limits limits = {.cpus = 0.5, .memory_bytes = 256 * TP_MIB, .pids = 64};

	open_tree(true);
	assert_place(&limits, "");
	assert_written("torpor-s1/cpu.max=50000 100000\ntorpor-s1/memory.high=251658240\n"
		       "torpor-s1/memory.max=268435456\ntorpor-s1/pids.max=64\n"
		       "torpor-s1/cgroup.procs=%d\n",
		getpid());
}

Test(cgroup, a_group_that_was_there_gets_all_limits_anew)
{
	struct tp_limits first = {.pids = 64}, second = {.cpus = 2};

	open_tree(true);
	assert_place(&first, "");
	assert_written("torpor-s1/pids.max=64\ntorpor-s1/cgroup.procs=%d\n", getpid());
	assert_place(&second, "");
	assert_written("torpor-s1/cpu.max=200000 100000\ntorpor-s1/memory.high=max\n"
		       "torpor-s1/memory.max=max\ntorpor-s1/pids.max=max\n"
		       "torpor-s1/cgroup.procs=%d\n",
		getpid());
}

Test(cgroup, limits_that_are_taken_away_end)
{
	struct tp_limits first = {.pids = 64}, none = {0};

	open_tree(true);
	assert_place(&first, "");
	assert_written("torpor-s1/pids.max=64\ntorpor-s1/cgroup.procs=%d\n", getpid());
	assert_place(&none, "");
	assert_written("torpor-s1/cpu.max=max\ntorpor-s1/memory.high=max\n"
		       "torpor-s1/memory.max=max\ntorpor-s1/pids.max=max\n"
		       "torpor-s1/cgroup.procs=%d\n",
		getpid());
}

Test(cgroup, without_a_limit_there_is_no_group)
{
	struct tp_limits none = {0}, files = {.nofile = 256};

	open_tree(true);
	assert_place(&none, "");
	assert_place(&files, "");
	assert_written("%s", "");
	cr_assert_not(is_there("torpor-s1"));
}

Test(cgroup, the_ends_of_cpus)
{
	struct tp_limits little = {.cpus = 1e-9}, much = {.cpus = 1e300};

	open_tree(true);
	free(place(&little));
	cr_assert_not_null(strstr(writes, "cpu.max=1000 100000\n"), "%s", writes);
	free(place(&much));
	cr_assert_not_null(strstr(writes, "cpu.max=1000000000 100000\n"), "%s", writes);
}

Test(cgroup, missing_controllers_are_told)
{
	struct tp_limits all = {.cpus = 1,
		.memory_bytes = TP_GIB,
		.pids = 5,
		.nofile = 200,
		.io_bytes_per_s = 1000,
		.net_bytes_per_s = 1000};

	put_file("cgroup.controllers", "cpuset memory_not hugetlb\n");
	open_tree(true);
	assert_place(&all, "cpus: the cgroup has no cpu controller|"
			   "memory_bytes: the cgroup has no memory controller|"
			   "pids: the cgroup has no pids controller|"
			   "io_bytes_per_s: the cgroup has no io controller|"
			   "net_bytes_per_s: guests have no network device|");
	assert_written("%s", "");
}

Test(cgroup, what_there_is_holds_though_another_is_missing)
{
	struct tp_limits limits = {.cpus = 1, .pids = 5};

	put_file("cgroup.controllers", "pids\n");
	open_tree(true);
	assert_place(&limits, "cpus: the cgroup has no cpu controller|");
	assert_written("torpor-s1/pids.max=5\ntorpor-s1/cgroup.procs=%d\n", getpid());
}

Test(cgroup, other_processes_are_left_where_they_are)
{
	struct tp_limits limits = {.pids = 5};
	TP_FREE char *procs = tp_asprintf("%d\n%d\n", (int)getpid(), (int)getppid());

	put_file("cgroup.procs", procs);
	failing = "cgroup.subtree_control";
	fails_with = EBUSY;
	open_tree(true);
	assert_written("%s", "");
	assert_place(&limits, "pids: the cgroup has processes of its own, and so can't limit "
			      "groups below it|");
}

Test(cgroup, alone_it_steps_aside)
{
	TP_FREE char *procs = tp_asprintf("%d\n", (int)getpid());

	put_file("cgroup.procs", procs);
	put_file("cgroup.controllers", "pids cpu\n");
	failing = "cgroup.subtree_control";
	fails_with = EBUSY;
	failures_left = 1;
	open_tree(true);
	assert_written("torpor.self/cgroup.procs=%d\n/cgroup.subtree_control=+cpu\n"
		       "/cgroup.subtree_control=+pids\n",
		getpid());
	failing = NULL;
	struct tp_limits limits = {.cpus = 1, .pids = 5};
	assert_place(&limits, "");
}

Test(cgroup, a_controller_that_cannot_be_enabled_is_told_with_why)
{
	struct tp_limits limits = {.pids = 5};

	failing = "cgroup.subtree_control";
	fails_with = EACCES;
	open_tree(true);
	assert_place(&limits, "pids: the pids controller can't be enabled: Permission denied|");
}

Test(cgroup, a_failure_where_it_could_is_an_error)
{
	struct tp_limits limits = {.pids = 5};
	json_t *unenforced = NULL;

	open_tree(true);
	failing = "pids.max";
	fails_with = EIO;
	must_fail(tp_cgroup_place(cgroup, "s1", getpid(), &limits, &unenforced), TORPOR_E_IO,
		"pids.max");
	cr_assert_not(is_there("torpor-s1"), "it stays behind");
	failing = "cgroup.procs";
	fails_with = ESRCH;
	must_fail(tp_cgroup_place(cgroup, "s1", getpid(), &limits, &unenforced), TORPOR_E_NOT_FOUND,
		"has ended");
	cr_assert_null(unenforced);
}

/* As another torpord's does that starts meanwhile, in the same tree. */
Test(cgroup, a_group_that_is_swept_before_it_has_its_process_is_made_anew)
{
	struct tp_limits limits = {.pids = 5};

	open_tree(true);
	failing = "cgroup.procs";
	fails_with = ENODEV;
	failures_left = 2;
	sweeps = true;
	assert_place(&limits, "");
	assert_written("torpor-s1/pids.max=5\ntorpor-s1/pids.max=5\ntorpor-s1/pids.max=5\n"
		       "torpor-s1/cgroup.procs=%d\n",
		getpid());
	cr_assert(is_there("torpor-s1"));
}

Test(cgroup, names_stay_below)
{
	struct tp_limits limits = {.pids = 5};
	static const char *const names[] = {"", "a/b", "../x", "a b",
		"0123456789012345678901234567890123456789012345678901234567890123456789"};
	json_t *unenforced;

	open_tree(true);
	for (size_t i = 0; i < TP_ARRAY_LEN(names); i++)
		must_fail(tp_cgroup_place(cgroup, names[i], getpid(), &limits, &unenforced),
			TORPOR_E_INVALID, NULL);
	must(tp_cgroup_place(cgroup, "..", getpid(), &limits, &unenforced));
	json_decref(unenforced);
	cr_assert(is_there("torpor-.."));
}

Test(cgroup, open_files_are_limited_by_the_process)
{
	struct tp_limits limits = {.nofile = 123};
	struct rlimit now;
	json_t *unenforced;
	pid_t pid = fork();

	if (pid == 0) {
		pause();
		_exit(0);
	}
	open_tree(true);
	must(tp_cgroup_place(cgroup, "s1", pid, &limits, &unenforced));
	cr_assert_eq(json_array_size(unenforced), 0);
	json_decref(unenforced);
	cr_assert_eq(prlimit(pid, RLIMIT_NOFILE, NULL, &now), 0);
	cr_assert_eq(now.rlim_cur, 123);
	cr_assert_eq(now.rlim_max, 123);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	must_fail(tp_cgroup_place(cgroup, "s1", pid, &limits, &unenforced), TORPOR_E_NOT_FOUND,
		"has ended");
}

/* To the kernel 0 is the process that asks. */
Test(cgroup, nobody_is_not_this_process)
{
	struct tp_limits limits = {.nofile = 64, .cpus = 1};
	struct rlimit before;
	struct rlimit after;
	json_t *unenforced;

	open_tree(true);
	writes[0] = '\0';
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	must_fail(tp_cgroup_place(cgroup, "s1", 0, &limits, &unenforced), TORPOR_E_NOT_FOUND,
		"it has ended");
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &after), 0);
	cr_assert_eq(after.rlim_max, before.rlim_max);
	cr_assert_str_eq(writes, "");
	cr_assert(!is_there("torpor-s1"));
}

Test(cgroup, groups_are_removed_and_swept)
{
	struct tp_limits limits = {.pids = 5};
	json_t *unenforced;

	open_tree(true);
	for (int i = 0; i < 3; i++) {
		TP_FREE char *name = tp_asprintf("s%d", i);
		must(tp_cgroup_place(cgroup, name, getpid(), &limits, &unenforced));
		json_decref(unenforced);
	}
	tp_cgroup_remove(cgroup, "s0");
	cr_assert_not(is_there("torpor-s0"));
	tp_cgroup_remove(cgroup, "s0");
	TP_FREE char *other = tp_asprintf("%s/other", root);
	cr_assert_eq(mkdir(other, 0755), 0);
	tp_cgroup_sweep(cgroup);
	cr_assert_not(is_there("torpor-s1"));
	cr_assert_not(is_there("torpor-s2"));
	cr_assert(is_there("other"), "it isn't ours");
}

static bool has_text(const json_t *list, const char *beginning)
{
	const json_t *text;
	size_t i;

	json_array_foreach (list, i, text)
		if (strncmp(json_string_value(text), beginning, strlen(beginning)) == 0)
			return true;
	return false;
}

/* Each limit is in one of the lists, and in no more. */
static void assert_all_told(void)
{
	static const char *const limits[] = {"cpus: ", "memory_bytes: ", "pids: ", "nofile: ",
		"io_bytes_per_s: ", "net_bytes_per_s: "};
	json_t *can, *cannot;

	tp_cgroup_can(cgroup, &can, &cannot);
	cr_assert_eq(json_array_size(can) + json_array_size(cannot), TP_ARRAY_LEN(limits));
	for (size_t i = 0; i < TP_ARRAY_LEN(limits); i++)
		cr_assert_neq(
			has_text(can, limits[i]), has_text(cannot, limits[i]), "%s", limits[i]);
	cr_assert(has_text(can, "nofile: "));
	cr_assert(has_text(cannot, "net_bytes_per_s: "));
	json_decref(can);
	json_decref(cannot);
}

Test(cgroup, what_can_be_is_told)
{
	json_t *can, *cannot;

	open_tree(true);
	assert_all_told();
	tp_cgroup_can(cgroup, &can, &cannot);
	cr_assert(has_text(can, "memory_bytes: memory.max"));
	cr_assert(has_text(cannot, "io_bytes_per_s: no disk was named"));
	json_decref(can);
	json_decref(cannot);
	tp_cgroup_set_disk(cgroup, "/proc");
	tp_cgroup_can(cgroup, &can, &cannot);
	cr_assert(has_text(cannot, "io_bytes_per_s: /proc isn't on a disk of its own"));
	json_decref(can);
	json_decref(cannot);
}

/* Any disk of this host that has a number; without one that can't be tested, which is said. */
Test(cgroup, disk_traffic_is_limited_on_the_disk_below)
{
	struct tp_limits limits = {.io_bytes_per_s = 1000000};
	TP_FREE char *said = NULL;

	open_tree(true);
	tp_cgroup_set_disk(cgroup, root);
	said = place(&limits);
	if (*said) {
		cr_assert_not_null(strstr(said, "isn't on a disk of its own"), "%s", said);
		fprintf(stderr, "NOT RUN: io.max; %s\n", said);
		return;
	}
	unsigned int major, minor, read_rate, write_rate;
	cr_assert_eq(sscanf(writes, "torpor-s1/io.max=%u:%u rbps=%u wbps=%u\n", &major, &minor,
			     &read_rate, &write_rate),
		4, "%s", writes);
	cr_assert_eq(read_rate, 1000000);
	cr_assert_eq(write_rate, 1000000);
	TP_FREE char *disk = tp_asprintf("/sys/dev/block/%u:%u/partition", major, minor);
	cr_assert_neq(access(disk, F_OK), 0, "a partition, which io.max doesn't know");
}

Test(cgroup, a_plain_directory_is_no_tree)
{
	struct tp_limits limits = {.pids = 5};

	unsetenv("TORPOR_CGROUP_PLAIN");
	must(tp_cgroup_open(root, &cgroup));
	TP_FREE char *said = place(&limits);
	cr_assert_not_null(strstr(said, "isn't of a cgroup v2 hierarchy"), "%s", said);
	cr_assert_not(is_there("torpor-s1"));
	tp_cgroup_sweep(cgroup);
	assert_all_told();
}

Test(cgroup, for_tests_it_is_one)
{
	struct tp_limits limits = {.pids = 5, .memory_bytes = TP_MIB};
	TP_FREE char *file = tp_asprintf("%s/torpor-s1/pids.max", root);
	char *text;
	size_t len;

	setenv("TORPOR_CGROUP_PLAIN", "1", 1);
	must(tp_cgroup_open(root, &cgroup));
	assert_place(&limits, "");
	must(tp_read_file(AT_FDCWD, file, 100, &text, &len));
	cr_assert_str_eq(text, "5");
	free(text);
	tp_cgroup_sweep(cgroup);
	cr_assert(is_there("torpor-s1"), "its process runs");
	TP_FREE char *procs = tp_asprintf("%s/torpor-s1/cgroup.procs", root);
	cr_assert_eq(unlink(procs), 0);
	tp_cgroup_sweep(cgroup);
	cr_assert_not(is_there("torpor-s1"));
}

Test(cgroup, none_and_one_that_is_not_there)
{
	struct tp_limits limits = {.pids = 5};

	must(tp_cgroup_open("", &cgroup));
	assert_place(&limits, "pids: no cgroup is configured|");
	tp_cgroup_sweep(cgroup);
	tp_cgroup_remove(cgroup, "s1");
	assert_all_told();
	tp_cgroup_close(cgroup);
	must(tp_cgroup_open("/nowhere/at/all", &cgroup));
	assert_place(&limits, "pids: /nowhere/at/all: No such file or directory|");
}

Test(cgroup, its_mount_is_found_behind_many_others)
{
	TP_FREE char *path = tp_asprintf("%s/mountinfo", root);
	FILE *file = fopen(path, "w");
	TP_FREE char *point = NULL;
	TP_FREE char *top = NULL;

	cr_assert_not_null(file);
	for (int i = 0; i < 1000; i++)
		fprintf(file, "%d 1 0:%d / /run/containers/%0200d/merged rw - overlay overlay rw\n",
			i, i, i);
	cr_assert_eq(fflush(file), 0);
	cr_assert_not(tp_cgroup_find_mount(path, &point, &top));
	fputs("99 24 0:26 /a.slice /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n", file);
	fclose(file);
	cr_assert(tp_cgroup_find_mount(path, &point, &top));
	cr_assert_str_eq(point, "/sys/fs/cgroup");
	cr_assert_str_eq(top, "/a.slice");
}

Test(cgroup, of_this_process)
{
	must(tp_cgroup_look(NULL, &cgroup));
	assert_all_told();

	json_t *can, *cannot;
	tp_cgroup_can(cgroup, &can, &cannot);
	if (!has_text(can, "pids: "))
		fprintf(stderr, "NOT RUN: limits on real controllers, which this host's cgroup "
				"doesn't offer to this test\n");
	json_decref(can);
	json_decref(cannot);
}
