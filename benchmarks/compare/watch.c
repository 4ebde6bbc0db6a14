/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at a guest, whoever drives it. */
#include <errno.h>
#include <libgen.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "benchmarks/compare/compare.h"
#include "benchmarks/payload.h"
#include "engine/helper.h"
#include "engine/qmp.h"

/* How long a socket that is there but isn't listened to yet is left alone: nothing tells of it. */
#define LISTEN_STEP_NS (TP_NSEC_PER_MSEC / 2)

struct cmp_watch {
	struct tp_qmp *qmp;
	struct tp_helper *helper;
};

/* --- connecting --- */

/* Throws away what an inotify descriptor has to tell; who waits looks for itself. */
static void drain(int inotify_fd)
{
	char events[4096];

	while (read(inotify_fd, events, sizeof(events)) > 0)
		;
}

/* Waits for news of the directory, or only a moment if FD is -1. */
static struct torpor_error *wait_a_while(int fd, const struct tp_call *call, const char *path)
{
	struct tp_call step = fd < 0 ? tp_call_bounded(call, LISTEN_STEP_NS) : *call;
	struct pollfd waited = {.fd = fd, .events = POLLIN};

	struct torpor_error *err = tp_wait_fds(&waited, 1, &step, "wait for", path);
	if (fd >= 0 || torpor_error_code(err) != TORPOR_E_TIMEOUT)
		return err;
	torpor_error_free(err);
	return tp_call_check(call, "wait for", path);
}

/* *FD_OUT stays -1 while nobody can be connected to; errno tells whether there's a socket. */
static struct torpor_error *try_connect(const char *path, int *fd_out)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(address.sun_path))
		return tp_error(
			TORPOR_E_INVALID, "connect to", path, "it is too long for a socket's path");
	memcpy(address.sun_path, path, strlen(path) + 1);
	TP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return tp_error_errno(errno, "make socket for", path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		*fd_out = TP_TAKE_FD(fd);
	else if (errno != ENOENT && errno != ECONNREFUSED)
		return tp_error_errno(errno, "connect to", path);
	return NULL;
}

static struct torpor_error *connect_to(const char *path, const struct tp_call *call, int *fd_out)
{
	TP_FREE char *copy = tp_strdup(path);
	TP_FD int inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	TP_FD int fd = -1;

	if (inotify_fd < 0 ||
		inotify_add_watch(inotify_fd, dirname(copy), IN_CREATE | IN_MOVED_TO) < 0)
		return tp_error_errno(errno, "watch directory of", path);
	for (;;) {
		drain(inotify_fd);
		TP_TRY(try_connect(path, &fd));
		if (fd >= 0)
			break;
		bool is_there = access(path, F_OK) == 0;
		TP_TRY(wait_a_while(is_there ? -1 : inotify_fd, call, path));
	}
	*fd_out = TP_TAKE_FD(fd);
	return NULL;
}

struct torpor_error *cmp_watch_open(const char *qmp_path, const char *helper_path,
	const struct tp_call *call, uint64_t *greeted_out, struct cmp_watch **watch_out)
{
	TP_CLEANUP(tp_qmp_close) struct tp_qmp *qmp = NULL;
	TP_FD int helper_fd = -1;
	int qmp_fd = -1;

	TP_TRY(connect_to(qmp_path, call, &qmp_fd));
	TP_TRY(tp_qmp_open(qmp_fd, "guest", call, &qmp));
	if (greeted_out)
		*greeted_out = tp_now_ns();
	TP_TRY(connect_to(helper_path, call, &helper_fd));

	struct cmp_watch *watch = tp_malloc(sizeof(*watch));
	*watch = (struct cmp_watch){
		.qmp = TP_TAKE(qmp),
		.helper = tp_helper_new(TP_TAKE_FD(helper_fd)),
	};
	*watch_out = watch;
	return NULL;
}

struct cmp_watch *cmp_watch_close(struct cmp_watch *watch)
{
	if (watch) {
		tp_qmp_close(watch->qmp);
		tp_helper_free(watch->helper);
		free(watch);
	}
	return NULL;
}

/* --- QMP --- */

struct tp_qmp *cmp_watch_qmp(struct cmp_watch *watch)
{
	return watch->qmp;
}

struct torpor_error *cmp_watch_event(
	struct cmp_watch *watch, const char *event, const struct tp_call *call, uint64_t *at_out)
{
	const char *const names[] = {event, NULL};
	TP_QMP_EVENT struct tp_qmp_event found = {0};

	TP_TRY(tp_qmp_wait_event(watch->qmp, names, call, &found));
	*at_out = tp_qmp_event_time(&found);
	return NULL;
}

void cmp_watch_forget(struct cmp_watch *watch)
{
	tp_qmp_forget_events(watch->qmp, NULL);
}

/* --- the helper --- */

struct torpor_error *cmp_watch_answer(
	struct cmp_watch *watch, const struct tp_call *call, uint64_t *at_out)
{
	struct tp_helper_pong pong;

	TP_TRY(tp_helper_ping(watch->helper, call, &pong));
	*at_out = tp_now_ns();
	return NULL;
}

static struct torpor_error *take_payload(void *data, void *bytes, size_t room, size_t *len_out)
{
	*len_out = bench_payload_take(data, bytes, room);
	return NULL;
}

struct torpor_error *cmp_watch_payload(
	struct cmp_watch *watch, uint64_t bytes, const struct tp_call *call)
{
	TP_FREE char *script = bench_payload_script(bytes);
	const char *const argv[] = {"sh", "-c", script, NULL};
	struct bench_payload payload = bench_payload_of(bytes);
	struct tp_exec exec = {.argv = argv, .source = take_payload, .data = &payload};
	struct tp_exec_result result;

	if (bytes == 0)
		return NULL;
	TP_TRY(tp_helper_exec(watch->helper, &exec, call, &result));
	if (result.signaled || result.value != 0)
		return tp_error(TORPOR_E_GUEST, "put payload into", "guest",
			"its shell ended with %s %d", result.signaled ? "signal" : "status",
			result.value);
	return NULL;
}
