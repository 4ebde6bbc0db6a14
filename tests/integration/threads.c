/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many threads on one session, and on many: nothing crashes, hangs or lies, and no command that was
 * acknowledged is lost. A plain program, since Criterion can't run under the race detector.
 *
 *   threads [SEED]
 *
 * TORPOR_TEST_STATE and TORPOR_TEST_GUEST say where templates are and what to make them from.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <torpor/torpor.h>
#include <unistd.h>

#define SESSIONS 3
#define THREADS	 5  /* on the first session; the others have 2 */
#define ROUNDS	 14 /* of each thread */
#define LONG_NS	 UINT64_C(400000000000)

static struct torpor_engine *engine;
static struct torpor_template *tmpl;

struct subject {
	struct torpor_session *session;
	atomic_uint done; /* commands that answered */
	atomic_uint cut;  /* commands that a park cut off, and may have run */
	atomic_uint parks;
};

struct actor {
	struct subject *subject;
	pthread_t thread;
	unsigned int number;
	unsigned int seed;
};

static _Noreturn void fail(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	abort();
}

static void must(struct torpor_error *err, const char *what)
{
	if (err)
		fail(what, torpor_error_message(err));
}

/* BUSY is what a session in another state says; everything else is a failure. */
static bool went_well(struct torpor_error *err, const char *what)
{
	if (!err)
		return true;
	if (torpor_error_code(err) != TORPOR_E_BUSY)
		fail(what, torpor_error_message(err));
	torpor_error_free(err);
	return false;
}

/* --- What actors do --- */

static const struct torpor_call patient = {.timeout_ns = LONG_NS};

static void look(struct actor *a)
{
	struct torpor_session_info info;

	must(torpor_session_info(a->subject->session, &info), "info");
	bool running = info.state == TORPOR_SESSION_RUNNING;
	if (!running && info.state != TORPOR_SESSION_PARKED)
		fail("info", torpor_session_state_name(info.state));
	if (running != (info.pid != 0) || running != (info.start_time != 0))
		fail("info", "state and process disagree");
}

/* A park cut its stream, or didn't wait for its start: it may have run, or run on. */
static bool was_cut(const struct torpor_error *err)
{
	return err && (strstr(torpor_error_message(err), "the session was parked") ||
			      strstr(torpor_error_message(err), "being parked"));
}

static void run(struct actor *a)
{
	static const char *const argv[] = {"sh", "-c", "echo x >> /log", NULL};
	struct torpor_exec exec = {.argv = argv};
	struct torpor_exec_result result;
	struct torpor_error *err =
		torpor_session_exec(a->subject->session, &exec, &patient, &result);
	bool cut = was_cut(err);

	atomic_fetch_add(cut ? &a->subject->cut : &a->subject->done, cut || !err);
	if (went_well(err, "exec") && (!result.exited || result.status != 0))
		fail("exec", "the command failed");
}

#define LINES 400

struct counted {
	unsigned int lines, number;
	bool wrong;
};

static void count(void *data, int stream, const void *bytes, size_t len)
{
	struct counted *c = data;

	(void)stream;
	for (const char *at = bytes; at < (const char *)bytes + len; at++) {
		if (*at != '\n') {
			c->number = c->number * 10 + (unsigned int)(*at - '0');
			continue;
		}
		c->wrong |= c->number != ++c->lines;
		c->number = 0;
	}
}

/* One that takes its time: its lines come in order whatever happens, and all unless it was cut. */
static void listen_to(struct actor *a)
{
	static const char *const argv[] = {
		"sh", "-c", "i=0; while [ $i -lt 400 ]; do i=$((i + 1)); echo $i; done", NULL};
	struct counted c = {0};
	struct torpor_exec exec = {.argv = argv, .output = count, .output_data = &c};
	struct torpor_exec_result result;
	bool answered = went_well(
		torpor_session_exec(a->subject->session, &exec, &patient, &result), "listen");

	if (c.wrong || c.lines > LINES || (answered && c.lines != LINES))
		fail("listen", "lines are missing");
}

static void ping(struct actor *a)
{
	went_well(torpor_session_ping(a->subject->session, &patient, NULL), "ping");
}

static void park(struct actor *a)
{
	struct torpor_park_report report;

	if (went_well(torpor_session_park(a->subject->session, &patient, &report), "park"))
		atomic_fetch_add(&a->subject->parks, 1);
}

static void resume(struct actor *a)
{
	went_well(torpor_session_resume(a->subject->session, &patient, NULL), "resume");
}

static void checkpoint(struct actor *a)
{
	char name[64];

	snprintf(name, sizeof(name), "threads-%d-%u", getpid(), a->number);
	went_well(
		torpor_session_checkpoint(a->subject->session, name, &patient, NULL), "checkpoint");
}

/* A call that is over before it began, or soon after. */
static void hurry(struct actor *a)
{
	struct torpor_call call = {.timeout_ns = 1 + (uint64_t)(rand_r(&a->seed) % 20000000)};
	struct torpor_error *err = rand_r(&a->seed) % 2
					   ? torpor_session_park(a->subject->session, &call, NULL)
					   : torpor_session_ping(a->subject->session, &call, NULL);

	if (err && torpor_error_code(err) != TORPOR_E_TIMEOUT)
		went_well(err, "hurried call");
	else
		torpor_error_free(err);
}

