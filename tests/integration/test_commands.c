/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several commands in one session at once, and what is done to the session meanwhile: their streams
 * last as long as the guest's process, and stand still when that does.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "fault.h"
#include "inside.h"
#include "pool/session.h"

static struct torpor_engine *engine;
static struct torpor_template *tmpl;

static void open_all(void)
{
	engine = it_open();
	tmpl = it_template(engine);
}

static void close_all(void)
{
	torpor_template_close(tmpl);
	engine = torpor_engine_close(engine);
	cr_assert_eq(it_qemu_children(), 0);
}

TestSuite(commands, .init = open_all, .fini = close_all, .timeout = 400);
/* With an engine of their own. */
TestSuite(commands_otherwise, .timeout = 400);

/* --- commands in the background --- */

#define KEPT 4096

struct command {
	struct torpor_session *session;
	const char *script;
	pthread_t thread;
	int input; /* to be written to; closed: its end */
	int theirs;
	struct torpor_error *err;
	struct torpor_exec_result result;

	pthread_mutex_t lock;
	pthread_cond_t printed;
	/* By the lock. */
	char text[KEPT]; /* what it printed */
	size_t len;
	/* For one that counts: numbers so far, and whether one was missing. */
	bool counts;
	uint64_t last, number;
	bool gap;
};

static void count(struct command *c, char byte)
{
	if (byte != '\n') {
		c->number = c->number * 10 + (uint64_t)(byte - '0');
		return;
	}
	c->gap |= c->number != c->last + 1;
	c->last = c->number;
	c->number = 0;
}

static void keep(void *data, int stream, const void *bytes, size_t len)
{
	struct command *c = data;
	const char *at = bytes;

	(void)stream;
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < len; i++) {
		if (c->counts)
			count(c, at[i]);
		else if (c->len < KEPT - 1)
			c->text[c->len++] = at[i];
	}
	pthread_cond_broadcast(&c->printed);
	pthread_mutex_unlock(&c->lock);
}

static void *run(void *data)
{
	struct command *c = data;
	const char *const argv[] = {"sh", "-c", c->script, NULL};
	struct torpor_exec exec = {.argv = argv,
		.has_stdin = true,
		.stdin_fd = c->theirs,
		.output = keep,
		.output_data = c};

	c->err = torpor_session_exec(c->session, &exec, NULL, &c->result);
	return NULL;
}

static void start(struct command *c, struct torpor_session *session, const char *script)
{
	int fds[2];

	c->session = session;
	c->script = script;
	cr_assert_eq(pipe(fds), 0);
	c->theirs = fds[0];
	c->input = fds[1];
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->printed, NULL);
	cr_assert_eq(pthread_create(&c->thread, NULL, run, c), 0);
}

