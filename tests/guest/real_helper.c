/* SPDX-License-Identifier: Apache-2.0 */
/* The real helper, run on this host over a socket pair. */
#include "real_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "guest/helper.h"

char dir[] = "/tmp/torpor-helper-test.XXXXXX";
pid_t helper_pid;
int host_fd;
struct tp_call call;

/* --- the helper's world --- */

static struct tp_guest guest;

static int append_to(const char *name, const void *bytes, size_t len)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	bool written = fd >= 0 && write(fd, bytes, len) == (ssize_t)len;
	tp_close(fd);
	return written ? 0 : EIO;
}

static int fake_seed(const uint8_t *seed, size_t len)
{
	return append_to("seed", seed, len);
}

static int fake_clock(int64_t realtime_ns)
{
	return realtime_ns == 13 ? EPERM : append_to("clock", &realtime_ns, sizeof(realtime_ns));
}

static int fake_shift(int64_t by_ns)
{
	return by_ns == -5000000 ? 0 : EINVAL;
}

static int fake_hostname(const char *name, size_t len)
{
	return append_to("uts", name, len);
}

static void serve(int port)
{
	static char hostname_path[PATH_MAX], machine_id_path[PATH_MAX];
	struct tp_guest_world world = {
		.seed = fake_seed,
		.set_clock = fake_clock,
		.shift_clock = fake_shift,
		.set_hostname = fake_hostname,
		.hostname_path = hostname_path,
		.machine_id_path = machine_id_path,
	};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(hostname_path, sizeof(hostname_path), "%s/hostname", dir);
	snprintf(machine_id_path, sizeof(machine_id_path), "%s/machine-id", dir);
	fcntl(port, F_SETFL, O_NONBLOCK);
	_exit(tp_guest_serve(&guest, port, &world));
}

void real_helper_start(void)
{
	int fds[2];

	cr_assert(mkdtemp(dir));
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	helper_pid = fork();
	if (helper_pid == 0) {
		close(fds[0]);
		serve(fds[1]);
	}
	close(fds[1]);
	host_fd = fds[0];
	call = tp_call_within(30 * TP_NSEC_PER_SEC);
}

void real_helper_end(void)
{
	char command[PATH_MAX];

	kill(helper_pid, SIGKILL);
	waitpid(helper_pid, NULL, 0);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert_eq(system(command), 0);
}

/* --- tools --- */

void output_deinit(struct output *o)
{
	for (int i = 0; i < 3; i++)
		tp_buf_deinit(&o->bytes[i]);
}

struct torpor_error *collect(void *data, int stream, const void *bytes, size_t len)
{
	struct output *o = data;

	cr_assert(stream == 1 || stream == 2);
	cr_assert_gt(len, 0);
	tp_buf_put(&o->bytes[stream], bytes, len);
	return NULL;
}

const char *text_of(struct output *o, int stream)
{
	tp_buf_put_u8(&o->bytes[stream], 0);
	return (const char *)o->bytes[stream].data;
}

struct torpor_error *run_shell(
	struct tp_helper *h, const char *script, struct output *o, struct tp_exec_result *result)
{
	const char *argv[] = {"sh", "-c", script, NULL};
	struct tp_exec spec = {.argv = argv, .cwd = dir, .sink = collect, .data = o};

	return tp_helper_exec(h, &spec, &call, result);
}

void make_fifo(const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	cr_assert_eq(mkfifo(path, 0600), 0);
}

void meet_at(const char *name, int flags)
{
	char path[PATH_MAX];
	char byte;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	TP_FD int fd = open(path, flags | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	if (flags == O_RDONLY)
		cr_assert_geq(read(fd, &byte, 1), 0);
}

struct tp_fresh sound_fresh(void)
{
	static const uint8_t seed[32] = "0123456789012345678901234567890";

	return (struct tp_fresh){
		.nonce = 42,
		.steps = TP_WIRE_ALL_STEPS,
		.realtime_ns = 1234567890123456789,
		.machine_id = {0xde, 0xad, 0xbe, 0xef},
		.seed = seed,
		.seed_len = sizeof(seed),
		.hostname = "clone-1",
	};
}

void check_fresh_works(struct tp_helper *h)
{
	struct tp_fresh fresh = sound_fresh();
	struct tp_fresh_done done;

	CHECK_OK(tp_helper_send_fresh(h, &fresh, &call));
	CHECK_OK(tp_helper_wait_fresh(h, &fresh, &call, &done));
	cr_assert_eq(done.done, TP_WIRE_ALL_STEPS);
}
