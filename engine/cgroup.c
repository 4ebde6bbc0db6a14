/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of guests' processes. Files and rules: Documentation/admin-guide/cgroup-v2.rst. */
#include "engine/cgroup.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/cgroup_priv.h"

#define PREFIX	   "torpor-"	 /* of our groups: others' are left alone */
#define SELF_GROUP "torpor.self" /* no guest's group is called so */
#define FILE_MAX   (64 * 1024)
#define NAME_LEN   64

#define PLACE_ATTEMPTS 100

#define CPU_PERIOD_US 100000
#define CPU_LEAST_US  1000 /* the kernel takes no less */
#define CPUS_MOST     10000

/* What a group limits, each by a controller. */
enum kind { CPU, MEMORY, PIDS, IO, KINDS };

static const struct {
	const char *limit;
	const char *controller;
	const char *file;
} kinds[KINDS] = {
	[CPU] = {"cpus", "cpu", "cpu.max"},
	[MEMORY] = {"memory_bytes", "memory", "memory.max"},
	[PIDS] = {"pids", "pids", "pids.max"},
	[IO] = {"io_bytes_per_s", "io", "io.max"},
};

#define MEMORY_HIGH "memory.high"
#define NO_NETWORK  "net_bytes_per_s: guests have no network device"

struct tp_cgroup {
	/* Constant once it is opened and its disk is set. */
	int root_fd; /* -1: there is no tree */
	bool plain;
	tp_cgroup_write_fn *write;
	void *data;
	char *why_not[KINDS]; /* NULL: the tree can enforce it */
	char *disk;	      /* "8:0", or NULL */
	char *why_no_disk;    /* NULL: there is one */
};

/* --- Files --- */

static int write_at(int dir_fd, const char *file, const char *text, int flags)
{
	TP_FD int fd = openat(dir_fd, file, O_WRONLY | O_CLOEXEC | flags, 0600);

	if (fd < 0)
		return errno;
	/* The kernel takes each write as a whole. */
	return write(fd, text, strlen(text)) < 0 ? errno : 0;
}

static int write_kernel(void *data, int group_fd, const char *file, const char *text)
{
	(void)data;
	return write_at(group_fd, file, text, 0);
}

static int write_plain(void *data, int group_fd, const char *file, const char *text)
{
	(void)data;
	return write_at(group_fd, file, text, O_CREAT | O_TRUNC);
}

/* A small file's content; empty if it can't be read. */
static char *read_or_empty(int dir_fd, const char *file)
{
	char *text = NULL;
	size_t len;
	TP_ERROR struct torpor_error *err = tp_read_file(dir_fd, file, FILE_MAX, &text, &len);

	return err ? tp_strdup("") : text;
}

/* Whether WORD is one of TEXT's, which are separated by white space. */
static bool has_word(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = text; (at = strstr(at, word)); at += len) {
		bool begins = at == text || isspace((unsigned char)at[-1]);
		if (begins && (at[len] == '\0' || isspace((unsigned char)at[len])))
			return true;
	}
	return false;
}

/* --- Where the tree is --- */

/* The rest of the line of TEXT that begins with BEGINNING; NULL if there is none. */
static char *rest_of_line(const char *text, const char *beginning)
{
	size_t len = strlen(beginning);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, beginning, len) == 0)
			return tp_strndup(line + len, strcspn(line + len, "\n"));
	}
	return NULL;
}

/* Takes LINE apart: where it is mounted, and which of its cgroups is at that place. */
static bool read_mount(char *line, char **point_out, char **root_out)
{
	char *words = NULL;

	if (!strstr(line, " - cgroup2 "))
		return false;
	strtok_r(line, " ", &words); /* mount id, parent id, device */
	strtok_r(NULL, " ", &words);
	strtok_r(NULL, " ", &words);
	const char *root = strtok_r(NULL, " ", &words);
	const char *point = strtok_r(NULL, " ", &words);
	if (!root || !point)
		return false;
	*point_out = tp_strdup(point);
	*root_out = tp_strdup(root);
	return true;
}

