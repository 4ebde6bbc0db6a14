/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs over QMP. */
#include "engine/control.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "engine/launcher.h"

/* The name under which a descriptor lies in QEMU until a migration takes it. */
#define FD_NAME "torpor"

/* Bytes a second: no limit in effect (the default is 128 MiB/s). */
#define BANDWIDTH_MAX (INT64_C(1) << 40)

#define CANCEL_TIMEOUT_NS (5 * TP_NSEC_PER_SEC)

/* A command without result or descriptor. Takes ARGS. */
static struct torpor_error *run(
	struct tp_guest *guest, const char *command, json_t *args, const struct tp_call *call)
{
	return tp_guest_execute(guest, command, args, -1, call, NULL);
}

/* ---- running ---- */

struct torpor_error *tp_guest_stop(struct tp_guest *guest, const struct tp_call *call)
{
	return run(guest, "stop", NULL, call);
}

static struct torpor_error *no_sense(struct tp_guest *guest, const char *command)
{
	return tp_error(TORPOR_E_QEMU, command, tp_guest_name(guest), "its reply is malformed");
}

struct torpor_error *tp_guest_query_status(
	struct tp_guest *guest, const struct tp_call *call, char **status_out)
{
	json_t *result;
	struct torpor_error *err = NULL;

	TP_TRY(tp_guest_execute(guest, "query-status", NULL, -1, call, &result));
	const char *status = json_string_value(json_object_get(result, "status"));
	if (status)
		*status_out = tp_strdup(status);
	else
		err = no_sense(guest, "query-status");
	json_decref(result);
	return err;
}

/* After a `cont` that changed nothing: because the guest ran, or because it can't yet. */
static struct torpor_error *check_running(struct tp_guest *guest, const struct tp_call *call)
{
	TP_FREE char *status = NULL;

	TP_TRY(tp_guest_query_status(guest, call, &status));
	if (strcmp(status, "running") != 0)
		return tp_error(
			TORPOR_E_BUSY, "cont", tp_guest_name(guest), "its state is %s", status);
	return NULL;
}

struct torpor_error *tp_guest_cont(
	struct tp_guest *guest, const struct tp_call *call, uint64_t *resumed_ns_out)
{
	static const char *const resume[] = {"RESUME", NULL};
	TP_QMP_EVENT struct tp_qmp_event event = {0};
	uint64_t resumed_ns;

	tp_qmp_forget_events(tp_guest_qmp(guest), resume);
	uint64_t sent_ns = tp_now_ns();
	TP_TRY(run(guest, "cont", NULL, call));
	/* QEMU starts the vCPUs before it replies, and tells so before its reply. Its account is by
	 * the clock of the day: one that was set forward since would have it before it was asked.
	 */
	if (tp_qmp_take_event(tp_guest_qmp(guest), resume, &event)) {
		resumed_ns = TP_MAX(tp_qmp_event_time(&event), sent_ns);
	} else {
		TP_TRY(check_running(guest, call));
		resumed_ns = tp_now_ns();
	}
	if (resumed_ns_out)
		*resumed_ns_out = resumed_ns;
	return NULL;
}

/* ---- device state ---- */

/*
 * Hands FD to a new set of descriptors. Its number is ours, so that it can be taken back where the
 * answer didn't come; whether QEMU ever got it isn't known then.
 */
static struct torpor_error *add_fd(
	struct tp_guest *guest, int fd, const struct tp_call *call, int64_t *set_out)
{
	struct tp_call soon = tp_call_within(CANCEL_TIMEOUT_NS);
	json_int_t set = ++guest->last_set;
	struct torpor_error *err = tp_guest_execute(
		guest, "add-fd", json_pack("{s:I}", "fdset-id", set), fd, call, NULL);

	if (err) {
		torpor_error_free(
			run(guest, "remove-fd", json_pack("{s:I}", "fdset-id", set), &soon));
		return err;
	}
	*set_out = set;
	return NULL;
}

void tp_device_file_deinit(struct tp_device_file *file)
{
	file->read_fd = tp_close(file->read_fd);
	file->write_fd = tp_close(file->write_fd);
}

struct torpor_error *tp_device_file_init(
	struct tp_device_file *file, struct tp_guest *guest, const struct tp_call *call)
{
	TP_FD int read_fd = -1;
	int64_t set = -1;

