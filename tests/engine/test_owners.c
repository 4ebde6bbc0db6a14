/* SPDX-License-Identifier: Apache-2.0 */
/* Who guests belong to: names, guests that are kept and found again, owners that died. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/control.h"
#include "engine/rundir.h"
#include "real_launcher.h"
#include "support.h"

TestSuite(owners, .init = launcher_setup, .fini = launcher_teardown);

Test(owners, names_are_unique)
{
	TP_FD int ram = new_ram(64 * TP_MIB);
	struct tp_guest_config config = pc_config();
	struct tp_guest_spec spec = spec_of(&config, "s", TP_ROLE_INCOMING, ram);
	struct tp_guest *guest = start(launcher, "s", TP_ROLE_INCOMING, ram);
	struct tp_guest *other;

	must_fail(tp_launcher_start(launcher, &spec, &call, &other), TORPOR_E_EXISTS, NULL);
	must_fail(tp_launcher_find(launcher, "s", &call, &other), TORPOR_E_BUSY, NULL);
	must(tp_launcher_sweep(launcher, &call));
	assert_status(guest, "inmigrate");
	must(tp_guest_end(guest, &call));
}

Test(owners, a_kept_guest_is_released_and_found)
{
	struct tp_launcher *keeper = launcher_with(NULL, false);
	struct tp_launcher *finder = launcher_with(NULL, true);
	TP_FD int ram = new_ram(64 * TP_MIB);
	struct tp_guest *guest = start(keeper, "k", TP_ROLE_INCOMING, ram);
	pid_t pid = tp_guest_pid(guest);

	must(tp_guest_release(guest));
	must(tp_launcher_sweep(finder, &call));
	must(tp_launcher_find(finder, "k", &call, &guest));
	cr_assert_eq(tp_guest_pid(guest), pid);
	cr_assert_not_null(tp_guest_agent(guest));
	assert_status(guest, "inmigrate");
	must_fail(tp_guest_execute(guest, "nonsense", NULL, -1, &call, NULL), TORPOR_E_UNSUPPORTED,
		NULL);
	must(tp_guest_end(guest, &call));
	cr_assert_not(process_runs(pid));
	cr_assert_eq(count_entries(run_dir), 0);
	must_fail(tp_launcher_find(finder, "k", &call, &guest), TORPOR_E_NOT_FOUND, NULL);
	tp_launcher_free(keeper);
	tp_launcher_free(finder);
}

static bool is_keeper(void *data, const char *name)
{
	return strcmp(data, name) == 0;
}

Test(owners, guests_are_ended_by_who_they_are)
{
	struct tp_launcher *keeper = launcher_with(NULL, false);
	TP_FD int ram = new_ram(64 * TP_MIB);
	struct tp_guest *guest = start(keeper, "k", TP_ROLE_INCOMING, ram);
	pid_t pid = tp_guest_pid(guest);
	uint64_t start_time = tp_guest_start_time(guest);

	must_fail(tp_launcher_end(keeper, "k", pid, start_time, &call), TORPOR_E_BUSY, NULL);
	must(tp_guest_release(guest));
	must_fail(
		tp_launcher_end(keeper, "k", pid, start_time + 1, &call), TORPOR_E_NOT_FOUND, NULL);
	must_fail(tp_launcher_end(keeper, "k", getpid(), start_time, &call), TORPOR_E_NOT_FOUND,
		NULL);
	must_fail(tp_launcher_end(keeper, "l", pid, start_time, &call), TORPOR_E_NOT_FOUND, NULL);
	must_fail(tp_launcher_end(keeper, "../k", pid, start_time, &call), TORPOR_E_INVALID, NULL);
	cr_assert(process_runs(pid));
	must(tp_launcher_end(keeper, "k", pid, start_time, &call));
	cr_assert_not(process_runs(pid));
	cr_assert_eq(count_entries(run_dir), 0);
	tp_launcher_free(keeper);
}

Test(owners, orphans_are_those_that_nobody_owns_or_keeps)
{
	struct tp_launcher *keeper = launcher_with(NULL, false);
	TP_FD int ram = new_ram(64 * TP_MIB);
	struct tp_guest *owned = start(keeper, "owned", TP_ROLE_INCOMING, ram);
	struct tp_guest *kept = start(keeper, "kept", TP_ROLE_INCOMING, ram);
	struct tp_guest *orphan = start(keeper, "orphan", TP_ROLE_INCOMING, ram);
	pid_t kept_pid = tp_guest_pid(kept);
	pid_t orphan_pid = tp_guest_pid(orphan);
	unsigned int count;

	must(tp_guest_release(kept));
	must(tp_guest_release(orphan));
	must(tp_launcher_end_orphans(keeper, is_keeper, (void *)"kept", &call, &count));
	cr_assert_eq(count, 1);
	cr_assert_not(process_runs(orphan_pid));
	cr_assert(process_runs(kept_pid));
	assert_status(owned, "inmigrate");
	must(tp_launcher_end_orphans(keeper, is_keeper, (void *)"", &call, &count));
	cr_assert_eq(count, 1);
	cr_assert_not(process_runs(kept_pid));
	must(tp_guest_end(owned, &call));
	cr_assert_eq(count_entries(run_dir), 0);
	tp_launcher_free(keeper);
}

Test(owners, a_guest_that_waits_for_its_state_is_found_as_that)
{
	struct tp_launcher *keeper = launcher_with(NULL, false);
	TP_FD int ram = new_ram(64 * TP_MIB);
	struct tp_guest *guest = start(keeper, "k", TP_ROLE_INCOMING, ram);
	enum tp_guest_found found;

	must(tp_guest_release(guest));
	must(tp_launcher_find(keeper, "k", &call, &guest));
	must(tp_guest_take_over(guest, &call, &found));
	cr_assert_eq(found, TP_GUEST_EMPTY);
	must(tp_guest_end(guest, &call));
	tp_launcher_free(keeper);
}

Test(owners, a_bound_guest_is_not_released)
{
	TP_FD int ram = new_ram(64 * TP_MIB);
	struct tp_guest *guest = start(launcher, "b", TP_ROLE_INCOMING, ram);

	must_fail(tp_guest_release(guest), TORPOR_E_INVALID, "bound");
	must(tp_guest_end(guest, &call));
}

Test(owners, sweep_clears_up_after_a_killed_owner)
{
	struct tp_process process = left_by_an_owner(run_dir, true, &call);

	must(tp_wait_fd(process.pidfd, POLLIN, &call, "wait for", "bound guest"));
	cr_assert_eq(count_entries(run_dir), 1);
	must(tp_launcher_sweep(launcher, &call));
	cr_assert_eq(count_entries(run_dir), 0);
	tp_process_deinit(&process);
}

Test(owners, a_kept_guest_outlives_its_killed_owner)
{
	struct tp_process process = left_by_an_owner(run_dir, false, &call);
	struct tp_guest *guest;
	struct tp_guest *other;
	struct tp_guest_config config = pc_config();
	TP_FD int ram = new_ram(64 * TP_MIB);
	struct tp_guest_spec spec = spec_of(&config, "x", TP_ROLE_INCOMING, ram);

	must(tp_launcher_sweep(launcher, &call));
	cr_assert_not(tp_process_ended(&process));
	must_fail(tp_launcher_start(launcher, &spec, &call, &other), TORPOR_E_EXISTS, "runs");
	must(tp_launcher_find(launcher, "x", &call, &guest));
	cr_assert_eq(tp_guest_pid(guest), process.pid);
	must(tp_guest_end(guest, &call));
	cr_assert(tp_process_ended(&process));
	cr_assert_eq(count_entries(run_dir), 0);
	tp_process_deinit(&process);
}

/* Whose lock it is can't be written down then, and needn't be. */
Test(owners, a_full_disk_keeps_nobody_from_a_guest)
{
	struct tp_process process = left_by_an_owner(run_dir, false, &call);
	const struct rlimit none = {0, RLIM_INFINITY};
	struct rlimit before;
	struct tp_guest *guest;

	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
	struct torpor_error *err = tp_launcher_find(launcher, "x", &call, &guest);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
	must(err);
	cr_assert_eq(tp_guest_pid(guest), process.pid);
	must(tp_guest_end(guest, &call));
	cr_assert_eq(count_entries(run_dir), 0);
	tp_process_deinit(&process);
}

