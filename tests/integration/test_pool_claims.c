/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims of the real torpord: many at once of the pool's guests, of guests that are deaf, and of
 * the last place of a quota.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/macros.h"
#include "daemon.h"
#include "deaf.h"
#include "support.h"

#define CLAIMS 64
#define RACES  100

static struct it_daemon torpord;
static struct it_who admin;

/* Called by the tests themselves: after a failure in a suite's init there is no fini. */
static void begin(const char *config)
{
	it_daemon_init(&torpord, config);
	it_daemon_start(&torpord);
	admin = (struct it_who){.daemon = &torpord};
}

static void end(void)
{
	it_daemon_deinit(&torpord);
}

TestSuite(pool_claims, .fini = end, .timeout = 400);

/* --- claims while the pool refills --- */

struct claim {
	pthread_t thread;
	pthread_barrier_t *start;
	unsigned int number;
	const char *id, *source;
	const char *hostname, *machine_id, *random;
};

/* What makes a guest itself, told by the guest. */
static void ask_guest(struct claim *claim)
{
	const char *text = it_script(&admin, claim->id,
		"hostname; cat /etc/machine-id; head -c 16 /dev/urandom | hexdump -ve '1/1 "
		"\"%02x\"'");
	const char *second = strchr(text, '\n');
	const char *third = second ? strchr(second + 1, '\n') : NULL;

	cr_assert(third, "%s", text);
	claim->hostname = it_text("%.*s", (int)(second - text), text);
	claim->machine_id = it_text("%.*s", (int)(third - second - 1), second + 1);
	claim->random = third + 1;
	cr_assert_eq(strlen(claim->machine_id), 32, "%s", text);
	cr_assert_eq(strlen(claim->random), 32, "%s", text);
}

static void *claim_one(void *data)
{
	struct claim *claim = data;

	pthread_barrier_wait(claim->start);
	const json_t *session = it_expect(&admin, 201, "POST", "/v1/sessions",
		it_text("{\"template\": \"minimal\", \"name\": \"guest-%u\", \"wait_s\": 300}",
			claim->number));
	claim->id = it_string(session, "id");
	claim->source = it_string(session, "source");
	cr_assert_str_eq(it_string(session, "timing.source"), claim->source);
	ask_guest(claim);
	cr_assert_str_eq(claim->hostname, it_text("guest-%u", claim->number));
	return NULL;
}

static void expect_distinct(const struct claim *claims)
{
	for (size_t i = 0; i < CLAIMS; i++) {
		for (size_t k = 0; k < i; k++) {
			cr_assert_str_neq(claims[i].id, claims[k].id);
			cr_assert_str_neq(claims[i].hostname, claims[k].hostname);
			cr_assert_str_neq(claims[i].machine_id, claims[k].machine_id);
			cr_assert_str_neq(claims[i].random, claims[k].random);
		}
	}
}

/* The pool says the same of where they came from; one more was taken when it started. */
static void expect_sources(const struct claim *claims)
{
	static const char *const sources[] = {"warm", "shell", "spawn"};
	const json_t *pool = it_expect(&admin, 200, "GET", "/v1/pool", NULL);
	int64_t others = 0;

	for (size_t s = 0; s < TP_ARRAY_LEN(sources); s++) {
		int64_t n = 0;
		for (size_t i = 0; i < CLAIMS; i++)
			n += strcmp(claims[i].source, sources[s]) == 0;
		int64_t served = it_number(pool, it_text("templates.0.served.%s", sources[s]));
		cr_log_info("%s: %d", sources[s], (int)n);
		cr_assert_geq(served, n, "%s: %d of %d", sources[s], (int)n, (int)served);
		others += served - n;
	}
	cr_assert_eq(others, 1);
	cr_assert_eq(it_number(pool, "queue"), 0);
	cr_assert_eq(it_number(pool, "host.sessions.running"), CLAIMS);
}

Test(pool_claims, many_at_once)
{
	static struct claim claims[CLAIMS];
	pthread_barrier_t start;

	begin("[tenants]\nrequests_per_minute = 100000\n[pool]\nwarm_min = 4\nwarm_max = 8\n");
	pthread_barrier_init(&start, NULL, CLAIMS);
	for (unsigned int i = 0; i < CLAIMS; i++) {
		claims[i] = (struct claim){.start = &start, .number = i};
		pthread_create(&claims[i].thread, NULL, claim_one, &claims[i]);
	}
	for (unsigned int i = 0; i < CLAIMS; i++)
		pthread_join(claims[i].thread, NULL);
	pthread_barrier_destroy(&start);
	expect_distinct(claims);
	expect_sources(claims);
}

/* --- a guest that is deaf --- */

