/* SPDX-License-Identifier: Apache-2.0 */
/* The spawner and torpor-exec. */
#include "engine/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "support.h"

static struct tp_spawner *spawner;
static struct tp_call call;
static int output_fd;

static void setup(void)
{
	must(tp_spawner_new(NULL, &spawner));
	must(tp_output_new(4096, &output_fd));
	call = tp_call_within(OBJECT_TIMEOUT_NS);
}

static void teardown(void)
{
	tp_spawner_free(spawner);
	tp_close(output_fd);
}

TestSuite(spawn, .init = setup, .fini = teardown);

static struct tp_spawn_spec shell(char *const argv[])
{
	return (struct tp_spawn_spec){
		.argv = argv,
		.output_fd = output_fd,
		.bound = true,
		.record_fd = -1,
		.lock_fd = -1,
	};
}

#define SHELL(script) shell((char *const[]){(char *)"sh", (char *)"-c", (char *)(script), NULL})

/* Runs SPEC to its end; its status. */
static int run(const struct tp_spawn_spec *spec)
{
	struct tp_process process;

	must(tp_spawner_start(spawner, spec, &call, &process));
	must(tp_wait_fd(process.pidfd, POLLIN, &call, "wait for", "child"));
	int status = tp_process_reap(&process);
	cr_assert_eq(tp_process_reap(&process), -1, "it was reaped twice");
	tp_process_deinit(&process);
	return status;
}

static char *output(void)
{
	return tp_output_tail(output_fd, 4000);
}

Test(spawn, status_and_output)
{
	struct tp_spawn_spec spec = SHELL("echo out; echo err >&2; printf 'a\\tb'; exit 7");

	cr_assert_eq(run(&spec), W_EXITCODE(7, 0));
	TP_FREE char *text = output();
	cr_assert_str_eq(text, "out; err; a?b");
	TP_FREE char *tail = tp_output_tail(output_fd, 3);
	cr_assert_str_eq(tail, "a?b");
	spec = SHELL("kill -TERM $$");
	cr_assert_eq(run(&spec), W_EXITCODE(0, SIGTERM));
}

Test(spawn, output_is_bounded)
{
	struct tp_spawn_spec spec = SHELL("i=0; while [ $i -lt 2000 ]; do echo 0123456789; "
					  "i=$((i+1)); done 2>/dev/null; exit 3");
	uint64_t size;

	cr_assert_eq(run(&spec), W_EXITCODE(3, 0));
	must(tp_file_size(output_fd, "output", &size));
	cr_assert_eq(size, 4096);
	TP_FREE char *text = output();
	cr_assert_gt(strlen(text), 3000);
}

Test(spawn, a_program_that_cannot_be_executed)
{
	struct tp_process process;
	struct tp_spawn_spec spec = shell((char *const[]){(char *)"/no/such/program", NULL});

	must_fail(tp_spawner_start(spawner, &spec, &call, &process), TORPOR_E_NOT_FOUND,
		"/no/such/program: No such file");
	spec = shell((char *const[]){(char *)"/etc/passwd", NULL});
	must_fail(
		tp_spawner_start(spawner, &spec, &call, &process), TORPOR_E_DENIED, "/etc/passwd");
	cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1, "a child is left");
	TP_FREE char *text = output();
	cr_assert_not_null(strstr(text, "torpor-exec: /no/such/program: No such file"), "%s", text);
}

Test(spawn, a_missing_helper)
{
	struct tp_spawner *other;
	struct torpor_error *err = tp_spawner_new("/no/torpor-exec", &other);

	cr_assert_not_null(err);
	cr_assert_not_null(strstr(torpor_error_hint(err), "TORPOR_EXEC"));
	must_fail(err, TORPOR_E_NOT_FOUND, "/no/torpor-exec");
	setenv("TORPOR_EXEC", "/also/nowhere", 1);
	must_fail(tp_spawner_new(NULL, &other), TORPOR_E_NOT_FOUND, "/also/nowhere");
}

