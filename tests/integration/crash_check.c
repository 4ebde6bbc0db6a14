/* SPDX-License-Identifier: Apache-2.0 */
/* What must be true of records, processes and files while nothing is under way. */
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/hex.h"
#include "base/mem.h"
#include "crash_priv.h"
#include "storage/audit.h"

#define SETTLED_WITHIN_MS 20000
#define EVERY_MS	  20
#define PROC_MAX	  (64 * 1024)

/* --- processes --- */

/* One that libvirt runs has another environment, and in its name the pid of who wanted it. */
static bool is_domain_of_world(const char *pid)
{
	TP_FREE char *path = tp_asprintf("/proc/%s/cmdline", pid);
	TP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	TP_FREE char *text = tp_malloc(PROC_MAX);
	ssize_t len = fd < 0 ? -1 : read(fd, text, PROC_MAX - 1);

	if (len <= 0)
		return false;
	text[len] = '\0';
	const char *name = memmem(text, (size_t)len, "guest=", strlen("guest="));
	for (size_t i = 0; name && i < world.n_pids; i++) {
		TP_FREE char *in_name = tp_asprintf("-%d-", (int)world.pids[i]);
		if (strstr(name, in_name))
			return true;
	}
	return false;
}

static bool has_mark(const char *pid)
{
	const char *launcher = getenv("TORPOR_LAUNCHER");

	if (launcher && strcmp(launcher, "libvirt") == 0)
		return is_domain_of_world(pid);

	TP_FREE char *path = tp_asprintf("/proc/%s/environ", pid);
	TP_FREE char *mark = tp_asprintf(WORLD_MARK "=%s", world.dir);
	TP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	TP_FREE char *text = tp_malloc(PROC_MAX);
	ssize_t len = fd < 0 ? -1 : read(fd, text, PROC_MAX - 1);

	if (len <= 0)
		return false;
	text[len] = '\0';
	for (const char *at = text; at < text + len; at += strlen(at) + 1) {
		if (strcmp(at, mark) == 0)
			return true;
	}
	return false;
}

static bool is_qemu(const char *pid)
{
	TP_FREE char *path = tp_asprintf("/proc/%s/exe", pid);
	char exe[256];
	ssize_t len = readlink(path, exe, sizeof(exe) - 1);

	if (len <= 0)
		return false;
	exe[len] = '\0';
	return strstr(exe, "qemu-system") || strstr(exe, "torpor-exec");
}

/* Guests of this world, each sent SIGNAL (0: none). A zombie has no environment any more. */
static unsigned int each_guest(int number)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	unsigned int count = 0;

	while (proc && (entry = readdir(proc))) {
		const char *pid = entry->d_name;
		if (pid[0] < '1' || pid[0] > '9' || !is_qemu(pid) || !has_mark(pid))
			continue;
		kill(atoi(pid), number);
		count++;
	}
	if (proc)
		closedir(proc);
	return count;
}

unsigned int world_end_guests(void)
{
	unsigned int count = each_guest(SIGKILL);

	while (each_guest(0) > 0)
		poll(NULL, 0, EVERY_MS);
	return count;
}

static bool has_session(const char *pid)
{
	return *world_ask("SELECT id FROM sessions WHERE json_extract(handover, '$.pid') = %s",
		       pid) != '\0';
}

static uint64_t cpu_of(pid_t pid)
{
	struct timespec used;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) < 0)
		return 0;
	return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

pid_t world_warm_guest(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	uint64_t most = 0;
	pid_t warm = 0;

	/* A shell has run nothing yet. */
	while (proc && (entry = readdir(proc))) {
		const char *pid = entry->d_name;
		if (pid[0] < '1' || pid[0] > '9' || !is_qemu(pid) || !has_mark(pid) ||
			has_session(pid))
			continue;
		uint64_t used = cpu_of(atoi(pid));
		if (used > most) {
			most = used;
			warm = atoi(pid);
		}
	}
	if (proc)
		closedir(proc);
	if (warm == 0)
		world_complain("no guest waits");
	return warm;
}

/* --- what is wrong: "" if nothing --- */

struct finding {
	char text[512];
};

static void find(struct finding *finding, const char *format, ...) TP_PRINTF(2, 3);

/* The first one counts. */
static void find(struct finding *finding, const char *format, ...)
{
	va_list ap;

	if (finding->text[0])
		return;
	va_start(ap, format);
	vsnprintf(finding->text, sizeof(finding->text), format, ap);
	va_end(ap);
}

