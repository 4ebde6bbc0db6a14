/* SPDX-License-Identifier: Apache-2.0 */
/*
 * torpor top: a live view.
 *
 * The main thread draws, once a second and whenever the other thread, which follows the events,
 * says that something happened. Figures of processes are asked for once a second only.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

#define ROWS_MAX   500 /* sessions that are looked at */
#define ASKED_MAX  100 /* of these, whose processes' figures are asked for */
#define CTRL_C	   3
#define TICK_MS	   1000
#define EVENT_WAIT 50 /* ms: what comes in a burst is drawn once */

struct row {
	json_t *json; /* of the list */
	char id[17];
	uint64_t private_bytes;
	uint64_t cpu_ms;
	bool asked;
};

struct top {
	struct cli *cli;
	struct torpor_client *client;
	json_t *pool;
	struct row *rows;
	size_t n;

	/* The thread that follows the events. */
	pthread_t thread;
	struct torpor_cancel *cancel;
	int changed_fd; /* eventfd */
};

/* --- what is shown --- */

static void forget(struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		json_decref(rows[i].json);
	free(rows);
}

static bool has_process(const struct row *row)
{
	return json_is_object(json_object_get(row->json, "guest"));
}

/* Asks for the figures of ROW's process; a session that has just gone keeps what it had. */
static void ask_figures(struct top *top, struct row *row)
{
	char *path = cli_path("/v1/sessions/", row->id, "");
	json_t *json = NULL;
	struct torpor_error *err = cli_ask(top->cli, top->client, "GET", path, NULL, &json);

	free(path);
	if (!err) {
		const json_t *guest = json_object_get(json, "guest");
		row->private_bytes = (uint64_t)cli_integer(guest, "private_bytes");
		row->cpu_ms = (uint64_t)cli_integer(guest, "cpu_ms");
		row->asked = true;
	}
	torpor_error_free(err);
	json_decref(json);
}

static void keep_figures(struct top *top, struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < top->n; k++) {
			if (strcmp(rows[i].id, top->rows[k].id) != 0)
				continue;
			rows[i].private_bytes = top->rows[k].private_bytes;
			rows[i].cpu_ms = top->rows[k].cpu_ms;
			break;
		}
	}
}

static int by_memory(const void *a, const void *b)
{
	const struct row *one = a;
	const struct row *other = b;

	if (has_process(one) != has_process(other))
		return has_process(one) ? -1 : 1;
	if (one->private_bytes != other->private_bytes)
		return one->private_bytes > other->private_bytes ? -1 : 1;
	return strcmp(one->id, other->id);
}

struct gathering {
	struct row *rows;
	size_t n;
};

static bool gather(void *data, const struct torpor_remote_session *session)
{
	struct gathering *gathering = data;
	struct row *row = &gathering->rows[gathering->n++];

	*row = (struct row){.json = json_loads(session->json, 0, NULL)};
	memcpy(row->id, session->id, sizeof(row->id));
	return gathering->n < ROWS_MAX;
}

/* Asks for everything anew; FIGURES: those of processes too. */
static struct torpor_error *refresh(struct top *top, bool figures)
{
	struct torpor_client_filter filter = {.limit = ROWS_MAX};
	struct gathering fresh = {.rows = calloc(ROWS_MAX, sizeof(*fresh.rows))};
	size_t asked = 0;
	json_t *pool;

	if (!fresh.rows)
		abort();
	struct torpor_error *err = cli_ask(top->cli, top->client, "GET", "/v1/pool", NULL, &pool);
	if (!err) {
		json_decref(top->pool);
		top->pool = pool;
		err = torpor_client_list(top->client, &filter, &top->cli->call, gather, &fresh);
	}
	if (err) {
		forget(fresh.rows, fresh.n);
		return err;
	}
	keep_figures(top, fresh.rows, fresh.n);
	for (size_t i = 0; figures && i < fresh.n && asked < ASKED_MAX; i++) {
		if (has_process(&fresh.rows[i])) {
			ask_figures(top, &fresh.rows[i]);
			asked++;
		}
	}
	qsort(fresh.rows, fresh.n, sizeof(*fresh.rows), by_memory);
	forget(top->rows, top->n);
	top->rows = fresh.rows;
	top->n = fresh.n;
	return NULL;
}

static void print_row(const struct row *row)
{
	const json_t *guest = json_object_get(row->json, "guest");
	const json_t *image = json_object_get(row->json, "image");
	uint64_t ram = (uint64_t)cli_integer(guest, "memory_bytes");
	uint64_t bytes = (uint64_t)cli_integer(image, "bytes");

	printf("%-8s  %-24s %-9s %-16s %10s %10s %9s %10s %8s\n", cli_short(row->id),
		cli_field(row->json, "name"), cli_field(row->json, "state"),
		cli_field(row->json, "template"),
		row->private_bytes ? cli_size(row->private_bytes) : "-", ram ? cli_size(ram) : "-",
		guest ? cli_time(row->cpu_ms * 1000000) : "-", bytes ? cli_size(bytes) : "-",
		cli_ago(row->json, "last_active"));
}

/* At most LINES lines of sessions; 0: all. */
static void print_all(const struct top *top, size_t lines)
{
	cli_print_host(top->pool);
	cli_print_pool(top->pool);
	printf("\n%-8s  %-24s %-9s %-16s %10s %10s %9s %10s %8s\n", "ID", "NAME", "STATE",
		"TEMPLATE", "PRIVATE", "MEMORY", "CPU", "IMAGE", "IDLE");
	for (size_t i = 0; i < top->n && (lines == 0 || i < lines); i++)
		print_row(&top->rows[i]);
}