/* Line by line: with some hundred containers on the host it is of any length. */
bool tp_cgroup_find_mount(const char *mountinfo, char **point_out, char **root_out)
{
	FILE *file = fopen(mountinfo, "re");
	TP_FREE char *line = NULL;
	size_t room = 0;
	bool found = false;

	while (file && !found && getline(&line, &room, file) > 0)
		found = read_mount(line, point_out, root_out);
	if (file)
		fclose(file);
	return found;
}

/* The directory of this process's own cgroup, or why there is none. */
static char *find_own(char **why_not_out)
{
	TP_FREE char *text = read_or_empty(AT_FDCWD, "/proc/self/cgroup");
	TP_FREE char *own = rest_of_line(text, "0::");
	TP_FREE char *point = NULL;
	TP_FREE char *root = NULL;

	if (!own || !tp_cgroup_find_mount("/proc/self/mountinfo", &point, &root)) {
		*why_not_out = tp_strdup("no cgroup v2 hierarchy is mounted");
		return NULL;
	}
	size_t above = strcmp(root, "/") == 0 ? 0 : strlen(root);
	if (strncmp(own, root, above) != 0 || strstr(own, "/..")) {
		*why_not_out = tp_strdup("this process's cgroup lies outside of what is mounted");
		return NULL;
	}
	return tp_asprintf("%s%s", point, own + above);
}

/* Opens the tree, or says why there is none to be had. */
static int open_root(const char *root, bool plain, char **why_not_out)
{
	struct statfs fs;

	if (root && !*root) {
		*why_not_out = tp_strdup("no cgroup is configured");
		return -1;
	}
	TP_FREE char *path = root ? tp_strdup(root) : find_own(why_not_out);
	if (!path)
		return -1;
	TP_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstatfs(fd, &fs) < 0) {
		*why_not_out = tp_asprintf("%s: %s", path, strerrordesc_np(errno));
		return -1;
	}
	if (!plain && fs.f_type != CGROUP2_SUPER_MAGIC) {
		*why_not_out = tp_asprintf("%s isn't of a cgroup v2 hierarchy", path);
		return -1;
	}
	return TP_TAKE_FD(fd);
}

/* --- What it can do --- */

/* Whether nobody but perhaps this process is in the tree's own cgroup. */
static bool alone(const struct tp_cgroup *cgroup)
{
	TP_FREE char *procs = read_or_empty(cgroup->root_fd, "cgroup.procs");
	TP_FREE char *self = tp_asprintf("%d\n", (int)getpid());

	return !*procs || strcmp(procs, self) == 0;
}

static char *tell_busy(void)
{
	return tp_strdup("the cgroup has processes of its own, and so can't limit groups below it");
}