/* SQL that gives something only if it is wrong. */
static void none(struct finding *finding, const char *what, const char *sql)
{
	const char *answer = world_ask("%s", sql);

	if (*answer)
		find(finding, "%s: %s", what, answer);
}

static void look_at_rows(struct finding *finding)
{
	none(finding, "it is recorded in a state that doesn't last",
		"SELECT id || ' ' || state FROM sessions"
		" WHERE state NOT IN ('running', 'paused', 'parked', 'error')");
	none(finding, "handover and state don't fit",
		"SELECT id || ' ' || state FROM sessions"
		" WHERE (handover IS NOT NULL) <> (state IN ('running', 'paused'))");
	none(finding, "it is parked without image",
		"SELECT id FROM sessions WHERE state = 'parked' AND park_uuid IS NULL");
	none(finding, "its park and its image's row don't fit",
		"SELECT s.id || ' ' || s.park_bytes || ' ' || coalesce(i.bytes, 'none')"
		" FROM sessions s LEFT JOIN images i ON i.name = s.id AND i.kind = 'park'"
		" WHERE coalesce(i.bytes, 0) <> s.park_bytes"
		" OR (i.name IS NULL) <> (s.park_uuid IS NULL)");
	none(finding, "usage is not what a recount gives",
		"WITH counted AS (SELECT s.tenant AS tenant, count(*) AS n,"
		"  sum(s.handover IS NOT NULL) AS live,"
		"  sum(iif(s.handover IS NULL, 0, s.memory_bytes)) AS memory,"
		"  sum(s.state = 'parked') AS parked,"
		"  (SELECT coalesce(sum(bytes), 0) FROM images WHERE tenant = s.tenant) AS bytes"
		"  FROM sessions s GROUP BY s.tenant)"
		" SELECT u.tenant FROM usage u LEFT JOIN counted c ON c.tenant = u.tenant"
		" WHERE u.tenant <> '' AND (u.sessions <> coalesce(c.n, 0)"
		"  OR u.live <> coalesce(c.live, 0) OR u.parked <> coalesce(c.parked, 0)"
		"  OR u.live_memory_bytes <> coalesce(c.memory, 0)"
		"  OR u.image_bytes <> coalesce(c.bytes, 0))");
	none(finding, "the usage of all is not the sum",
		"SELECT 'all' FROM usage a WHERE a.tenant = '' AND"
		" (a.sessions <> (SELECT count(*) FROM sessions)"
		" OR a.image_bytes <> (SELECT coalesce(sum(bytes), 0) FROM images))");
}

static void look_at_images(struct finding *finding)
{
	TP_FREE char *path = tp_asprintf("%s/images", world.state_dir);
	DIR *dir = opendir(path);
	struct dirent *entry;
	int files = 0;

	while (dir && (entry = readdir(dir))) {
		struct stat st;
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		files++;
		const char *bytes =
			world_ask("SELECT bytes FROM images WHERE name = '%s'", entry->d_name);
		if (!*bytes)
			find(finding, "images/%s has no row", entry->d_name);
		else if (fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 &&
			 st.st_size != atoll(bytes))
			find(finding, "images/%s has %jd bytes, by its row %s", entry->d_name,
				(intmax_t)st.st_size, bytes);
	}
	if (!dir)
		find(finding, "%s can't be listed", path);
	else
		closedir(dir);
	if (files != atoi(world_ask("SELECT count(*) FROM images")))
		find(finding, "%d image files, %s rows", files,
			world_ask("SELECT count(*) FROM images"));
}

static void look_at_directories(struct finding *finding, unsigned int live)
{
	TP_FREE char *path = tp_asprintf("%s/run", world.state_dir);
	DIR *dir = opendir(path);
	struct dirent *entry;
	unsigned int of_sessions = 0;
	unsigned int all = 0;

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		all++;
		of_sessions += *world_ask("SELECT id FROM sessions"
					  " WHERE json_extract(handover, '$.guest') = '%s'",
				       entry->d_name) != '\0';
	}
	if (dir)
		closedir(dir);
	if (of_sessions != live || all != live + 2 * world.stock)
		find(finding,
			"%u directories in run/, %u of sessions; %u sessions have guests, %u wait",
			all, of_sessions, live, 2 * world.stock);
}

static void look_at_processes(struct finding *finding, unsigned int live)
{
	unsigned int guests = each_guest(0);

	if (guests != live + 2 * world.stock)
		find(finding, "%u processes; %u sessions have guests, %u wait", guests, live,
			2 * world.stock);
	for (unsigned int i = 0; i < live; i++) {
		const char *pid =
			world_ask("SELECT json_extract(handover, '$.pid') FROM sessions"
				  " WHERE handover IS NOT NULL ORDER BY id LIMIT 1 OFFSET %u",
				i);
		if (!is_qemu(pid) || !has_mark(pid))
			find(finding, "process %s of a session isn't there", pid);
	}
}