static void wait_for(struct command *c, const char *text)
{
	pthread_mutex_lock(&c->lock);
	while (!strstr(c->text, text))
		pthread_cond_wait(&c->printed, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

/* Until it has counted on by N. */
static void wait_for_more(struct command *c, uint64_t n)
{
	pthread_mutex_lock(&c->lock);
	n += c->last;
	while (c->last < n && !c->gap)
		pthread_cond_wait(&c->printed, &c->lock);
	cr_assert_not(c->gap, "a number is missing before %llu", (unsigned long long)c->last);
	pthread_mutex_unlock(&c->lock);
}

static void join(struct command *c)
{
	pthread_join(c->thread, NULL);
	close(c->input);
	close(c->theirs);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->printed);
}

static void join_ended(struct command *c, int status)
{
	join(c);
	it_ok(c->err);
	cr_assert(c->result.exited && c->result.status == status);
}

static void join_cut(struct command *c, enum torpor_errc code, const char *why)
{
	join(c);
	cr_assert_not_null(c->err);
	cr_assert_eq(torpor_error_code(c->err), code, "%s", torpor_error_message(c->err));
	cr_assert(strstr(torpor_error_message(c->err), why), "%s", torpor_error_message(c->err));
	torpor_error_free(c->err);
}

/* --- beside each other --- */

static void check_others(struct torpor_session *session)
{
	static const char *const scripts[] = {"echo a; exit 1", "seq 1 3 | tac",
		"head -c 200000 /dev/zero | wc -c", "cat; echo d"};
	static const char *const texts[] = {"a\n", "3\n2\n1\n", "200000\n", "d\n"};
	struct command others[TP_ARRAY_LEN(scripts)] = {0};

	for (size_t i = 0; i < TP_ARRAY_LEN(scripts); i++)
		start(&others[i], session, scripts[i]);
	close(others[3].input);
	others[3].input = -1;
	for (size_t i = 0; i < TP_ARRAY_LEN(scripts); i++) {
		join_ended(&others[i], i == 0);
		cr_assert_str_eq(others[i].text, texts[i]);
	}
}

Test(commands, others_run_beside_one_that_lasts_and_a_park_cuts_it)
{
	struct torpor_session *session = it_start(tmpl);
	struct command server = {0};

	start(&server, session, "echo up; sleep 1000; echo end >/end");
	wait_for(&server, "up\n");
	cr_assert_not(tp_session_busy(session), "it holds up nothing");
	check_others(session);
	it_ok(torpor_session_ping(session, NULL, NULL));
	it_ok(torpor_session_park(session, NULL, NULL));
	join_cut(&server, TORPOR_E_BUSY, "was parked");

	/* It is where it was, and others run beside it as before. */
	it_ok(torpor_session_resume(session, NULL, NULL));
	cr_assert_str_eq(it_run(session, "ps -o args | grep -c '^sleep 1000$'"), "1");
	check_others(session);
	it_run(session, "kill $(pidof sleep); while [ ! -e /end ]; do sleep 0.1; done");
	it_ok(torpor_session_destroy(session, NULL));
}

Test(commands, one_more_than_can_run_is_refused)
{
	struct torpor_session *session = it_start(tmpl);
	static struct command c[TP_WIRE_MAX_COMMANDS];
	const char *const argv[] = {"true", NULL};
	struct torpor_exec_result result;

	for (size_t i = 0; i < TP_ARRAY_LEN(c); i++) {
		start(&c[i], session, "echo up; exec cat");
		wait_for(&c[i], "up\n");
	}
	struct torpor_error *err =
		torpor_session_exec(session, &(struct torpor_exec){.argv = argv}, NULL, &result);
	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_LIMIT, "%s", torpor_error_message(err));
	cr_assert_str_eq(torpor_error_reason(err), "session-commands");
	torpor_error_free(err);
	/* They are left running by a park, and aren't in the way after it. */
	it_ok(torpor_session_park(session, NULL, NULL));
	for (size_t i = 0; i < TP_ARRAY_LEN(c); i++)
		join_cut(&c[i], TORPOR_E_BUSY, "was parked");
	it_ok(torpor_session_resume(session, NULL, NULL));
	cr_assert_str_eq(it_run(session, "echo here"), "here");
	it_ok(torpor_session_destroy(session, NULL));
}

/* --- what stands still goes on --- */

struct going {
	struct command echo;	/* gives back its input */
	struct command counter; /* prints as fast as it can */
};

/* Both streams go on, behind what was done. */
static void check_going(struct going *g, const char *line)
{
	cr_assert_eq(write(g->echo.input, line, strlen(line)), (ssize_t)strlen(line));
	wait_for(&g->echo, line);
	wait_for_more(&g->counter, 2000);
}

static struct torpor_error *refuse(void *data, struct torpor_session *session)
{
	(void)data, (void)session;
	return tp_error(TORPOR_E_NOSPACE, "refuse", NULL, "by the test");
}