static void print_json(const struct top *top)
{
	json_t *sessions = json_array();

	for (size_t i = 0; i < top->n; i++) {
		json_t *guest = json_object_get(top->rows[i].json, "guest");
		if (top->rows[i].asked)
			json_object_set_new(guest, "private_bytes",
				json_integer((json_int_t)top->rows[i].private_bytes));
		json_array_append(sessions, top->rows[i].json);
	}
	cli_print_json(json_pack("{s:O, s:o}", "pool", top->pool, "sessions", sessions));
}

static struct torpor_error *print_once(struct top *top)
{
	struct torpor_error *err = refresh(top, true);

	if (err)
		return err;
	if (top->cli->json)
		print_json(top);
	else
		print_all(top, 0);
	return NULL;
}

/* --- the live view --- */

static bool on_event(void *data, const struct torpor_client_event *event)
{
	const struct top *top = data;
	uint64_t one = 1;

	(void)event;
	return write(top->changed_fd, &one, sizeof(one)) == (ssize_t)sizeof(one) || errno == EAGAIN;
}

/* Where events can't be had the view still lives by its clock. */
static void *follow(void *data)
{
	struct top *top = data;
	struct torpor_call call = {.cancel = top->cancel};

	torpor_error_free(torpor_client_events(top->client, NULL, &call, on_event, top));
	return NULL;
}

/* The alternate screen, no cursor, keys as they come, Ctrl-C too: nothing else leaves it. */
static void enter_screen(struct termios *before)
{
	struct termios raw;

	tcgetattr(STDIN_FILENO, before);
	raw = *before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	fputs("\033[?1049h\033[?25l", stdout);
	fflush(stdout);
}

static void leave_screen(const struct termios *before)
{
	fputs("\033[?25h\033[?1049l", stdout);
	fflush(stdout);
	tcsetattr(STDIN_FILENO, TCSANOW, before);
}

static void draw(const struct top *top, const char *trouble)
{
	struct winsize size = {0};
	size_t above = 5 + json_array_size(json_object_get(top->pool, "templates"));

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0)
		size.ws_row = 24;
	/* Lines that are too long are cut, not wrapped, or the screen would scroll. */
	fputs("\033[H\033[2J\033[?7l", stdout);
	if (trouble)
		printf("torpor: %s\n", trouble);
	print_all(top, size.ws_row > above + 1 ? size.ws_row - above : 1);
	fputs("\033[?7h", stdout);
	fflush(stdout);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Waits for a key, an event or the next tick. False: it is to end. */
static bool wait_for_change(struct top *top, int timeout_ms)
{
	struct pollfd fds[] = {
		{.fd = STDIN_FILENO, .events = POLLIN},
		{.fd = top->changed_fd, .events = POLLIN},
	};
	uint64_t count;
	char key = 0;

	if (poll(fds, 2, timeout_ms) < 0)
		return errno == EINTR;
	if (fds[0].revents &&
		(read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q' || key == CTRL_C))
		return false;
	if (fds[1].revents && poll(fds, 1, EVENT_WAIT) >= 0)
		return read(top->changed_fd, &count, sizeof(count)) > 0 || errno == EAGAIN;
	return true;
}

static struct torpor_error *live(struct top *top)
{
	uint64_t tick = now_ms() + TICK_MS;
	bool figures = false; /* the first ones were asked for already */

	for (;;) {
		struct torpor_error *err = refresh(top, figures);
		if (err && torpor_error_code(err) == TORPOR_E_CANCELLED)
			return torpor_error_free(err);
		/* A torpord that is being restarted comes back. */
		draw(top, err ? torpor_error_message(err) : NULL);
		torpor_error_free(err);
		uint64_t now = now_ms();
		if (!wait_for_change(top, tick > now ? (int)(tick - now) : 0))
			return NULL;
		figures = now_ms() >= tick;
		if (figures)
			tick = now_ms() + TICK_MS;
	}
}

static struct torpor_error *run_live(struct top *top)
{
	struct termios before;
	struct torpor_error *err = refresh(top, true);

	if (!err)
		err = torpor_cancel_new(&top->cancel);
	if (err)
		return err;
	top->changed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	bool following = pthread_create(&top->thread, NULL, follow, top) == 0;
	enter_screen(&before);
	err = live(top);
	leave_screen(&before);
	torpor_cancel_trigger(top->cancel);
	if (following)
		pthread_join(top->thread, NULL);
	torpor_cancel_free(top->cancel);
	close(top->changed_fd);
	return err;
}

static struct torpor_error *run(struct cli *cli, struct torpor_client *client, void *input)
{
	struct top top = {.cli = cli, .client = client};
	bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);

	(void)input;
	struct torpor_error *err = terminal && !cli->json ? run_live(&top) : print_once(&top);
	forget(top.rows, top.n);
	json_decref(top.pool);
	return err;
}

int cli_top(struct cli *cli, int argc, char **argv)
{
	struct cli_words words = {
		.cli = cli,
		.args_doc = "",
		.doc = "Shows sessions, those that use the most memory first, and the pool, as "
		       "they are now and as they change. q ends it. Without a terminal, and with "
		       "--json, prints once.",
	};

	cli_parse_words(&words, argc, argv);
	free(words.words);
	return cli_with_client(cli, run, NULL);
}
