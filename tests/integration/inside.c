/* SPDX-License-Identifier: Apache-2.0 */
/* Steps behind the public interface. */
#include "inside.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hex.h"
#include "base/mem.h"
#include "engine/control.h"
#include "snapshot/restore.h"
#include "support.h"

#define PATIENCE	(120 * TP_NSEC_PER_SEC)
#define GENERATION_TEXT 36 /* characters of a GUID */

struct tp_call in_call(void)
{
	return tp_call_within(PATIENCE);
}

void in_stop(struct torpor_session *session)
{
	struct tp_call call = in_call();

	/* As a pause does: a launcher may tell of it, and then somebody looks whether it's known.
	 */
	it_ok(tp_session_enter(session, false, &call));
	it_ok(tp_guest_stop(session->guest, &call));
	tp_session_set_state(session, TORPOR_SESSION_PAUSED);
	tp_session_leave(session);
}

void in_cont(struct torpor_session *session)
{
	struct tp_call call = in_call();

	it_ok(tp_session_enter(session, false, &call));
	it_ok(tp_guest_cont(session->guest, &call, NULL));
	tp_session_set_state(session, TORPOR_SESSION_RUNNING);
	tp_session_leave(session);
}

/* --- Images --- */

struct tp_image_stats in_save(struct torpor_session *session, enum tp_path path,
	enum tp_scan_method scan, const char *name)
{
	const struct tp_base *base = session->memory.base;
	struct tp_capture_options wanted = {.path = path, .scan = scan};
	struct tp_image_writer_options options = {
		.dirfd = session->engine->images_fd,
		.name = name,
		.base_fd = base ? base->fd : -1,
		.device_prefix = base ? base->device : NULL,
		.device_prefix_len = base ? base->device_len : 0,
		.workers = session->engine->workers,
		.staging = session->engine->staging,
	};
	struct tp_call call = in_call();
	TP_CAPTURE struct tp_capture capture = {0};
	TP_CLEANUP(tp_image_writer_free) struct tp_image_writer *writer = NULL;
	struct tp_image_stats stats;
	enum tp_path chosen;
	uint64_t pages;

	it_ok(tp_capture_prepare(
		session->guest, &session->memory, &wanted, &call, &chosen, &pages));
	it_ok(tp_image_writer_new(&options, &call, &writer));
	it_ok(tp_capture_run(
		session->guest, &session->memory, chosen, scan, writer, &call, &capture));
	it_ok(tp_capture_commit(&capture, &session->memory, session->tmpl->base->id,
		&session->record, writer, &call, &stats));
	if (base) {
		cr_assert_eq(capture.path, path);
		if (path == TP_PATH_DIRECT && scan != TP_SCAN_AUTO)
			cr_assert_eq(capture.scan, scan);
	}
	return stats;
}

void in_remove(struct torpor_engine *engine, const char *name)
{
	cr_assert_eq(unlinkat(engine->images_fd, name, 0), 0, "%s can't be removed", name);
}

static struct torpor_error *keep_pages(
	void *data, const uint64_t *pages, const uint8_t *bytes, unsigned int n)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct in_pages *into = data;

	pthread_mutex_lock(&lock);
	for (unsigned int i = 0; i < n; i++) {
		into->count += !into->stored[pages[i]];
		into->stored[pages[i]] = true;
		memcpy(into->bytes + pages[i] * TP_PAGE_SIZE, bytes + i * TP_PAGE_SIZE,
			TP_PAGE_SIZE);
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}

static uint8_t *map_memory(uint64_t len, int fd)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	void *bytes = mmap(NULL, len, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, fd, 0);

	cr_assert_neq(bytes, MAP_FAILED);
	return bytes;
}

struct in_pages in_pages_load(struct torpor_session *session, const char *name)
{
	struct torpor_engine *engine = session->engine;
	struct tp_call call = in_call();
	struct in_pages pages = {0};
	TP_CLEANUP(tp_image_close) struct tp_image *image = NULL;

	it_ok(tp_image_open(engine->images_fd, name, &call, &image));
	pages.space = tp_image_space_size(image);
	pages.stored = tp_calloc(pages.space, sizeof(*pages.stored));
	pages.bytes = map_memory(pages.space * TP_PAGE_SIZE, -1);
	it_ok(tp_image_load(
		image, session->tmpl->base->fd, engine->workers, keep_pages, &pages, &call));
	return pages;
}