/* torpord's guests: how many, and one of them. */
static unsigned int guests(pid_t *pid_out)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	unsigned int n = 0;

	cr_assert_not_null(proc);
	while ((entry = readdir(proc))) {
		if (!it_is_qemu_of(torpord.pid, entry->d_name))
			continue;
		*pid_out = atoi(entry->d_name);
		n++;
	}
	closedir(proc);
	return n;
}

static void expect_one_deaf(void)
{
	const json_t *pool = it_expect(&admin, 200, "GET", "/v1/pool", NULL);

	cr_assert_eq(it_number(pool, "templates.0.deaf"), 1);
	cr_assert_eq(it_number(pool, "templates.0.failures"), 1);
	const struct it_answer *metrics = it_ask(&admin, "GET", "/metrics", NULL);
	cr_assert(strstr(metrics->text, "torpor_pool_deaf_total{template=\"minimal\"} 1\n"), "%s",
		metrics->text);
}

/* The only one that waits. */
static pid_t begin_with_one(void)
{
	pid_t pid;

	begin("[pool]\nwarm_min = 1\nwarm_max = 1\nshells_min = 0\nshells_max = 0\n"
	      "ask_interval = never\n");
	cr_assert_eq(guests(&pid), 1);
	return pid;
}

static void claim_behind(pid_t deaf)
{
	pid_t pid;

	const json_t *session =
		it_expect(&admin, 201, "POST", "/v1/sessions", "{\"template\": \"minimal\"}");
	const char *id = it_string(session, "id");
	/* Its source is a process of its own, or a warm guest that was started meanwhile. */
	cr_assert_str_eq(it_string(session, "state"), "running");
	cr_assert(kill(deaf, 0) < 0 && errno == ESRCH, "the deaf one is left");
	it_script(&admin, id, "true");
	expect_one_deaf();

	/* What is recorded is the second process: that is what the next torpord finds. */
	it_daemon_stop(&torpord);
	it_daemon_start(&torpord);
	it_script(&admin, id, "true");
	it_expect(&admin, 204, "DELETE", it_session(id, ""), NULL);
	cr_assert_eq(guests(&pid), 1, "more is left than what waits");
}

Test(pool_claims, behind_a_guest_whose_qemu_is_stopped)
{
	pid_t deaf = begin_with_one();

	cr_assert_eq(kill(deaf, SIGSTOP), 0);
	claim_behind(deaf);
}

/* It is recorded as running before it turns out that it isn't. */
Test(pool_claims, behind_a_guest_that_does_not_run)
{
	pid_t deaf = begin_with_one();
	struct it_held *held = it_hold(deaf);

	cr_assert_not_null(held);
	claim_behind(deaf);
	cr_assert(it_held_ended(held));
}

/* --- the last place --- */

struct racer {
	pthread_t thread;
	pthread_barrier_t *start;
	const struct it_who *who;
	const struct it_answer *answer;
};

static void *race(void *data)
{
	struct racer *racer = data;

	pthread_barrier_wait(racer->start);
	racer->answer = it_ask(racer->who, "POST", "/v1/sessions", "{\"template\": \"minimal\"}");
	return NULL;
}

static void expect_refusal(const struct it_answer *answer)
{
	cr_assert_eq(answer->status, 429, "%s", answer->text);
	cr_assert_str_eq(it_string(answer->body, "reason"), "tenant-sessions");
	cr_assert_eq(
		it_number(answer->body, "retry_after_s"), atoi(it_header(answer, "Retry-After")));
	cr_assert_gt(it_number(answer->body, "retry_after_s"), 0);
}

/* Two want the one place; the winner's session is ended again. */
static void race_once(const struct it_who *who)
{
	pthread_barrier_t start;
	struct racer racers[2];

	pthread_barrier_init(&start, NULL, 2);
	for (size_t i = 0; i < 2; i++) {
		racers[i] = (struct racer){.start = &start, .who = who};
		pthread_create(&racers[i].thread, NULL, race, &racers[i]);
	}
	for (size_t i = 0; i < 2; i++)
		pthread_join(racers[i].thread, NULL);
	pthread_barrier_destroy(&start);
	size_t winner = racers[0].answer->status == 201 ? 0 : 1;
	const struct it_answer *won = racers[winner].answer;
	cr_assert_eq(won->status, 201, "nobody: %s", won->text);
	expect_refusal(racers[1 - winner].answer);
	it_expect(who, 204, "DELETE", it_session(it_string(won->body, "id"), ""), NULL);
}

Test(pool_claims, last_place_of_a_quota)
{
	begin("[tenants]\nrequests_per_minute = 100000\n[pool]\nwarm_min = 2\nwarm_max = 4\n");
	struct it_who alice = {
		.daemon = &torpord, .token = it_tenant(&admin, "alice", "{\"sessions\": 1}")};

	for (unsigned int i = 0; i < RACES; i++)
		race_once(&alice);
	const json_t *self = it_expect(&alice, 200, "GET", "/v1/self", NULL);
	cr_assert_eq(it_number(self, "usage.sessions"), 0);
}