Test(owners, a_sweep_without_time_leaves_the_rest_to_the_next)
{
	struct tp_process process = left_by_an_owner(run_dir, true, &call);
	struct tp_call over = tp_call_within(0);

	must(tp_wait_fd(process.pidfd, POLLIN, &call, "wait for", "bound guest"));
	must(tp_launcher_sweep(launcher, &over));
	cr_assert_eq(count_entries(run_dir), 1);
	must(tp_launcher_sweep(launcher, &call));
	cr_assert_eq(count_entries(run_dir), 0);
	tp_process_deinit(&process);
}

/* Its directory is locked by a child that isn't QEMU yet, and that nobody would look for later. */
Test(owners, a_guest_whose_owner_died_at_its_start_is_ended)
{
	struct late_start late;
	unsigned int count;

	owner_dies_at_a_start(run_dir, &late);
	must(tp_launcher_end_orphans(launcher, is_keeper, (void *)"", &call, &count));
	cr_assert_eq(count, 1);
	cr_assert_eq(count_entries(run_dir), 0);
	late_start_end(&late);
}

Test(owners, the_sweep_waits_for_a_guest_whose_owner_died_at_its_start)
{
	struct late_start late;
	unsigned int count;

	owner_dies_at_a_start(run_dir, &late);
	must(tp_launcher_sweep(launcher, &call));
	cr_assert_eq(count_entries(run_dir), 1, "it runs now, for whoever wants it");
	TP_FREE char *dir = tp_asprintf("%s/x", run_dir);
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(flock(fd, LOCK_EX | LOCK_NB), 0, "the sweep didn't wait");
	close(fd);
	late_start_end(&late);
	must(tp_launcher_end_orphans(launcher, is_keeper, (void *)"", &call, &count));
	cr_assert_eq(count, 1);
}