/* Makes way for groups: this process, if it alone is in the tree's own cgroup. */
static int step_aside(struct tp_cgroup *cgroup)
{
	TP_FREE char *self = tp_asprintf("%d", (int)getpid());

	if (!alone(cgroup))
		return EBUSY;
	if (mkdirat(cgroup->root_fd, SELF_GROUP, 0755) < 0 && errno != EEXIST)
		return errno;
	TP_FD int fd = openat(cgroup->root_fd, SELF_GROUP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? errno : cgroup->write(cgroup->data, fd, "cgroup.procs", self);
}

static int enable(struct tp_cgroup *cgroup, const char *controller)
{
	TP_FREE char *text = tp_asprintf("+%s", controller);
	int wrong = cgroup->write(cgroup->data, cgroup->root_fd, "cgroup.subtree_control", text);

	if (wrong == EBUSY)
		wrong = step_aside(cgroup);
	else
		return wrong;
	return wrong ? wrong
		     : cgroup->write(cgroup->data, cgroup->root_fd, "cgroup.subtree_control", text);
}

/* What enabling would come to. The hierarchy's root (it has no type) may have processes. */
static int foresee(const struct tp_cgroup *cgroup)
{
	bool is_root = faccessat(cgroup->root_fd, "cgroup.type", F_OK, 0) < 0;

	if (faccessat(cgroup->root_fd, "cgroup.subtree_control", W_OK, AT_EACCESS) < 0)
		return errno;
	return is_root || alone(cgroup) ? 0 : EBUSY;
}

/* Why the tree can't enforce it; NULL if it can. */
static char *try_kind(struct tp_cgroup *cgroup, enum kind kind, bool change, const char *offered,
	const char *enabled)
{
	const char *controller = kinds[kind].controller;

	if (!has_word(offered, controller))
		return tp_asprintf("the cgroup has no %s controller", controller);
	if (has_word(enabled, controller))
		return NULL;
	int wrong = change ? enable(cgroup, controller) : foresee(cgroup);
	if (wrong == EBUSY)
		return tell_busy();
	if (wrong)
		return tp_asprintf("the %s controller can't be enabled: %s", controller,
			strerrordesc_np(wrong));
	return NULL;
}

static void find_out(struct tp_cgroup *cgroup, bool change, const char *no_tree)
{
	TP_FREE char *offered = NULL;
	TP_FREE char *enabled = NULL;

	if (!no_tree) {
		offered = read_or_empty(cgroup->root_fd, "cgroup.controllers");
		enabled = read_or_empty(cgroup->root_fd, "cgroup.subtree_control");
	}
	for (enum kind kind = 0; kind < KINDS; kind++)
		cgroup->why_not[kind] = no_tree ? tp_strdup(no_tree)
						: try_kind(cgroup, kind, change, offered, enabled);
}

/* Why the kind can't be limited; NULL if it can. */
static const char *why_not(const struct tp_cgroup *cgroup, enum kind kind)
{
	if (!cgroup->why_not[kind] && kind == IO)
		return cgroup->why_no_disk;
	return cgroup->why_not[kind];
}

static struct tp_cgroup *open_tree(
	const char *root, bool change, bool plain, tp_cgroup_write_fn *write, void *data)
{
	struct tp_cgroup *cgroup = tp_calloc(1, sizeof(*cgroup));
	TP_FREE char *no_tree = NULL;

	cgroup->plain = plain;
	cgroup->write = write;
	cgroup->data = data;
	cgroup->root_fd = open_root(root, plain, &no_tree);
	cgroup->why_no_disk = tp_strdup("no disk was named");
	find_out(cgroup, change, no_tree);
	return cgroup;
}

struct torpor_error *tp_cgroup_open(const char *root, struct tp_cgroup **cgroup_out)
{
	bool plain = getenv("TORPOR_CGROUP_PLAIN");

	*cgroup_out = open_tree(root, true, plain, plain ? write_plain : write_kernel, NULL);
	return NULL;
}

struct torpor_error *tp_cgroup_look(const char *root, struct tp_cgroup **cgroup_out)
{
	*cgroup_out = open_tree(root, false, getenv("TORPOR_CGROUP_PLAIN"), write_kernel, NULL);
	return NULL;
}

struct torpor_error *tp_cgroup_open_with(const char *root, bool change, tp_cgroup_write_fn *write,
	void *data, struct tp_cgroup **cgroup_out)
{
	*cgroup_out = open_tree(root, change, true, write, data);
	return NULL;
}

struct tp_cgroup *tp_cgroup_close(struct tp_cgroup *cgroup)
{
	if (cgroup) {
		tp_close(cgroup->root_fd);
		for (enum kind kind = 0; kind < KINDS; kind++)
			free(cgroup->why_not[kind]);
		free(cgroup->disk);
		free(cgroup->why_no_disk);
		free(cgroup);
	}
	return NULL;
}

/* --- The disk --- */

/*
 * The number of the whole disk under DEVICE, which may be one of its partitions: io.max knows only
 * whole ones. NULL if it is no disk. (Documentation/ABI/stable/sysfs-block)
 */
static char *whole_disk(dev_t device)
{
	TP_FREE char *dir = tp_asprintf("/sys/dev/block/%u:%u", major(device), minor(device));
	TP_FREE char *partition = tp_asprintf("%s/partition", dir);
	TP_FREE char *number =
		tp_asprintf("%s/%s", dir, access(partition, F_OK) == 0 ? "../dev" : "dev");
	char *text = read_or_empty(AT_FDCWD, number);

	text[strcspn(text, "\n")] = '\0';
	if (*text)
		return text;
	free(text);
	return NULL;
}

void tp_cgroup_set_disk(struct tp_cgroup *cgroup, const char *path)
{
	struct stat st;

	free(cgroup->disk);
	free(cgroup->why_no_disk);
	cgroup->disk = stat(path, &st) == 0 ? whole_disk(st.st_dev) : NULL;
	cgroup->why_no_disk =
		cgroup->disk ? NULL : tp_asprintf("%s isn't on a disk of its own", path);
}

const char *tp_cgroup_disk(const struct tp_cgroup *cgroup)
{
	return cgroup->disk;
}

const char *tp_cgroup_why_no_disk(const struct tp_cgroup *cgroup)
{
	return cgroup->why_no_disk;
}

/* --- Placing --- */

static bool asked(const struct tp_limits *limits, enum kind kind)
{
	switch (kind) {
	case CPU:
		return limits->cpus > 0;
	case MEMORY:
		return limits->memory_bytes > 0;
	case PIDS:
		return limits->pids > 0;
	default:
		return limits->io_bytes_per_s > 0;
	}
}

/* What is written to the kind's file for LIMITS, its "none" included. */
static char *value_of(
	const struct tp_cgroup *cgroup, const struct tp_limits *limits, enum kind kind)
{
	uintmax_t io = limits->io_bytes_per_s;
	double quota_us = TP_MIN(limits->cpus, CPUS_MOST) * CPU_PERIOD_US;

	if (!asked(limits, kind))
		return kind == IO ? tp_asprintf("%s rbps=max wbps=max", cgroup->disk)
				  : tp_strdup("max");
	switch (kind) {
	case CPU:
		return tp_asprintf(
			"%ju %d", (uintmax_t)TP_MAX(quota_us, (double)CPU_LEAST_US), CPU_PERIOD_US);
	case MEMORY:
		return tp_asprintf("%ju", (uintmax_t)limits->memory_bytes);
	case PIDS:
		return tp_asprintf("%u", limits->pids);
	default:
		return tp_asprintf("%s rbps=%ju wbps=%ju", cgroup->disk, io, io);
	}
}

static struct torpor_error *set_one(
	const struct tp_cgroup *cgroup, int group_fd, const char *file, const char *value)
{
	int wrong = cgroup->write(cgroup->data, group_fd, file, value);

	return wrong ? tp_error_errno(wrong, "set limit", file) : NULL;
}

static struct torpor_error *set_kind(const struct tp_cgroup *cgroup, int group_fd,
	const struct tp_limits *limits, enum kind kind)
{
	TP_FREE char *value = value_of(cgroup, limits, kind);

	if (kind == MEMORY) {
		uint64_t bytes = limits->memory_bytes;
		TP_FREE char *high = bytes > 0 ? tp_asprintf("%ju", (uintmax_t)(bytes - bytes / 16))
					       : tp_strdup("max");
		TP_TRY(set_one(cgroup, group_fd, MEMORY_HIGH, high));
	}
	return set_one(cgroup, group_fd, kinds[kind].file, value);
}

/* Limits first, so that the process never runs there without them. */
static struct torpor_error *fill_group(const struct tp_cgroup *cgroup, int group_fd, bool fresh,
	pid_t pid, const struct tp_limits *limits)
{
	TP_FREE char *number = tp_asprintf("%d", (int)pid);

	for (enum kind kind = 0; kind < KINDS; kind++)
		if (!why_not(cgroup, kind) && (asked(limits, kind) || !fresh))
			TP_TRY(set_kind(cgroup, group_fd, limits, kind));
	int wrong = cgroup->write(cgroup->data, group_fd, "cgroup.procs", number);
	if (wrong == ESRCH)
		return tp_error(TORPOR_E_NOT_FOUND, "limit process", number, "it has ended");
	return wrong ? tp_error_errno(wrong, "move to its cgroup process", number) : NULL;
}

static char *group_name(const char *name)
{
	return tp_asprintf(PREFIX "%s", name);
}

/* Whether GROUP is still the one that is open as FD. */
static bool is_still(const struct tp_cgroup *cgroup, const char *group, int fd)
{
	struct stat opened, named;

	return fstat(fd, &opened) == 0 &&
	       fstatat(cgroup->root_fd, group, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

/* *SWEPT_OUT: it failed because the group was taken away meanwhile. */
static struct torpor_error *try_place(struct tp_cgroup *cgroup, const char *name, pid_t pid,
	const struct tp_limits *limits, bool *swept_out)
{
	TP_FREE char *group = group_name(name);
	bool fresh = mkdirat(cgroup->root_fd, group, 0755) == 0;

	if (!fresh && errno != EEXIST)
		return tp_error_errno(errno, "make cgroup", group);
	TP_FD int fd =
		openat(cgroup->root_fd, group, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	*swept_out = fd < 0 && errno == ENOENT;
	if (fd < 0)
		return tp_error_errno(errno, "open cgroup", group);
	struct torpor_error *err = fill_group(cgroup, fd, fresh, pid, limits);
	*swept_out = err && !is_still(cgroup, group, fd);
	if (err && fresh && !*swept_out)
		tp_cgroup_remove(cgroup, name);
	return err;
}

/* Until it has its process, a sweep of somebody else's in the same tree takes the group for left.
 */
static struct torpor_error *place_in_group(
	struct tp_cgroup *cgroup, const char *name, pid_t pid, const struct tp_limits *limits)
{
	for (unsigned int attempt = 1;; attempt++) {
		bool swept = false;
		struct torpor_error *err = try_place(cgroup, name, pid, limits, &swept);
		if (!swept || attempt == PLACE_ATTEMPTS)
			return err;
		torpor_error_free(err);
	}
}

static bool has_group(const struct tp_cgroup *cgroup, const char *name)
{
	TP_FREE char *group = group_name(name);

	return cgroup->root_fd >= 0 && faccessat(cgroup->root_fd, group, F_OK, 0) == 0;
}

/* Characters of names and ids; with the prefix before it nothing else can be meant. */
static bool name_ok(const char *name)
{
	size_t len =
		strspn(name, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.");

	return len > 0 && len <= NAME_LEN && name[len] == '\0';
}

static void add_text(json_t *list, const char *limit, const char *why)
{
	TP_FREE char *text = tp_asprintf("%s: %s", limit, why);

	json_array_append_new(list, json_string(text));
}

/* Missing rights make it a wish; that the process is gone is an error. */
static struct torpor_error *limit_files(pid_t pid, uint32_t nofile, json_t *unenforced)
{
	struct rlimit limit = {.rlim_cur = nofile, .rlim_max = nofile};

	if (nofile == 0 || prlimit(pid, RLIMIT_NOFILE, &limit, NULL) == 0)
		return NULL;
	if (errno == EPERM) {
		add_text(unenforced, "nofile", "that limit can't be set: Operation not permitted");
		return NULL;
	}
	TP_FREE char *number = tp_asprintf("%d", (int)pid);
	if (errno == ESRCH)
		return tp_error(TORPOR_E_NOT_FOUND, "limit process", number, "it has ended");
	return tp_error_errno(errno, "limit the files of process", number);
}

static struct torpor_error *place(struct tp_cgroup *cgroup, const char *name, pid_t pid,
	const struct tp_limits *limits, json_t *unenforced)
{
	bool any = false;

	TP_TRY(limit_files(pid, limits->nofile, unenforced));
	for (enum kind kind = 0; kind < KINDS; kind++) {
		if (!asked(limits, kind))
			continue;
		if (why_not(cgroup, kind))
			add_text(unenforced, kinds[kind].limit, why_not(cgroup, kind));
		else
			any = true;
	}
	if (limits->net_bytes_per_s > 0)
		json_array_append_new(unenforced, json_string(NO_NETWORK));
	/* One that is there has limits from before, which end. */
	return any || has_group(cgroup, name) ? place_in_group(cgroup, name, pid, limits) : NULL;
}

struct torpor_error *tp_cgroup_place(struct tp_cgroup *cgroup, const char *name, pid_t pid,
	const struct tp_limits *limits, json_t **unenforced_out)
{
	if (!name_ok(name))
		return tp_error(TORPOR_E_INVALID, "limit", name, "this can't be a name");
	/* To the kernel 0 is whoever asks: this process would get its guest's limits. */
	if (pid <= 0)
		return tp_error(TORPOR_E_NOT_FOUND, "limit process of", name, "it has ended");
	json_t *unenforced = json_array();
	struct torpor_error *err = place(cgroup, name, pid, limits, unenforced);
	if (err) {
		json_decref(unenforced);
		return err;
	}
	*unenforced_out = unenforced;
	return NULL;
}

/* --- Removing --- */

/* A plain directory's files don't go by themselves, as a cgroup's do; nor does a process keep it.
 */
static int remove_plain_files(int root_fd, const char *group)
{
	TP_FD int fd = openat(root_fd, group, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return errno;
	TP_FREE char *procs = read_or_empty(fd, "cgroup.procs");
	int pid = atoi(procs);
	if (pid > 0 && kill(pid, 0) == 0)
		return EBUSY;
	for (enum kind kind = 0; kind < KINDS; kind++)
		unlinkat(fd, kinds[kind].file, 0);
	unlinkat(fd, MEMORY_HIGH, 0);
	unlinkat(fd, "cgroup.procs", 0);
	return 0;
}

static int remove_group(const struct tp_cgroup *cgroup, const char *group)
{
	int wrong = cgroup->plain ? remove_plain_files(cgroup->root_fd, group) : 0;

	if (wrong)
		return wrong;
	return unlinkat(cgroup->root_fd, group, AT_REMOVEDIR) < 0 ? errno : 0;
}

void tp_cgroup_remove(struct tp_cgroup *cgroup, const char *name)
{
	TP_FREE char *group = group_name(name);

	if (cgroup->root_fd < 0 || !name_ok(name))
		return;
	int wrong = remove_group(cgroup, group);
	if (wrong && wrong != ENOENT)
		tp_error_log(tp_error_errno(wrong, "remove cgroup", group));
}

void tp_cgroup_sweep(struct tp_cgroup *cgroup)
{
	struct dirent *entry;

	if (cgroup->root_fd < 0)
		return;
	int fd = openat(cgroup->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		tp_error_log(tp_error_errno(errno, "sweep", "cgroups"));
		tp_close(fd);
		return;
	}
	/* The kernel keeps those with processes: EBUSY. */
	while ((entry = readdir(dir)))
		if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) == 0)
			remove_group(cgroup, entry->d_name);
	closedir(dir);
}

/* --- Telling --- */

void tp_cgroup_can(struct tp_cgroup *cgroup, json_t **can_out, json_t **cannot_out)
{
	json_t *can = json_array(), *cannot = json_array();

	for (enum kind kind = 0; kind < KINDS; kind++)
		if (why_not(cgroup, kind))
			add_text(cannot, kinds[kind].limit, why_not(cgroup, kind));
		else
			add_text(can, kinds[kind].limit, kinds[kind].file);
	add_text(can, "nofile", "RLIMIT_NOFILE");
	json_array_append_new(cannot, json_string(NO_NETWORK));
	*can_out = can;
	*cannot_out = cannot;
}