	if (guest->traits & TP_QEMU_NO_SAVE_DEVICES)
		return tp_error(TORPOR_E_UNSUPPORTED, "open for device state of",
			tp_guest_name(guest), "its QEMU has no xen-save-devices-state");
	TP_TRY(tp_memfd("torpor-devices", 0, &read_fd));
	TP_FREE char *path = tp_asprintf("/proc/self/fd/%d", read_fd);
	/* QEMU wants to write only, and takes a descriptor of a set only if it can do just that. */
	TP_FD int write_fd = open(path, O_WRONLY | O_CLOEXEC);
	if (write_fd < 0)
		return tp_error_errno(errno, "open for device state of", tp_guest_name(guest));
	TP_TRY(add_fd(guest, write_fd, call, &set));
	*file = (struct tp_device_file){
		.read_fd = TP_TAKE_FD(read_fd), .write_fd = TP_TAKE_FD(write_fd), .set = set};
	return NULL;
}

struct torpor_error *tp_guest_save_devices(
	struct tp_guest *guest, const struct tp_device_file *file, const struct tp_call *call)
{
	/* QEMU's copy of the descriptor has its offset in common with ours. */
	if (ftruncate(file->write_fd, 0) < 0 || lseek(file->write_fd, 0, SEEK_SET) < 0)
		return tp_error_errno(errno, "rewind device state of", tp_guest_name(guest));
	TP_FREE char *name = tp_asprintf("/dev/fdset/%lld", (long long)file->set);
	/*
	 * live=false: live=true inactivates the block devices of a stopped guest, and doing so
	 * twice aborts 7.2.
	 */
	return run(guest, "xen-save-devices-state",
		json_pack("{s:s, s:b}", "filename", name, "live", 0), call);
}

/* ---- migration ---- */

static json_t *capability(const char *name, bool on)
{
	return json_pack("{s:s, s:b}", "capability", name, "state", (int)on);
}

struct torpor_error *tp_guest_set_capability(
	struct tp_guest *guest, const char *name, bool on, const struct tp_call *call)
{
	struct torpor_error *err = run(guest, "migrate-set-capabilities",
		json_pack("{s:[o]}", "capabilities", capability(name, on)), call);

	/* An unknown name is refused by the parser of the arguments. */
	if (err && strstr(torpor_error_message(err), "does not accept value"))
		return tp_error_recode(err, TORPOR_E_UNSUPPORTED);
	return err;
}

/* What both directions need: events that tell the progress, and the descriptor in QEMU. */
static struct torpor_error *prepare(
	struct tp_guest *guest, int fd, bool ignore_shared, const struct tp_call *call)
{
	json_t *capabilities = json_pack("{s:[o, o]}", "capabilities", capability("events", true),
		capability("x-ignore-shared", ignore_shared));

	TP_TRY(run(guest, "migrate-set-capabilities", capabilities, call));
	return tp_guest_execute(
		guest, "getfd", json_pack("{s:s}", "fdname", FD_NAME), fd, call, NULL);
}

/* Why a migration failed, where QEMU is still there to be asked. */
static struct torpor_error *failure(
	struct tp_guest *guest, const char *step, const struct tp_call *call)
{
	json_t *info;

	TP_TRY(tp_guest_execute(guest, "query-migrate", NULL, -1, call, &info));
	const char *desc = json_string_value(json_object_get(info, "error-desc"));
	struct torpor_error *err = tp_error(TORPOR_E_QEMU, step, tp_guest_name(guest), "%s",
		desc ? desc : "the migration failed, and QEMU doesn't say why");
	json_decref(info);
	return err;
}

/* Waits until the migration under way has completed. */
static struct torpor_error *await_completion(
	struct tp_guest *guest, const char *step, const struct tp_call *call)
{
	static const char *const migration[] = {"MIGRATION", NULL};

	for (;;) {
		TP_QMP_EVENT struct tp_qmp_event event = {0};
		TP_TRY(tp_guest_wait_event(guest, migration, call, &event));
		const char *status = json_string_value(json_object_get(event.data, "status"));
		if (!status)
			return no_sense(guest, step);
		if (strcmp(status, "completed") == 0)
			return NULL;
		if (strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0)
			return failure(guest, step, call);
	}
}

