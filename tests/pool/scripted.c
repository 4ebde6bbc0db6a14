/* SPDX-License-Identifier: Apache-2.0 */
/* Guests without QEMU. */
#include "scripted.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

static const char greeting[] =
	"{\"QMP\": {\"version\": {\"qemu\": {\"major\": 7, \"minor\": 2, \"micro\": 22}}}}\n";

static void must(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "scripted guest: %s: %m\n", what);
		abort();
	}
}

/* The other end may be gone by now. */
static void say(int fd, const void *bytes, size_t len)
{
	ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

	must(n == (ssize_t)len || errno == EPIPE || errno == ECONNRESET, "send");
}

/* --- QMP --- */

static void reply(struct scripted *guest, const json_t *request)
{
	const char *command = json_string_value(json_object_get(request, "execute"));
	bool asked = strcmp(command, "query-status") == 0;
	char text[256];

	if (asked)
		sem_post(&guest->asked);
	if (!(atomic_load(&guest->answers) & SCRIPTED_QMP))
		return;
	if (strcmp(command, "cont") == 0)
		say(guest->qmp_fd, "{\"event\": \"RESUME\"}\n", 20);
	int len = snprintf(text, sizeof(text), "{\"return\": {}, \"id\": %jd}\n",
		(intmax_t)json_integer_value(json_object_get(request, "id")));
	say(guest->qmp_fd, text, (size_t)len);
	if (asked)
		sem_post(&guest->told);
}

/* One request to the next; they come whole, since they are short and written at once. */
static bool hear_qmp(struct scripted *guest)
{
	char text[4096];
	ssize_t n = recv(guest->qmp_fd, text, sizeof(text), 0);

	for (char *line = text, *end; n > 0 && line < text + n; line = end + 1) {
		end = memchr(line, '\n', (size_t)(text + n - line));
		must(end, "half a line");
		json_t *request = json_loadb(line, (size_t)(end - line), 0, NULL);
		must(request, "no JSON");
		reply(guest, request);
		json_decref(request);
	}
	return n > 0;
}

/* --- The helper --- */

static void send_frame(struct scripted *guest, struct tp_wire_out *out)
{
	uint8_t bytes[TP_WIRE_MAX_ENCODED];
	size_t len = tp_wire_encode(out, bytes);

	say(guest->helper_fd, bytes, len);
}

static void answer_frame(struct scripted *guest, const struct tp_wire_frame *frame)
{
	struct tp_wire_out out;
	struct tp_wire_fresh fresh;
	struct tp_wire_ping ping;

	if (frame->type == TP_WIRE_FRESH && tp_wire_get_fresh(frame, &fresh)) {
		struct tp_wire_fresh_done done = {.nonce = fresh.nonce,
			.done = fresh.steps,
			.realtime_ns = (int64_t)tp_realtime_ns()};
		tp_wire_begin(&out, TP_WIRE_FRESH_DONE, 0);
		tp_wire_put_fresh_done(&out, &done);
		send_frame(guest, &out);
	} else if (frame->type == TP_WIRE_PING && tp_wire_get_ping(frame, &ping)) {
		struct tp_wire_pong pong = {
			.nonce = ping.nonce, .realtime_ns = (int64_t)tp_realtime_ns()};
		tp_wire_begin(&out, TP_WIRE_PONG, 0);
		tp_wire_put_pong(&out, &pong);
		send_frame(guest, &out);
	}
}

static bool hear_helper(struct scripted *guest, struct tp_wire_decoder *decoder)
{
	uint8_t bytes[4096];
	ssize_t n = recv(guest->helper_fd, bytes, sizeof(bytes), 0);

	for (size_t used = 0; n > 0 && used < (size_t)n;) {
		struct tp_wire_frame frame;
		bool found;
		used += tp_wire_decode(decoder, bytes + used, (size_t)n - used, &frame, &found);
		if (found && atomic_load(&guest->answers) & SCRIPTED_HELPER)
			answer_frame(guest, &frame);
	}
	return n > 0;
}