static void look_at_names(struct finding *finding)
{
	static const char *const known[] = {".", "..", "accel.json", "audit.log", "images",
		"login.key", "qemu.json", "records.db", "records.db-shm", "records.db-wal",
		"records.db.lock", "run", "templates", "torpord.lock"};
	DIR *dir = opendir(world.state_dir);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		bool is_known = false;
		for (size_t i = 0; i < TP_ARRAY_LEN(known); i++)
			is_known = is_known || strcmp(known[i], entry->d_name) == 0;
		if (!is_known)
			find(finding, "the state directory has \"%s\"", entry->d_name);
	}
	if (dir)
		closedir(dir);
}

static bool unhex(const char *hex, uint8_t *bytes, size_t n)
{
	if (strlen(hex) != 2 * n)
		return false;
	for (size_t i = 0; i < n; i++) {
		unsigned int byte;
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			return false;
		bytes[i] = (uint8_t)byte;
	}
	return true;
}

static void look_at_audit(struct finding *finding)
{
	TP_FREE char *path = tp_asprintf("%s/audit.log", world.state_dir);
	const char *head = world_ask("SELECT seq || ' ' || hex(hash) FROM audit_head");
	uint8_t hash[TP_HASH_LEN];
	char *end;
	uint64_t seq = strtoull(head, &end, 10);
	struct tp_audit_report report;

	if (*end != ' ' || !unhex(end + 1, hash, sizeof(hash))) {
		find(finding, "the head of the audit log is \"%s\"", head);
		return;
	}
	struct torpor_error *err = tp_audit_verify(path, seq, hash, &report);
	if (err)
		find(finding, "%s", torpor_error_message(err));
	torpor_error_free(err);
}

static json_t *get(struct finding *finding, const char *path)
{
	char *answer = NULL;
	struct torpor_error *err = world_try("GET", path, NULL, &answer);
	json_t *json = err ? NULL : json_loads(answer, 0, NULL);

	if (!json)
		find(finding, "GET %s: %s", path, err ? torpor_error_message(err) : "no JSON");
	torpor_error_free(err);
	free(answer);
	return json;
}

static void expect(struct finding *finding, const json_t *json, const char *key, const char *sql)
{
	json_int_t shown = json_integer_value(json_object_get(json, key));
	const char *counted = world_ask("%s", sql);

	if (shown != atoll(counted))
		find(finding, "torpord counts %s %jd, the records %s", key, (intmax_t)shown,
			counted);
}

/* What torpord says is what the records say. */
static void look_at_views(struct finding *finding)
{
	json_t *pool = get(finding, "/v1/pool");
	json_t *host = json_object_get(pool, "host");
	json_t *states = json_object_get(host, "sessions");
	const char *state;
	json_t *count;

	expect(finding, host, "guests", "SELECT count(*) FROM sessions WHERE handover IS NOT NULL");
	expect(finding, host, "image_bytes", "SELECT coalesce(sum(bytes), 0) FROM images");
	json_object_foreach (states, state, count) {
		TP_FREE char *sql =
			tp_asprintf("SELECT count(*) FROM sessions WHERE state = '%s'", state);
		expect(finding, states, state, sql);
	}
	json_decref(pool);
}

static struct finding look(void)
{
	struct finding finding = {0};
	unsigned int live = (unsigned int)atoi(
		world_ask("SELECT count(*) FROM sessions WHERE handover IS NOT NULL"));

	look_at_rows(&finding);
	look_at_images(&finding);
	look_at_directories(&finding, live);
	look_at_processes(&finding, live);
	look_at_names(&finding);
	look_at_audit(&finding);
	if (world_lives())
		look_at_views(&finding);
	return finding;
}

void world_check(void)
{
	struct finding finding = {0};

	for (int waited_ms = 0; waited_ms < SETTLED_WITHIN_MS; waited_ms += EVERY_MS) {
		finding = look();
		if (!finding.text[0])
			return;
		poll(NULL, 0, EVERY_MS);
	}
	world_complain("%s", finding.text);
}

void world_check_at_once(void)
{
	if (world.stock > 0) {
		world_check(); /* stock isn't waited for */
		return;
	}
	struct finding finding = look();
	if (finding.text[0])
		world_complain("%s", finding.text);
}