/*
 * QEMU says "completed" a moment before it leaves the state "finish-migrate", in which it refuses
 * `cont`; nothing tells of that last step, so it is asked for. It is due at once: QEMU's migration
 * thread only waits for the lock that each answer gives back.
 */
static struct torpor_error *await_postmigrate(struct tp_guest *guest, const struct tp_call *call)
{
	for (;;) {
		TP_FREE char *status = NULL;
		TP_TRY(tp_guest_query_status(guest, call, &status));
		if (strcmp(status, "finish-migrate") != 0)
			return NULL;
	}
}

/*
 * "fd:" is for sockets and pipes, in all versions. (For files it is deprecated since 9.1, QEMU:
 * docs/about/deprecated.rst; that is why no state goes into one directly.)
 */
static struct torpor_error *start(
	struct tp_guest *guest, const char *command, json_t *args, const struct tp_call *call)
{
	static const char *const migration[] = {"MIGRATION", "MIGRATION_PASS", NULL};

	tp_qmp_forget_events(tp_guest_qmp(guest), migration);
	json_object_set_new(args, "uri", json_string("fd:" FD_NAME));
	return run(guest, command, args, call);
}

/* Whether ERR says that the call was over before the answer came. */
static bool is_over(const struct torpor_error *err)
{
	return err && (torpor_error_code(err) == TORPOR_E_TIMEOUT ||
			      torpor_error_code(err) == TORPOR_E_CANCELLED);
}

static struct torpor_error *cancel_migration(struct tp_guest *guest, const struct tp_call *call)
{
	static const char *const migration[] = {"MIGRATION", NULL};

	TP_TRY(run(guest, "migrate_cancel", NULL, call));
	for (;;) {
		TP_QMP_EVENT struct tp_qmp_event event = {0};
		TP_TRY(tp_guest_wait_event(guest, migration, call, &event));
		const char *status = json_string_value(json_object_get(event.data, "status"));
		if (status && (strcmp(status, "completed") == 0 || strcmp(status, "failed") == 0 ||
				      strcmp(status, "cancelled") == 0))
			return await_postmigrate(guest, call);
	}
}

/*
 * Whether it is under way is asked for, since its beginning or end may not have been heard. What is
 * said from then on is, so no end of it is missed.
 */
struct torpor_error *tp_guest_migrate_cancel(struct tp_guest *guest, const struct tp_call *call)
{
	static const char *const under_way[] = {
		"setup", "active", "pre-switchover", "device", "cancelling"};
	json_t *info;
	bool is = false;

	TP_TRY(tp_guest_execute(guest, "query-migrate", NULL, -1, call, &info));
	const char *status = json_string_value(json_object_get(info, "status"));
	for (size_t i = 0; status && i < TP_ARRAY_LEN(under_way); i++)
		is = is || strcmp(status, under_way[i]) == 0;
	json_decref(info);
	return is ? cancel_migration(guest, call) : await_postmigrate(guest, call);
}

/*
 * A guest that a migration left stopped can't be migrated again before it has run (QEMU:
 * migration/migration.c, migrate_prepare), so it does, for a moment.
 */
static struct torpor_error *leave_postmigrate(struct tp_guest *guest, const struct tp_call *call)
{
	TP_FREE char *status = NULL;

	TP_TRY(tp_guest_query_status(guest, call, &status));
	if (strcmp(status, "postmigrate") != 0)
		return NULL;
	TP_TRY(tp_guest_cont(guest, call, NULL));
	return tp_guest_stop(guest, call);
}

struct torpor_error *tp_guest_migrate_start(
	struct tp_guest *guest, int fd, bool ignore_shared, const struct tp_call *call)
{
	struct tp_call soon = tp_call_within(CANCEL_TIMEOUT_NS);

	TP_TRY(leave_postmigrate(guest, call));
	TP_TRY(run(guest, "migrate-set-parameters",
		json_pack("{s:I}", "max-bandwidth", (json_int_t)BANDWIDTH_MAX), call));
	TP_TRY(prepare(guest, fd, ignore_shared, call));
	struct torpor_error *err = start(guest, "migrate", json_object(), call);
	/* Without its reply: it may be carried out all the same, and would stop the guest later. */
	if (is_over(err))
		return tp_error_first(err, tp_guest_migrate_cancel(guest, &soon));
	return err;
}