/* A directory as it is left by a guest whose pid somebody else has now: ours. */
Test(owners, a_recycled_pid_is_nobody)
{
	TP_FREE char *dir = tp_asprintf("%s/old", run_dir);
	TP_FREE char *record = tp_asprintf("%s/process", dir);
	struct tp_guest *guest;

	cr_assert_eq(mkdir(dir, 0700), 0);
	FILE *file = fopen(record, "w");
	cr_assert_not_null(file);
	fprintf(file, "{\"pid\": %ld, \"start_time\": 1}\n", (long)getpid());
	fclose(file);
	must_fail(tp_launcher_find(launcher, "old", &call, &guest), TORPOR_E_NOT_FOUND, NULL);
	must(tp_launcher_sweep(launcher, &call));
	cr_assert_eq(count_entries(run_dir), 0);
}

Test(owners, leftovers_do_not_bar_a_name)
{
	TP_FREE char *dir = tp_asprintf("%s/old", run_dir);
	TP_FREE char *socket_path = tp_asprintf("%s/qmp", dir);
	TP_FD int ram = new_ram(64 * TP_MIB);

	cr_assert_eq(mkdir(dir, 0700), 0);
	cr_assert_geq(close(open(socket_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	must(tp_guest_end(start(launcher, "old", TP_ROLE_INCOMING, ram), &call));
	cr_assert_eq(count_entries(run_dir), 0);
}

/* /sys, in which nobody makes directories: as where there is no room for one. */
Test(owners, a_directory_that_cannot_be_made_is_told_as_that)
{
	TP_FD int sys = -1;
	int dir;

	must(tp_rundir_open("/sys", &sys));
	must_fail(tp_rundir_create(sys, "torpor-test", &dir), TORPOR_E_DENIED,
		"make directory of torpor-test");
}

struct looking {
	int run_dir_fd;
	atomic_bool over;
};

static void *look_again_and_again(void *data)
{
	struct looking *looking = data;

	while (!atomic_load(&looking->over))
		cr_assert_not(tp_rundir_is_abandoned(looking->run_dir_fd, "k"));
	return NULL;
}

/* As another process's sweep looks while a torpord that was started again takes its guests over. */
Test(owners, who_looks_for_what_is_abandoned_owns_nothing)
{
	struct tp_launcher *keeper = launcher_with(NULL, false);
	TP_FD int ram = new_ram(64 * TP_MIB);
	struct tp_guest *guest = start(keeper, "k", TP_ROLE_INCOMING, ram);
	struct looking looking = {.run_dir_fd = -1};
	pthread_t thread;

	must(tp_guest_release(guest));
	must(tp_rundir_open(run_dir, &looking.run_dir_fd));
	cr_assert(tp_rundir_is_abandoned(looking.run_dir_fd, "none"));
	cr_assert_eq(pthread_create(&thread, NULL, look_again_and_again, &looking), 0);
	for (int i = 0; i < 2000; i++) {
		int dir_fd;
		must(tp_rundir_lock(looking.run_dir_fd, "k", &dir_fd));
		close(dir_fd);
	}
	atomic_store(&looking.over, true);
	pthread_join(thread, NULL);
	close(looking.run_dir_fd);
	must(tp_launcher_find(keeper, "k", &call, &guest));
	must(tp_guest_end(guest, &call));
	tp_launcher_free(keeper);
}
