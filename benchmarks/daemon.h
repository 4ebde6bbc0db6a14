/* SPDX-License-Identifier: Apache-2.0 */
/* A torpord of the benchmark's own, and what is measured through it. */
#ifndef TP_BENCH_DAEMON_H
#define TP_BENCH_DAEMON_H

#include <sys/types.h>
#include <torpor/client.h>

#include "benchmarks/bench_priv.h"

#define BENCH_TENANT "bench"

/* Belongs to the scenario that started it. */
struct bench_host {
	char *dir; /* its state, removed at the end; the templates are links to the ones given */
	char *socket;
	char *config;
	pid_t pid; /* 0: none */
	int notify_fd;
	struct torpor_client *client; /* the admin, acting for the bench tenant */
};

/* Starts it with a tenant that has no limits to speak of, and waits until it is ready. */
struct torpor_error *bench_host_start(struct bench *b, struct bench_host *host) TP_MUST_USE;
/* Ends the process (its guests stay) and starts it again; *TOOK_NS_OUT to ready. */
struct torpor_error *bench_host_restart(
	struct bench *b, struct bench_host *host, uint64_t *took_ns_out) TP_MUST_USE;
/* The two halves of it. */
struct torpor_error *bench_host_halt(struct bench_host *host) TP_MUST_USE;
struct torpor_error *bench_host_run(struct bench *b, struct bench_host *host) TP_MUST_USE;
/* Ends it, its guests, and removes its state. */
void bench_host_deinit(struct bench_host *host);
#define BENCH_HOST __attribute__((cleanup(bench_host_deinit)))

/* Waits until nothing is being started, and as many warm guests wait as are wanted. */
struct torpor_error *bench_host_stocked(struct bench *b, struct bench_host *host) TP_MUST_USE;
/* How many guests are being started now. */
struct torpor_error *bench_host_starting(
	struct bench *b, struct bench_host *host, unsigned int *n_out) TP_MUST_USE;

/* A new session; *ANSWER_NS_OUT is what its caller waited. */
struct torpor_error *bench_host_claim(struct bench *b, struct bench_host *host,
	struct torpor_remote_session *session_out, uint64_t *answer_ns_out) TP_MUST_USE;
struct torpor_error *bench_host_destroy(
	struct bench *b, struct bench_host *host, const char *id) TP_MUST_USE;

/* --- the scenarios --- */

struct torpor_error *bench_run_daemon_claim(struct bench *b) TP_MUST_USE;
struct torpor_error *bench_run_daemon_sleep(struct bench *b) TP_MUST_USE;
struct torpor_error *bench_run_daemon_density(struct bench *b) TP_MUST_USE;
struct torpor_error *bench_run_daemon_records(struct bench *b) TP_MUST_USE;
struct torpor_error *bench_run_daemon_cycles(struct bench *b) TP_MUST_USE;

#endif