/* Numbers are swapped and shifted so that each target is another one's source. */
Test(spawn, descriptors_are_placed_and_none_leaks)
{
	int pipes[3][2];
	int fds[3];
	struct tp_spawn_spec spec =
		SHELL("echo one >&3; echo two >&4; echo three >&5; ls /proc/$$/fd");
	char text[16];

	int leaked = open("/dev/null", O_RDONLY);
	cr_assert_geq(leaked, 0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(pipe2(pipes[i], O_CLOEXEC), 0);
	/* 3, 4 and 5 as sources, in another order. */
	for (int i = 0; i < 3; i++)
		cr_assert_eq(dup3(pipes[i][1], 100 + i, O_CLOEXEC), 100 + i);
	int saved[3];
	for (int i = 0; i < 3; i++)
		saved[i] = fcntl(3 + i, F_DUPFD_CLOEXEC, 200);
	cr_assert_eq(fcntl(output_fd, F_GETFD) >= 0, 1);
	output_fd = fcntl(output_fd, F_DUPFD_CLOEXEC, 300);
	int reader[3];
	for (int i = 0; i < 3; i++)
		reader[i] = fcntl(pipes[i][0], F_DUPFD_CLOEXEC, 300);
	for (int i = 0; i < 3; i++)
		fds[i] = 3 + (i + 1) % 3;
	for (int i = 0; i < 3; i++)
		cr_assert_eq(dup3(100 + i, fds[i], O_CLOEXEC), fds[i]);
	spec.output_fd = output_fd;
	spec.fds = fds;
	spec.n_fds = 3;
	cr_assert_eq(run(&spec), 0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(dup3(saved[i], 3 + i, O_CLOEXEC), 3 + i);
	static const char *const expected[] = {"one\n", "two\n", "three\n"};
	for (int i = 0; i < 3; i++) {
		ssize_t n = read(reader[i], text, sizeof(text) - 1);
		cr_assert_gt(n, 0);
		text[n] = '\0';
		cr_assert_str_eq(text, expected[i]);
	}
	TP_FREE char *listed = output();
	cr_assert_str_eq(listed, "0; 1; 2; 3; 4; 5");
}

Test(spawn, signals_are_reset)
{
	struct tp_spawn_spec spec =
		SHELL("grep -E '^Sig(Blk|Ign)' /proc/$$/status | tr -d '\\t\\n'");
	sigset_t all;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	struct tp_spawner *masked;
	must(tp_spawner_new(NULL, &masked));
	tp_spawner_free(spawner);
	spawner = masked;
	cr_assert_eq(run(&spec), 0);
	TP_FREE char *text = output();
	/* 32 and 33 are the C library's own, which its posix_spawn leaves ignored. */
	cr_assert_str_eq(text, "SigBlk:0000000000000000SigIgn:0000000180000000");
}

Test(spawn, a_bound_child_dies_with_its_parent)
{
	struct tp_process process = left_by_an_owner(NULL, true, &call);

	must(tp_wait_fd(process.pidfd, POLLIN, &call, "wait for", "bound child"));
	tp_process_deinit(&process);
}

Test(spawn, a_bound_child_dies_with_the_spawner)
{
	struct tp_spawn_spec spec = SHELL("exec sleep 1000");
	struct tp_process process;

	must(tp_spawner_start(spawner, &spec, &call, &process));
	spawner = tp_spawner_free(spawner);
	must(tp_wait_fd(process.pidfd, POLLIN, &call, "wait for", "bound child"));
	cr_assert_eq(tp_process_reap(&process), W_EXITCODE(0, SIGKILL));
	tp_process_deinit(&process);
	must(tp_spawner_new(NULL, &spawner));
}

Test(spawn, a_kept_child_survives)
{
	struct tp_process process = left_by_an_owner(NULL, false, &call);
	pid_t session = getsid(process.pid);
	int status;

	cr_assert_eq(session, process.pid);
	/* Its parent has been reaped, so a signal for its death would have come before. */
	cr_assert_not(tp_process_ended(&process));
	must(tp_process_kill(&process, &call, &status));
	cr_assert_eq(status, -1, "it isn't our child");
	tp_process_deinit(&process);
}

Test(spawn, many_threads_at_once)
{
	struct tp_spawn_spec spec = SHELL("exit 0");
	struct tp_process all[20];

	for (size_t i = 0; i < TP_ARRAY_LEN(all); i++)
		must(tp_spawner_start(spawner, &spec, &call, &all[i]));
	for (size_t i = 0; i < TP_ARRAY_LEN(all); i++) {
		must(tp_process_kill(&all[i], &call, NULL));
		tp_process_deinit(&all[i]);
	}
	cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
}

/* A disowned child is reaped by the spawner: its entry in /proc goes away. */
Test(spawn, disowned_children_leave_no_zombie)
{
	int pair[2];
	struct tp_spawn_spec spec = SHELL("read line <&3; exit 0");
	struct tp_process process;
	struct tp_process again;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	spec.fds = &pair[1];
	spec.n_fds = 1;
	must(tp_spawner_start(spawner, &spec, &call, &process));
	must(tp_process_open(process.pid, process.start_time, &again));
	tp_spawner_disown(spawner, &process);
	close(pair[1]);
	close(pair[0]);
	must(tp_wait_fd(again.pidfd, POLLIN, &call, "wait for", "disowned child"));
	while (kill(again.pid, 0) == 0) {
		must(tp_call_check(&call, "wait for the reaping of", "disowned child"));
		sched_yield();
	}
	tp_process_deinit(&again);
}

Test(spawn, record_and_lock)
{
	TP_FREE char *dir = make_directory();
	TP_FREE char *path = tp_asprintf("%s/record", dir);
	TP_FREE char *text = NULL;
	size_t len;
	struct tp_process process;
	struct tp_spawn_spec spec = SHELL("exec sleep 1000");

	TP_FD int record_fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	int lock_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(flock(lock_fd, LOCK_EX), 0);
	spec.record_fd = record_fd;
	spec.lock_fd = lock_fd;
	must(tp_spawner_start(spawner, &spec, &call, &process));
	must(tp_read_file(AT_FDCWD, path, 1000, &text, &len));
	TP_FREE char *expected = tp_asprintf("{\"pid\": %ld, \"start_time\": %llu}\n",
		(long)process.pid, (unsigned long long)process.start_time);
	cr_assert_str_eq(text, expected);
	/* The program hasn't got the lock. */
	close(lock_fd);
	TP_FD int other = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(flock(other, LOCK_EX | LOCK_NB), 0);
	must(tp_process_kill(&process, &call, NULL));
	tp_process_deinit(&process);
	remove_tree(dir);
}

Test(spawn, identity)
{
	struct tp_process process;
	uint64_t start_time;

	must(tp_process_start_time(getpid(), &start_time));
	must(tp_process_open(getpid(), start_time, &process));
	tp_process_deinit(&process);
	must_fail(tp_process_open(getpid(), start_time + 1, &process), TORPOR_E_NOT_FOUND, NULL);
	must_fail(tp_process_open(0, start_time, &process), TORPOR_E_NOT_FOUND, NULL);
	must_fail(tp_process_start_time(0x3fffffff, &start_time), TORPOR_E_NOT_FOUND, NULL);
}

Test(spawn, cancelled_before)
{
	struct tp_spawn_spec spec = SHELL("exit 0");
	struct tp_process process;

	call = tp_call_within(0);
	must_fail(tp_spawner_start(spawner, &spec, &call, &process), TORPOR_E_TIMEOUT, NULL);
	cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
}

/* What the holder has open can be opened through it, though it has no path; the user is the one
 * wanted. */
Test(spawn, descriptors_can_be_held_for_others)
{
	TP_FREE char *uid = tp_asprintf("%u", geteuid() == 0 ? 65534 : geteuid());
	TP_FREE char *gid = tp_asprintf("%u", geteuid() == 0 ? 65534 : getegid());
	char *argv[] = {(char *)tp_spawner_helper(spawner), (char *)"--hold", uid, gid, NULL};
	struct tp_spawn_spec spec = shell(argv);
	struct tp_process process;
	struct stat st;
	char bytes[8] = "";
	int ready[2];
	int memfd;

	must(tp_memfd("held", 0, &memfd));
	must(tp_pwrite_full(memfd, "here", 5, 0, "held"));
	cr_assert_eq(pipe(ready), 0);
	spec.fds = &memfd;
	spec.n_fds = 1;
	spec.output_fd = ready[1];
	must(tp_spawner_start(spawner, &spec, &call, &process));
	cr_assert_eq(read(ready[0], bytes, 1), 1);
	cr_assert_eq(bytes[0], '\n');
	TP_FREE char *dir = tp_asprintf("/proc/%d", (int)process.pid);
	cr_assert_eq(stat(dir, &st), 0);
	cr_assert_eq(st.st_uid, strtoul(uid, NULL, 10));
	TP_FREE char *path = tp_asprintf("%s/fd/%d", dir, TP_SPAWN_FIRST_FD);
	TP_FD int fd = open(path, O_RDWR | O_CLOEXEC);
	cr_assert_geq(fd, 0, "%s: %m", path);
	must(tp_pread_full(fd, bytes, 5, 0, "held"));
	cr_assert_str_eq(bytes, "here");
	must(tp_process_kill(&process, &call, NULL));
	tp_process_deinit(&process);
	close(memfd);
	close(ready[0]);
	close(ready[1]);
}