/* A fork of whatever state it is in. */
static void split(struct actor *a)
{
	struct torpor_session *copy;
	struct torpor_session_spec spec;
	char name[64];

	snprintf(name, sizeof(name), "split-%d-%u", getpid(), a->number);
	spec = (struct torpor_session_spec){.name = name};
	if (went_well(torpor_session_fork(a->subject->session, &spec, 1, &patient, NULL, &copy),
		    "fork"))
		must(torpor_session_destroy(copy, &patient), "destroy");
}

static void *act(void *data)
{
	static void (*const acts[])(struct actor * a) = {look, look, run, run, run, listen_to, ping,
		park, resume, resume, checkpoint, hurry, split};
	struct actor *a = data;

	for (int i = 0; i < ROUNDS; i++) {
		acts[(size_t)rand_r(&a->seed) % (sizeof(acts) / sizeof(*acts))](a);
		look(a);
	}
	return NULL;
}

/* --- All of it --- */

static void open_template(void)
{
	struct torpor_template_info info;
	char kernel[4096];
	char initrd[4096];
	struct torpor_template_spec spec = {
		.name = "minimal", .kernel = kernel, .initrd = initrd, .accel = "tcg"};
	struct torpor_call call = {.timeout_ns = LONG_NS};

	snprintf(kernel, sizeof(kernel), "%s/vmlinuz", getenv("TORPOR_TEST_GUEST"));
	snprintf(initrd, sizeof(initrd), "%s/initrd.img", getenv("TORPOR_TEST_GUEST"));
	struct torpor_error *err = torpor_template_lookup(engine, spec.name, &info);
	if (err) {
		torpor_error_free(err);
		must(torpor_template_build(engine, &spec, NULL, NULL, &call, NULL, &tmpl), "build");
		return;
	}
	must(torpor_template_open(engine, spec.name, &call, &tmpl), "open template");
}

static size_t start_all(struct subject *subjects, struct actor *actors, unsigned int seed)
{
	static char names[SESSIONS][64];
	size_t n = 0;

	for (size_t s = 0; s < SESSIONS; s++) {
		snprintf(names[s], sizeof(names[s]), "threads-%d-s%zu", getpid(), s);
		must(torpor_session_start(tmpl, &(struct torpor_session_spec){.name = names[s]},
			     &patient, NULL, &subjects[s].session),
			"start");
		for (unsigned int t = 0; t < (s == 0 ? THREADS : 2); t++) {
			actors[n] = (struct actor){.subject = &subjects[s],
				.number = (unsigned int)n,
				.seed = seed + (unsigned int)n};
			n++;
		}
	}
	for (size_t i = 0; i < n; i++) {
		if (pthread_create(&actors[i].thread, NULL, act, &actors[i]) != 0)
			fail("start", "no thread");
	}
	return n;
}

static void gather(void *data, int stream, const void *bytes, size_t len)
{
	char *text = data;

	(void)stream;
	if (strlen(text) + len < 64)
		strncat(text, bytes, len);
}

/* Every command that answered has written its line, and none but those that were cut off more. */
static void check(struct subject *s)
{
	static const char *const argv[] = {"sh", "-c", "touch /log; wc -l < /log", NULL};
	char text[64] = "";
	struct torpor_exec exec = {.argv = argv, .output = gather, .output_data = text};
	struct torpor_exec_result result;
	unsigned int done = atomic_load(&s->done);

	went_well(torpor_session_resume(s->session, &patient, NULL), "resume");
	must(torpor_session_exec(s->session, &exec, &patient, &result), "exec");
	unsigned int lines = (unsigned int)strtoul(text, NULL, 10);
	printf("%u commands answered, %u were cut off, %u lines; %u parks\n", done,
		atomic_load(&s->cut), lines, atomic_load(&s->parks));
	if (lines < done || lines > done + atomic_load(&s->cut))
		fail("check", "commands were lost, or ran twice");
	must(torpor_session_destroy(s->session, &patient), "destroy");
}

static void log_line(void *data, int level, const char *line)
{
	(void)data;
	if (level >= 2)
		fprintf(stderr, "torpor: %s\n", line);
}

static void remove_checkpoints(size_t n)
{
	char path[4200];

	for (size_t i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/images/threads-%d-%zu",
			torpor_engine_state_dir(engine), getpid(), i);
		unlink(path);
	}
}

int main(int argc, char **argv)
{
	struct subject subjects[SESSIONS] = {0};
	struct actor actors[SESSIONS * THREADS];
	struct torpor_engine_options options = {
		.state_dir = getenv("TORPOR_TEST_STATE"), .log = log_line};
	unsigned int seed = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 10) : 20240229;

	printf("seed %u\n", seed);
	must(torpor_engine_open(&options, &engine), "open");
	open_template();
	size_t n = start_all(subjects, actors, seed);
	for (size_t i = 0; i < n; i++)
		pthread_join(actors[i].thread, NULL);
	for (size_t s = 0; s < SESSIONS; s++)
		check(&subjects[s]);
	remove_checkpoints(n);
	torpor_template_close(tmpl);
	torpor_engine_close(engine);
	return 0;
}