static void *speak(void *data)
{
	struct scripted *guest = data;
	struct tp_wire_decoder *decoder = tp_malloc(sizeof(*decoder));
	struct pollfd fds[] = {{.fd = guest->qmp_fd, .events = POLLIN},
		{.fd = guest->helper_fd, .events = POLLIN}};

	tp_wire_decoder_init(decoder);
	say(guest->qmp_fd, greeting, sizeof(greeting) - 1);
	/* What takes over the guest closes both, one after the other. */
	while (fds[0].fd >= 0) {
		must(poll(fds, 2, -1) > 0, "poll");
		if (fds[0].revents && !hear_qmp(guest))
			fds[0].fd = -1;
		if (fds[1].revents && !hear_helper(guest, decoder))
			fds[1].fd = -1;
	}
	free(decoder);
	return NULL;
}

/* --- The process, and what the engine has of it --- */

static void let_go(struct tp_guest *guest, bool ended)
{
	(void)guest;
	(void)ended;
}

static char *output_tail(struct tp_guest *guest)
{
	(void)guest;
	return tp_strdup("");
}

static const struct tp_launcher_ops ops = {.let_go = let_go, .output_tail = output_tail};
static struct tp_launcher launcher = {.ops = &ops};

static pid_t start_process(void)
{
	pid_t pid = fork();

	must(pid >= 0, "fork");
	if (pid > 0)
		return pid;
	/* Others' sockets would stay open by it. */
	close_range(3, UINT_MAX, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

static struct tp_guest *new_guest(struct scripted *scripted, int qmp_fd)
{
	struct tp_guest *guest = tp_calloc(1, sizeof(*guest));
	struct tp_call call = tp_call_within(20 * TP_NSEC_PER_SEC);

	guest->launcher = &launcher;
	guest->name = tp_strdup("scripted");
	guest->process.pid = scripted->pid;
	guest->process.pidfd = pidfd_open(scripted->pid, 0);
	guest->bound = true;
	guest->helper_fd = -1;
	guest->exit_status = -1;
	must(guest->process.pidfd >= 0, "pidfd_open");
	must(!tp_process_start_time(scripted->pid, &guest->process.start_time), "its start");
	must(!tp_qmp_open(qmp_fd, guest->name, &call, &guest->qmp), "greet");
	return guest;
}

static struct tp_shell *new_shell(
	struct scripted *guest, struct torpor_template *tmpl, unsigned int answers)
{
	int qmp[2];
	int helper[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, qmp) == 0, "socketpair");
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, helper) == 0, "socketpair");
	guest->pid = start_process();
	guest->qmp_fd = qmp[1];
	guest->helper_fd = helper[1];
	atomic_init(&guest->answers, SCRIPTED_WELL);
	sem_init(&guest->asked, 0, 0);
	sem_init(&guest->told, 0, 0);
	must(pthread_create(&guest->thread, NULL, speak, guest) == 0, "pthread_create");

	struct tp_shell *shell = tp_calloc(1, sizeof(*shell));
	shell->guest = new_guest(guest, qmp[0]);
	shell->memory = TP_MEMORY_NONE;
	shell->memory.base = tp_base_ref(tmpl->base);
	shell->guest->helper_fd = helper[0];
	atomic_store(&guest->answers, answers);
	return shell;
}

void scripted_wait_warm(struct scripted *guest, struct torpor_template *tmpl, unsigned int answers)
{
	struct tp_shell *shell = new_shell(guest, tmpl, answers);

	shell->helper = tp_helper_new(tp_guest_take_helper_fd(shell->guest));
	tp_stock_put(tmpl, &tmpl->warm, shell);
}

void scripted_wait_shell(struct scripted *guest, struct torpor_template *tmpl, unsigned int answers)
{
	tp_stock_put(tmpl, &tmpl->shells, new_shell(guest, tmpl, answers));
}

void scripted_close_qmp(struct scripted *guest)
{
	shutdown(guest->qmp_fd, SHUT_RDWR);
}

bool scripted_ended(struct scripted *guest)
{
	pthread_join(guest->thread, NULL);
	tp_close(guest->qmp_fd);
	tp_close(guest->helper_fd);
	sem_destroy(&guest->asked);
	sem_destroy(&guest->told);
	return kill(guest->pid, 0) < 0 && errno == ESRCH;
}
