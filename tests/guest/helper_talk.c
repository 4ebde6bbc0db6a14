/* SPDX-License-Identifier: Apache-2.0 */
/*
 * helper_talk SOCKET COMMAND...: talks to a real guest's helper by hand.
 *   ping | fresh HOSTNAME | send-fresh HOSTNAME | wait-fresh | exec ARGV...
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "engine/helper.h"

static int connect_to(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	TP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strncpy(addr.sun_path, path, sizeof(addr.sun_path) - 1);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(1);
	}
	return TP_TAKE_FD(fd);
}

static struct torpor_error *print(void *data, int stream, const void *bytes, size_t len)
{
	(void)data;
	fwrite(bytes, 1, len, stream == 1 ? stdout : stderr);
	return NULL;
}

static struct torpor_error *do_ping(struct tp_helper *h, const struct tp_call *call)
{
	struct tp_helper_pong pong;

	TP_TRY(tp_helper_ping(h, call, &pong));
	for (unsigned int i = 0; i < sizeof(pong.boot_id); i++)
		printf("%02x", pong.boot_id[i]);
	printf(" %.3f\n", (double)pong.realtime_ns / 1e9);
	return NULL;
}

static struct torpor_error *do_exec(
	struct tp_helper *h, const struct tp_call *call, char **argv, bool with_stdin)
{
	struct tp_exec spec = {
		.argv = (const char *const *)argv,
		.sink = print,
		.has_stdin_fd = with_stdin,
		.stdin_fd = STDIN_FILENO,
		.kill_on_cancel = true,
	};
	struct tp_exec_result result;

	TP_TRY(tp_helper_exec(h, &spec, call, &result));
	fflush(stdout);
	fprintf(stderr, "[%s %d]\n", result.signaled ? "signal" : "exit", result.value);
	return NULL;
}

static struct torpor_error *do_fresh(
	struct tp_helper *h, const struct tp_call *call, const char *hostname, bool wait)
{
	uint8_t seed[32] = {1};
	struct tp_fresh fresh = {
		.nonce = tp_now_ns(),
		.steps = TP_WIRE_ALL_STEPS,
		.realtime_ns = (int64_t)tp_realtime_ns(),
		.machine_id = {0xde, 0xad},
		.seed = seed,
		.seed_len = sizeof(seed),
		.hostname = hostname,
	};
	struct tp_fresh_done done;

	TP_TRY(tp_helper_send_fresh(h, &fresh, call));
	printf("sent%s\n", tp_helper_drained(h) ? ", drained" : "");
	fflush(stdout);
	if (wait) {
		TP_TRY(tp_helper_wait_fresh(h, &fresh, call, &done));
		printf("done %#x failed %#x count %u clock off by %.3f ms\n", done.done,
			done.failed, done.count,
			((double)done.realtime_ns - (double)tp_realtime_ns()) / 1e6);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct tp_call call = tp_call_within(60 * TP_NSEC_PER_SEC);
	TP_ERROR struct torpor_error *err = NULL;
	uint64_t start = tp_now_ns();

	if (argc < 3) {
		fprintf(stderr, "usage: helper_talk SOCKET ping|fresh NAME|exec ARGV...\n");
		return 2;
	}
	TP_CLEANUP(tp_helper_free) struct tp_helper *h = tp_helper_new(connect_to(argv[1]));
	if (strcmp(argv[2], "ping") == 0)
		err = do_ping(h, &call);
	else if (strcmp(argv[2], "fresh") == 0 && argc == 4)
		err = do_fresh(h, &call, argv[3], true);
	else
		err = do_exec(h, &call, argv + 3, strcmp(argv[2], "feed") == 0);
	fprintf(stderr, "%.3f ms\n", (double)(tp_now_ns() - start) / 1e6);
	if (err)
		fprintf(stderr, "%s\n", torpor_error_message(err));
	return err != NULL;
}