Test(commands, streams_go_on_after_a_checkpoint_a_pause_and_a_park_that_failed)
{
	struct torpor_session *session = it_start(tmpl);
	struct tp_session_hooks hooks = {.on_durable = refuse};
	struct torpor_session *copy;
	struct going g = {.counter.counts = true};
	const char *name = it_name("cp");

	start(&g.echo, session, "cat; exit 4");
	start(&g.counter, session, "i=0; while [ ! -e /stop ]; do i=$((i + 1)); echo $i; done");
	check_going(&g, "first\n");
	for (int i = 0; i < 3; i++)
		it_ok(torpor_session_checkpoint(session, name, NULL, NULL));
	check_going(&g, "after checkpoints\n");
	for (int i = 0; i < 3; i++) {
		it_ok(torpor_session_pause(session, NULL));
		cr_assert_eq(write(g.echo.input, "paused ", 7), 7);
		it_ok(torpor_session_unpause(session, NULL));
	}
	check_going(&g, "after pauses\n");
	for (int i = 0; i < 3; i++)
		it_fails(tp_session_park_hooked(session, &hooks, NULL, NULL), TORPOR_E_NOSPACE);
	check_going(&g, "after parks that failed\n");
	struct torpor_session_spec spec = {.name = it_name("fork")};
	it_ok(torpor_session_fork(session, &spec, 1, NULL, NULL, &copy));
	check_going(&g, "after a fork\n");
	cr_assert_str_eq(it_run(copy, "echo beside"), "beside");
	it_clock_check(session);

	it_run(session, "touch /stop");
	join_ended(&g.counter, 0);
	close(g.echo.input);
	g.echo.input = -1;
	join_ended(&g.echo, 4);
	cr_assert_str_eq(g.echo.text,
		"first\nafter checkpoints\npaused paused paused after pauses\n"
		"after parks that failed\nafter a fork\n");
	it_ok(torpor_session_destroy(copy, NULL));
	it_ok(torpor_session_destroy(session, NULL));
	in_remove(engine, name);
}

/* --- the end of the guest --- */

Test(commands, the_end_of_the_session_or_the_guest_is_told)
{
	struct torpor_session *session = it_start(tmpl);
	struct torpor_session_info info;
	struct command c[2] = {0};

	for (int i = 0; i < 2; i++) {
		start(&c[i], session, "echo up; sleep 1000");
		wait_for(&c[i], "up\n");
	}
	it_ok(torpor_session_destroy(session, NULL));
	for (int i = 0; i < 2; i++)
		join_cut(&c[i], TORPOR_E_BUSY, "was ended");

	session = it_start(tmpl);
	memset(c, 0, sizeof(c));
	for (int i = 0; i < 2; i++) {
		start(&c[i], session, "echo up; sleep 1000");
		wait_for(&c[i], "up\n");
	}
	it_ok(torpor_session_info(session, &info));
	cr_assert_eq(kill(info.pid, SIGKILL), 0);
	for (int i = 0; i < 2; i++)
		join_cut(&c[i], TORPOR_E_QEMU, it_killed());
	it_ok(torpor_session_destroy(session, NULL));
}

Test(commands_otherwise, closed_the_guest_is_kept_and_runs_them_on)
{
	engine = it_open_with((struct torpor_engine_options){.keep_guests = true});
	tmpl = it_template(engine);
	struct torpor_session *session = it_start(tmpl);
	struct command c = {0};
	TP_FREE char *handover = NULL;

	start(&c, session, "echo up; sleep 1000");
	wait_for(&c, "up\n");
	it_ok(torpor_session_handover(session, &handover));
	torpor_session_close(session);
	join_cut(&c, TORPOR_E_BUSY, "left running");
	it_ok(torpor_session_adopt(engine, handover, NULL, &session));
	cr_assert_str_eq(it_run(session, "ps -o args | grep -c '^sleep 1000$'"), "1");
	it_ok(torpor_session_destroy(session, NULL));
	close_all();
}
