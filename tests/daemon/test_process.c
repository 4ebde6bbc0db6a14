/* SPDX-License-Identifier: Apache-2.0 */
/* torpord as a process: command line, signals, systemd. Stubs stand in for the service. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "http_client.h"
#include "stub_service.h"

static struct test_server where; /* only dir and socket */
static char conf[96];
static int notify_fd;
static pid_t torpord;

static void write_conf(const char *text)
{
	FILE *f = fopen(conf, "w");

	fprintf(f, "[daemon]\nstate_dir = %s\nsocket = %s\nlog_level = debug\n%s", where.dir,
		where.socket, text);
	fclose(f);
}

static void setup(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = 30};

	strcpy(where.dir, "/tmp/torpord-test.XXXXXX");
	cr_assert(mkdtemp(where.dir));
	snprintf(where.socket, sizeof(where.socket), "%s/sock", where.dir);
	snprintf(conf, sizeof(conf), "%s/conf", where.dir);
	write_conf("");
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", where.dir);
	notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert(bind(notify_fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	setsockopt(notify_fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
}

static void teardown(void)
{
	TP_FREE char *command = tp_asprintf("rm -rf %s", where.dir);

	if (torpord > 0)
		kill(torpord, SIGKILL);
	tp_close(notify_fd);
	cr_assert(system(command) == 0);
}

TestSuite(process, .init = setup, .fini = teardown);

static void expect_notice(const char *text)
{
	char seen[256] = {0};
	ssize_t n;

	/* With a timeout set it is interrupted also where this process was stopped (signal(7)). */
	do
		n = recv(notify_fd, seen, sizeof(seen) - 1, 0);
	while (n < 0 && errno == EINTR);
	cr_assert(n > 0, "no %s came", text);
	cr_assert(strncmp(seen, text, strlen(text)) == 0, "%s instead of %s", seen, text);
}

/* What it writes goes to DIR/log. LISTEN_FD (-1: none) is handed over as systemd would. */
static pid_t spawn(int listen_fd, const char *a, const char *b, const char *c)
{
	TP_FREE char *log = tp_asprintf("%s/log", where.dir);
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that is killed leaves nothing behind */
	int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	if (listen_fd >= 0) {
		char number[16];
		dup2(listen_fd, 3);
		fcntl(3, F_SETFD, 0);
		snprintf(number, sizeof(number), "%d", (int)getpid());
		setenv("LISTEN_PID", number, 1);
		setenv("LISTEN_FDS", "1", 1);
	}
	execl(TORPORD, TORPORD, a, b, c, NULL);
	_exit(127);
}

static char *log_text(void)
{
	TP_FREE char *path = tp_asprintf("%s/log", where.dir);
	char *text;
	size_t len;

	cr_assert(!tp_read_file(AT_FDCWD, path, 1 << 20, &text, &len));
	return text;
}

static int end_of(pid_t pid)
{
	int status;

	cr_assert(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void expect_run(int status, const char *text, const char *a, const char *b, const char *c)
{
	int found = end_of(spawn(-1, a, b, c));
	TP_FREE char *log = log_text();

	cr_expect_eq(found, status, "%s ended with %d: %s", a, found, log);
	cr_expect(strstr(log, text), "no \"%s\" in: %s", text, log);
}

static int status_of(const char *path)
{
	TP_FD int fd = client_unix(&where);

	if (fd < 0)
		return -1;
	client_send(fd, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path);
	struct client_reply r = client_read(fd);
	int status = r.status;
	client_reply_deinit(&r);
	return status;
}

static void start(void)
{
	torpord = spawn(-1, "--config", conf, NULL);
	expect_notice("READY=1");
}

static void stop(void)
{
	kill(torpord, SIGTERM);
	expect_notice("STOPPING=1");
	cr_assert_eq(end_of(torpord), 0);
	torpord = 0;
}

Test(process, command_line)
{
	expect_run(0, "ok\n", "--check-config", "--config", conf);
	expect_run(0, "torpord ", "--version", NULL, NULL);
	expect_run(64, "--log-level is debug, info or warning", "--log-level=loud", NULL, NULL);
	expect_run(64, "only options: x", "x", NULL, NULL);
	expect_run(1, "read the configuration", "--config", "/nowhere/conf", NULL);
	write_conf("[http]\nmax_boddy = 1\nmax_connections = x\n");
	expect_run(1, "conf:6: max_boddy: no such key", "--check-config", "--config", conf);
	expect_run(1, "conf:7: max_connections: ", "--check-config", "--config", conf);
	expect_run(1, "2 mistakes", "--config", conf, NULL);
	write_conf("[auth]\njwks = /nowhere/jwks\n");
	expect_run(1, "/nowhere/jwks", "--check-config", "--config", conf);
	write_conf("[tcp]\nlisten = 127.0.0.1:0\ntls_cert = /nowhere/a\ntls_key = /nowhere/b\n");
	expect_run(1, "/nowhere/a", "--check-config", "--config", conf);
}

/* Each option of --help is in the manual, and the other way round. */
Test(process, manual)
{
	expect_run(0, "--check-config", "--help", NULL, NULL);
	TP_FREE char *help = log_text();
	char *page;
	size_t len;
	cr_assert(!tp_read_file(AT_FDCWD, MAN_DIR "/torpord.8.scd", 1 << 20, &page, &len));
	char *to = strstr(page, "# SIGNALS");
	cr_assert(to);
	*to = '\0';
	int in_manual = 0;
	for (const char *at = page; (at = strstr(at, "\n*--")); at++) {
		TP_FREE char *option = tp_strndup(at + 2, strcspn(at + 2, "*"));
		cr_expect(strstr(help, option), "%s is only in the manual", option);
		in_manual++;
	}
	int in_help = 0;
	for (const char *at = help; (at = strstr(at, "  --")); at++)
		in_help++;
	cr_expect_eq(in_manual, in_help - 1, "%d and %d", in_manual, in_help); /* --usage */
	free(page);
}

Test(process, starts_and_ends)
{
	struct stat st;

	start();
	cr_assert_eq(status_of("/show/a"), 200);
	/* A second one on the same socket says why it doesn't start. */
	expect_run(1, "another process answers there", "--config", conf, NULL);
	cr_assert_eq(status_of("/show/a"), 200);
	stop();
	cr_assert(stat(where.socket, &st) != 0);
}

Test(process, one_for_a_state_directory)
{
	TP_FREE char *busy = tp_asprintf("%s/busy", where.dir);
	struct stat st;

	cr_assert(close(open(busy, O_CREAT | O_WRONLY, 0600)) == 0);
	expect_run(1, "Is torpord running already?", "--config", conf, NULL);
	cr_assert(stat(where.socket, &st) != 0); /* and leaves no socket */
}

/* What was killed leaves its socket behind; the next one takes its place. */
Test(process, starts_again_after_kill)
{
	start();
	kill(torpord, SIGKILL);
	cr_assert_eq(end_of(torpord), -SIGKILL);
	start();
	cr_assert_eq(status_of("/show/a"), 200);
	stop();
}

static void reload(void)
{
	kill(torpord, SIGHUP);
	expect_notice("RELOADING=1\nMONOTONIC_USEC=");
	expect_notice("READY=1");
}

static void expect_logged(const char *text)
{
	TP_FREE char *log = log_text();

	cr_expect(strstr(log, text), "no \"%s\" in: %s", text, log);
}

static int status_of_body(size_t bytes)
{
	TP_FD int fd = client_unix(&where);
	TP_FREE char *body = tp_malloc(bytes + 1);

	memset(body, ' ', bytes);
	body[0] = '{';
	body[bytes - 1] = '}';
	body[bytes] = '\0';
	client_send(fd,
		"POST /show HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
		"Content-Length: %zu\r\n\r\n%s",
		bytes, body);
	struct client_reply r = client_read(fd);
	int status = r.status;
	client_reply_deinit(&r);
	return status;
}

Test(process, reloads)
{
	start();
	cr_assert_eq(status_of_body(3000), 201);
	write_conf("[http]\nmax_body = 2K\n[tcp]\nlisten = 127.0.0.1:0\nplain = yes\n");
	reload();
	expect_logged("<6>the configuration was read again");
	expect_logged("<4>[tcp] listen has changed: that needs a restart");
	cr_assert_eq(status_of_body(3000), 413);

	/* Mistakes change nothing, and are told. */
	write_conf("[http]\nmax_body = 1x\n");
	reload();
	expect_logged("conf:6: max_body: \"1x\" is no size");
	expect_logged("<4>the old configuration stays");
	cr_assert_eq(status_of_body(3000), 413);
	write_conf("[http]\nmax_body = 1M\n[pool]\nqueue = 13\n");
	reload();
	expect_logged("reload queue: not while it runs");
	cr_assert_eq(status_of_body(3000), 413);

	write_conf("");
	reload();
	cr_assert_eq(status_of_body(3000), 201);
	stop();
}

static int times_logged(const char *text)
{
	TP_FREE char *log = log_text();
	int times = 0;

	for (const char *at = log; (at = strstr(at, text)); at += strlen(text))
		times++;
	return times;
}

/* What needs a restart is told for as long as it does. */
Test(process, compares_with_what_runs)
{
	static const char told[] = "[tcp] listen has changed: that needs a restart";

	start();
	write_conf("[tcp]\nlisten = 127.0.0.1:0\nplain = yes\n");
	reload();
	cr_expect_eq(times_logged(told), 1);
	reload();
	cr_expect_eq(times_logged(told), 2);
	write_conf("");
	reload();
	cr_expect_eq(times_logged(told), 2);
	stop();
}

static void write_text(int fd, const char *text)
{
	cr_assert(fd >= 0);
	cr_assert(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	tp_close(fd);
}

/* Were the keys read again after the rest is done, they could be others by then. */
Test(process, loads_what_it_has_checked)
{
	TP_FREE char *jwks = tp_asprintf("%s/jwks", where.dir);
	TP_FREE char *broken = tp_asprintf("%s/broken", where.dir);
	TP_FREE char *text =
		tp_asprintf("[http]\nmax_body = 2K\n[auth]\nalgorithms = HS256\njwks = %s\n", jwks);

	start();
	cr_assert(mkfifo(jwks, 0600) == 0);
	write_text(open(broken, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), "{");
	write_conf(text);
	kill(torpord, SIGHUP);
	expect_notice("RELOADING=1\nMONOTONIC_USEC=");
	int fd = open(jwks, O_WRONLY | O_CLOEXEC); /* once torpord reads */
	cr_assert(rename(broken, jwks) == 0);
	write_text(fd, "{\"keys\":[{\"kty\":\"oct\",\"k\":"
		       "\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\"}]}");
	expect_notice("READY=1");
	expect_logged("<6>the configuration was read again");
	cr_assert_eq(status_of_body(3000), 413);
	stop();
}

Test(process, takes_a_socket_from_systemd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, where.socket);
	cr_assert(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	cr_assert(listen(fd, 8) == 0);
	torpord = spawn(fd, "--config", conf, NULL);
	expect_notice("READY=1");
	cr_assert_eq(status_of("/show/a"), 200);
	stop();
	cr_assert(stat(where.socket, &st) == 0); /* it is systemd's */
	tp_close(fd);
}

/* No token in the log, whatever becomes of it. */
Test(process, tokens_are_not_logged)
{
	start();
	for (int i = 0; i < 2; i++) {
		TP_FD int fd = client_unix(&where);
		client_send(fd,
			"GET /show/a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n\r\n",
			i ? "tpr_secret" : STUB_TOKEN);
		struct client_reply r = client_read(fd);
		client_reply_deinit(&r);
	}
	stop();
	expect_logged("GET /show/a: 200");
	expect_logged("GET /show/a: 401");
	TP_FREE char *log = log_text();
	cr_assert(!strstr(log, "tpr_"));
}