void in_pages_deinit(struct in_pages *pages)
{
	free(pages->stored);
	munmap(pages->bytes, pages->space * TP_PAGE_SIZE);
}

struct tp_shell *in_restore(struct torpor_session *session, const char *name, enum tp_path path)
{
	struct torpor_engine *engine = session->engine;
	struct tp_call call = in_call();
	TP_CLEANUP(tp_image_close) struct tp_image *image = NULL;
	TP_RECORD struct tp_record record = {0};
	struct tp_shell *shell;
	enum tp_path used;
	bool waited;

	it_ok(tp_image_open(engine->images_fd, name, &call, &image));
	it_ok(tp_record_parse(tp_image_meta(image)->config, name, &record));
	if (tp_image_meta(image)->kind == TP_IMAGE_FULL)
		it_ok(tp_shell_start_own(session->tmpl, &record.guest, &call, &shell));
	else
		it_ok(tp_shell_take(session->tmpl, &call, &waited, &shell));
	it_ok(tp_restore_check(image, &record, shell->memory.base,
		tp_qmp_version(tp_guest_qmp(shell->guest)), name));
	it_ok(tp_restore(
		shell->guest, &shell->memory, &record, image, path, engine->workers, &call, &used));
	if (shell->memory.base)
		cr_assert_eq(used, path);
	return shell;
}

/* --- Memory as QEMU tells it --- */

/* QEMU, which may run as another user, writes physical memory into a file; that has no name then.
 */
static int save_physical(struct tp_guest *guest, uint64_t address, uint64_t len)
{
	struct tp_call call = in_call();
	char dir[] = "/tmp/torpor-it-XXXXXX";

	cr_assert(mkdtemp(dir) && chmod(dir, 0711) == 0);
	TP_FREE char *path = tp_asprintf("%s/physical", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	cr_assert(fd >= 0 && fchmod(fd, 0666) == 0);
	json_t *args = json_pack("{s:I, s:I, s:s}", "val", (json_int_t)address, "size",
		(json_int_t)len, "filename", path);
	it_ok(tp_guest_execute(guest, "pmemsave", args, -1, &call, NULL));
	unlink(path);
	rmdir(dir);
	return fd;
}

uint8_t *in_read_physical(struct tp_guest *guest, uint64_t address, uint64_t len)
{
	TP_FD int fd = save_physical(guest, address, len);
	uint8_t *bytes = tp_malloc(len);

	it_ok(tp_pread_full(fd, bytes, len, 0, "physical memory"));
	return bytes;
}

static void swap_bytes(uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n / 2; i++) {
		uint8_t byte = bytes[i];
		bytes[i] = bytes[n - 1 - i];
		bytes[n - 1 - i] = byte;
	}
}

/* The first three fields of a GUID are little-endian in the guest's memory. */
static void read_generation(struct tp_guest *guest, uint8_t *generation)
{
	struct tp_call call = in_call();
	char digits[2 * 16 + 1];
	json_t *result;
	size_t n = 0;

	it_ok(tp_guest_execute(guest, "query-vm-generation-id", NULL, -1, &call, &result));
	const char *guid = json_string_value(json_object_get(result, "guid"));
	cr_assert(guid && strlen(guid) == GENERATION_TEXT);
	for (size_t i = 0; i < GENERATION_TEXT; i++) {
		if (guid[i] != '-')
			digits[n++] = guid[i];
	}
	digits[n] = '\0';
	cr_assert(tp_unhex(digits, generation, 16));
	json_decref(result);
	swap_bytes(generation, 4);
	swap_bytes(generation + 4, 2);
	swap_bytes(generation + 6, 2);
}

struct in_ram in_ram_read(struct tp_guest *guest, const struct tp_guest_config *config)
{
	TP_FD int fd = save_physical(guest, 0, config->memory_bytes);
	struct in_ram ram = {
		.len = config->memory_bytes,
		.bytes = map_memory(config->memory_bytes, fd),
		.has_generation = config->machine != TP_MACHINE_MICROVM,
		.has_kvmclock = config->accel == TP_ACCEL_KVM,
	};

