/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's log. */
#include "daemon/log.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

static _Atomic int least_level = TP_LOG_INFO;
static bool to_terminal;

/* What others had a hand in may hold anything: one line stays one line. */
static void flatten(char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = ' ';
	}
}

void tp_daemon_log_line(void *data, int level, const char *line)
{
	static const char *const priorities[] = {"<7>", "<6>", "<4>"};

	(void)data;
	if (level < least_level || level < TP_LOG_DEBUG || level > TP_LOG_WARNING)
		return;
	TP_FREE char *flat = tp_strdup(line);
	flatten(flat);
	TP_FREE char *text =
		tp_asprintf("%s%s\n", to_terminal ? "torpord: " : priorities[level], flat);
	/* One write, so that lines of several threads stay whole. Nobody could be told of a
	 * failure. */
	ssize_t written = write(STDERR_FILENO, text, strlen(text));
	(void)written;
}

static void line_of_base(void *data, enum tp_log_level level, const char *line)
{
	tp_daemon_log_line(data, (int)level, line);
}

void tp_daemon_log_level(enum tp_log_level least)
{
	least_level = (int)least;
}

void tp_daemon_log_start(enum tp_log_level least)
{
	to_terminal = isatty(STDERR_FILENO) == 1;
	tp_daemon_log_level(least);
	tp_log_set(line_of_base, NULL);
}