struct torpor_error *tp_guest_migrate_wait(struct tp_guest *guest, const struct tp_call *call)
{
	TP_TRY(await_completion(guest, "save the state of", call));
	return await_postmigrate(guest, call);
}

struct torpor_error *tp_guest_migrate_to_fd(
	struct tp_guest *guest, int fd, bool ignore_shared, const struct tp_call *call)
{
	struct tp_call soon = tp_call_within(CANCEL_TIMEOUT_NS);

	TP_TRY(tp_guest_migrate_start(guest, fd, ignore_shared, call));
	struct torpor_error *err = tp_guest_migrate_wait(guest, call);
	if (is_over(err))
		return tp_error_first(err, tp_guest_migrate_cancel(guest, &soon));
	return err;
}

struct torpor_error *tp_guest_load_prepare(
	struct tp_guest *guest, int fd, bool ignore_shared, const struct tp_call *call)
{
	return prepare(guest, fd, ignore_shared, call);
}

struct torpor_error *tp_guest_load_start(struct tp_guest *guest, const struct tp_call *call)
{
	json_t *args = json_object();

	/* One that stays can be asked why; the others end, and their last words are read. */
	if (guest->traits & TP_QEMU_STAYS)
		json_object_set_new(args, "exit-on-error", json_false());
	return start(guest, "migrate-incoming", args, call);
}

struct torpor_error *tp_guest_load_wait(struct tp_guest *guest, const struct tp_call *call)
{
	return await_completion(guest, "load a state into", call);
}

struct torpor_error *tp_guest_load_from_fd(
	struct tp_guest *guest, int fd, bool ignore_shared, const struct tp_call *call)
{
	TP_TRY(tp_guest_load_prepare(guest, fd, ignore_shared, call));
	TP_TRY(tp_guest_load_start(guest, call));
	return tp_guest_load_wait(guest, call);
}

/* ---- taking over ---- */

/*
 * Sets of descriptors outlive the connection that made them. They are removed, and since QEMU does
 * that only once the guest runs (QEMU: monitor/fds.c, in 7.2 monitor/misc.c), new ones get numbers
 * above theirs.
 */
static struct torpor_error *forget_sets(struct tp_guest *guest, const struct tp_call *call)
{
	struct torpor_error *err = NULL;
	json_t *sets;
	json_t *set;
	size_t i;

	TP_TRY(tp_guest_execute(guest, "query-fdsets", NULL, -1, call, &sets));
	json_array_foreach (sets, i, set) {
		json_int_t id = json_integer_value(json_object_get(set, "fdset-id"));
		guest->last_set = TP_MAX(guest->last_set, (int64_t)id);
		if (!err)
			err = run(guest, "remove-fd", json_pack("{s:I}", "fdset-id", id), call);
	}
	json_decref(sets);
	return err;
}

static enum tp_guest_found found_in(const char *status)
{
	static const char *const empty[] = {"inmigrate", "prelaunch"};
	static const char *const stands[] = {"paused", "postmigrate", "save-vm", "restore-vm"};

	for (size_t i = 0; i < TP_ARRAY_LEN(empty); i++) {
		if (strcmp(status, empty[i]) == 0)
			return TP_GUEST_EMPTY;
	}
	for (size_t i = 0; i < TP_ARRAY_LEN(stands); i++) {
		if (strcmp(status, stands[i]) == 0)
			return TP_GUEST_STANDS;
	}
	/* What stands still by itself (a panic, an error) does so in everybody's hands. */
	return TP_GUEST_RUNS;
}

struct torpor_error *tp_guest_take_over(
	struct tp_guest *guest, const struct tp_call *call, enum tp_guest_found *found_out)
{
	TP_FREE char *before = NULL;
	TP_FREE char *status = NULL;

	TP_TRY(tp_guest_query_status(guest, call, &before));
	*found_out = found_in(before);
	if (*found_out == TP_GUEST_EMPTY)
		return NULL;
	TP_TRY(tp_guest_migrate_cancel(guest, call));
	TP_TRY(forget_sets(guest, call));
	TP_TRY(tp_guest_query_status(guest, call, &status));
	*found_out = found_in(status);
	return NULL;
}
