/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a console. */
#include "pool/console.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

#define LINE_MAX_BYTES 256
#define TAIL_LINES     6

struct tp_console {
	/* Constant. */
	int read_fd;
	int write_fd; /* -1 once closed; the creator's thread only */
	int ready_fd;
	int stop_fd;
	torpor_progress_fn *progress;
	void *progress_data;
	char *ready_line;
	pthread_t thread;

	/* The reading thread's. */
	char line[LINE_MAX_BYTES + 1];
	size_t len;

	/* By the lock. */
	pthread_mutex_t lock;
	char tail[TAIL_LINES][LINE_MAX_BYTES + 1];
	size_t lines; /* so far */
};

static void end_line(struct tp_console *console)
{
	uint64_t one = 1;

	console->line[console->len] = '\0';
	if (console->len == 0)
		return;
	console->len = 0;
	pthread_mutex_lock(&console->lock);
	strcpy(console->tail[console->lines++ % TAIL_LINES], console->line);
	pthread_mutex_unlock(&console->lock);
	if (console->progress)
		console->progress(console->progress_data, "boot", console->line);
	if (console->ready_line && strstr(console->line, console->ready_line)) {
		ssize_t n = write(console->ready_fd, &one, sizeof(one));
		(void)n;
	}
}

static void take_char(struct tp_console *console, char c)
{
	if (c == '\n' || console->len == LINE_MAX_BYTES)
		end_line(console);
	if (c != '\n' && c != '\r')
		console->line[console->len++] = (char)(c >= ' ' && c <= '~' ? c : '?');
}

static void *read_console(void *data)
{
	struct tp_console *console = data;
	char bytes[4096];

	for (;;) {
		struct pollfd fds[] = {
			{.fd = console->read_fd, .events = POLLIN},
			{.fd = console->stop_fd, .events = POLLIN},
		};
		if (poll(fds, TP_ARRAY_LEN(fds), -1) < 0 && errno != EINTR)
			return NULL;
		ssize_t n = read(console->read_fd, bytes, sizeof(bytes));
		for (ssize_t i = 0; i < n; i++)
			take_char(console, bytes[i]);
		bool over = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
		bool stopped = n < 0 && fds[1].revents;
		if (over || stopped)
			break;
	}
	end_line(console);
	return NULL;
}

static struct torpor_error *open_fds(struct tp_console *console)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return tp_error_errno(errno, "make pipe for", "console");
	console->read_fd = fds[0];
	console->write_fd = fds[1];
	console->ready_fd = eventfd(0, EFD_CLOEXEC);
	console->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (console->ready_fd < 0 || console->stop_fd < 0 ||
		fcntl(console->read_fd, F_SETFL, O_NONBLOCK) < 0)
		return tp_error_errno(errno, "make events for", "console");
	return NULL;
}

static void free_console(struct tp_console *console)
{
	tp_close(console->read_fd);
	tp_close(console->write_fd);
	tp_close(console->ready_fd);
	tp_close(console->stop_fd);
	pthread_mutex_destroy(&console->lock);
	free(console->ready_line);
	free(console);
}

struct torpor_error *tp_console_new(torpor_progress_fn *progress, void *data,
	const char *ready_line, struct tp_console **console_out)
{
	struct tp_console *console = tp_calloc(1, sizeof(*console));

	console->read_fd = console->write_fd = console->ready_fd = console->stop_fd = -1;
	console->progress = progress;
	console->progress_data = data;
	console->ready_line = tp_strdup(ready_line);
	pthread_mutex_init(&console->lock, NULL);
	struct torpor_error *err = open_fds(console);
	if (!err) {
		int errnum = pthread_create(&console->thread, NULL, read_console, console);
		err = errnum ? tp_error_errno(errnum, "start thread for", "console") : NULL;
	}
	if (err) {
		free_console(console);
		return err;
	}
	*console_out = console;
	return NULL;
}

int tp_console_fd(const struct tp_console *console)
{
	return console->write_fd;
}

void tp_console_close_writer(struct tp_console *console)
{
	console->write_fd = tp_close(console->write_fd);
}

int tp_console_ready_fd(const struct tp_console *console)
{
	return console->ready_fd;
}

char *tp_console_tail(struct tp_console *console)
{
	char *tail = tp_strdup("");

	pthread_mutex_lock(&console->lock);
	size_t first = console->lines > TAIL_LINES ? console->lines - TAIL_LINES : 0;
	for (size_t i = first; i < console->lines; i++) {
		TP_FREE char *before = tail;
		tail = tp_asprintf(
			"%s%s%s", before, i > first ? " | " : "", console->tail[i % TAIL_LINES]);
	}
	pthread_mutex_unlock(&console->lock);
	return tail;
}

struct tp_console *tp_console_free(struct tp_console *console)
{
	uint64_t one = 1;

	if (!console)
		return NULL;
	tp_console_close_writer(console);
	ssize_t n = write(console->stop_fd, &one, sizeof(one));
	(void)n;
	pthread_join(console->thread, NULL);
	free_console(console);
	return NULL;
}