	if (ram.has_generation)
		read_generation(guest, ram.generation);
	return ram;
}

void in_ram_deinit(struct in_ram *ram)
{
	munmap(ram->bytes, ram->len);
}

/* Where the generation is the only difference of a page; otherwise the first difference. */
static bool only_generation(
	const struct in_ram *before, const struct in_ram *after, uint64_t page, uint64_t *at_out)
{
	const uint8_t *a = before->bytes + page;
	const uint8_t *b = after->bytes + page;
	uint8_t with_old[TP_PAGE_SIZE];

	memcpy(with_old, b, TP_PAGE_SIZE);
	for (uint64_t i = 0; before->has_generation && i + 16 <= TP_PAGE_SIZE; i++) {
		if (memcmp(b + i, after->generation, 16) != 0)
			continue;
		memcpy(with_old + i, before->generation, 16);
		if (memcmp(a, with_old, TP_PAGE_SIZE) == 0)
			return true;
	}
	for (*at_out = page; *a == *b; a++, b++)
		++*at_out;
	return false;
}

/*
 * The host's kernel writes the clock that KVM shows a guest (struct pvclock_vcpu_time_info in
 * asm/pvclock-abi.h) whenever its vCPU has been given state, also before it runs.
 */
static bool only_kvmclock(const struct in_ram *before, const struct in_ram *after, uint64_t at)
{
	enum { CLOCK_LEN = 32, SCALE = 24, SCALE_LEN = 5 };
	const uint8_t *a = before->bytes + at;
	const uint8_t *b = after->bytes + at;
	uint64_t rest = TP_PAGE_SIZE - at % TP_PAGE_SIZE;

	/* The version, which comes first, is the first that differs; it is even at rest. */
	return before->has_kvmclock && at % 4 == 0 && rest >= CLOCK_LEN && *b % 2 == 0 &&
	       memcmp(a + SCALE, b + SCALE, SCALE_LEN) == 0 &&
	       memcmp(a + CLOCK_LEN, b + CLOCK_LEN, rest - CLOCK_LEN) == 0;
}

void in_ram_compare(const struct in_ram *before, const struct in_ram *after, const char *what)
{
	unsigned int generations = 0;
	unsigned int clocks = 0;
	unsigned int wrong = 0;
	uint64_t first_wrong = 0;

	cr_assert_eq(before->len, after->len);
	for (uint64_t page = 0; page < before->len; page += TP_PAGE_SIZE) {
		uint64_t at;
		if (memcmp(before->bytes + page, after->bytes + page, TP_PAGE_SIZE) == 0)
			continue;
		if (only_generation(before, after, page, &at))
			generations++;
		else if (only_kvmclock(before, after, at))
			clocks++;
		else if (wrong++ == 0)
			first_wrong = at;
	}
	cr_assert_eq(wrong, 0, "%s: %u pages of memory differ, the first at 0x%jx", what, wrong,
		(uintmax_t)first_wrong);
	cr_assert_leq(generations, 1, "%s: the generation is in more than one place", what);
	cr_assert_leq(clocks, 1, "%s: the clock is in more than one place", what);
}

/* --- Reboots --- */

void in_reboot(struct torpor_session *session)
{
	static const char *const argv[] = {"reboot", "-f", NULL};
	struct torpor_call bound = {.timeout_ns = PATIENCE};
	struct tp_call call = in_call();
	struct torpor_exec_result result;
	struct torpor_session_info info;

	/* Its end comes in the midst of this call, so that this one fails. */
	struct torpor_error *err =
		torpor_session_exec(session, &(struct torpor_exec){.argv = argv}, &bound, &result);
	cr_assert(err && torpor_error_code(err) != TORPOR_E_TIMEOUT, "the guest doesn't reset");
	torpor_error_free(err);
	do {
		/* Calls wait for a guest that boots; before that they fail. */
		torpor_error_free(torpor_session_ping(session, NULL, NULL));
		it_ok(tp_call_check(&call, "wait for reboot", NULL));
		it_ok(torpor_session_info(session, &info));
		cr_assert_neq(info.state, TORPOR_SESSION_ENDED);
	} while (info.state != TORPOR_SESSION_RUNNING || info.reboots == 0);
	cr_assert_eq(info.reboots, 1);
	cr_assert_not(info.has_base);
}
