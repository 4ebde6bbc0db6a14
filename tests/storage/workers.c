/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of threads, and the queue of transfers. */
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "storage/io.h"
#include "support.h"

TestSuite(workers, .timeout = 50);
TestSuite(io, .timeout = 50);

struct counting_job {
	struct tp_job job;
	_Atomic unsigned int *count;
	unsigned int again;
};

static void count(struct tp_job *tp_job)
{
	struct counting_job *job = (struct counting_job *)tp_job;

	++*job->count;
	if (job->again > 0) {
		job->again--;
		tp_group_submit(job->job.group, &job->job);
	}
}

Test(workers, all_jobs_run)
{
	static struct counting_job jobs[1000];
	_Atomic unsigned int counted = 0;
	struct tp_workers *workers;
	struct tp_group group;

	for (unsigned int threads = 1; threads <= 8; threads *= 2) {
		counted = 0;
		must(tp_workers_new(threads, &workers));
		cr_assert_eq(tp_workers_count(workers), threads);
		must(tp_group_init(&group, workers));
		for (size_t i = 0; i < TP_ARRAY_LEN(jobs); i++) {
			jobs[i] = (struct counting_job){{.run = count}, &counted, 2};
			tp_group_submit(&group, &jobs[i].job);
		}
		must(tp_group_wait(&group, &forever, "wait", NULL));
		cr_assert_eq(counted, 3000);
		cr_assert_eq(tp_group_finished(&group), 3000);
		tp_group_deinit(&group);
		tp_workers_free(workers);
	}
}

Test(workers, the_default_is_bounded)
{
	struct tp_workers *workers;

	must(tp_workers_new(0, &workers));
	cr_assert_geq(tp_workers_count(workers), 1);
	cr_assert_leq(tp_workers_count(workers), 8);
	tp_workers_free(workers);
	cr_assert_eq(code_of(tp_workers_new(1000, &workers)), TORPOR_E_INVALID);
}

struct gate_job {
	struct tp_job job;
	int started; /* eventfds */
	int open;
};

static void stand_at_gate(struct tp_job *tp_job)
{
	struct gate_job *job = (struct gate_job *)tp_job;
	eventfd_t ignored;

	eventfd_write(job->started, 1);
	eventfd_read(job->open, &ignored);
}

Test(workers, waiting_ends_with_the_call_and_joining_doesnt)
{
	struct tp_call ended = {.deadline_ns = tp_now_ns() + TP_NSEC_PER_MSEC, .cancel_fd = -1};
	struct gate_job job = {.job = {.run = stand_at_gate},
		.started = eventfd(0, EFD_CLOEXEC),
		.open = eventfd(0, EFD_CLOEXEC)};
	struct tp_workers *workers;
	struct tp_group group;
	eventfd_t ignored;

	must(tp_workers_new(1, &workers));
	must(tp_group_init(&group, workers));
	tp_group_submit(&group, &job.job);
	eventfd_read(job.started, &ignored);
	cr_assert_eq(code_of(tp_group_wait(&group, &ended, "wait", NULL)), TORPOR_E_TIMEOUT);
	cr_assert_not(group.cancelled);
	eventfd_write(job.open, 1);
	tp_group_join(&group, true);
	cr_assert(group.cancelled);
	tp_group_deinit(&group);
	tp_workers_free(workers);
	close(job.started);
	close(job.open);
}

Test(workers, a_waiter_helps_with_its_own_jobs_only)
{
	_Atomic unsigned int mine = 0;
	_Atomic unsigned int others = 0;
	struct counting_job my_job = {{.run = count}, &mine, 0};
	struct counting_job other_job = {{.run = count}, &others, 0};
	struct gate_job gate = {.job = {.run = stand_at_gate},
		.started = eventfd(0, EFD_CLOEXEC),
		.open = eventfd(0, EFD_CLOEXEC)};
	struct tp_workers *workers;
	struct tp_group group;
	struct tp_group other;
	eventfd_t ignored;

	must(tp_workers_new(1, &workers));
	must(tp_group_init(&group, workers));
	must(tp_group_init(&other, workers));
	tp_group_submit(&other, &gate.job); /* the only thread is busy from now on */
	eventfd_read(gate.started, &ignored);
	tp_group_submit(&other, &other_job.job);
	tp_group_submit(&group, &my_job.job);
	must(tp_group_wait(&group, &forever, "wait", NULL));
	cr_assert_eq(mine, 1);
	cr_assert_eq(others, 0);
	cr_assert_not(tp_group_help(&group));
	eventfd_write(gate.open, 1);
	must(tp_group_wait(&other, &forever, "wait", NULL));
	cr_assert_eq(others, 1);
	tp_group_deinit(&group);
	tp_group_deinit(&other);
	tp_workers_free(workers);
	close(gate.started);
	close(gate.open);
}

Test(workers, one_is_held_back_until_the_group_is_woken)
{
	struct gate_job gates[2];
	struct tp_workers *workers;
	struct tp_group group;
	eventfd_t ignored;
	int started = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	struct pollfd second = {.fd = started, .events = POLLIN};

	must(tp_workers_new(2, &workers));
	must(tp_group_init(&group, workers));
	tp_group_hold_back(&group);
	for (size_t i = 0; i < TP_ARRAY_LEN(gates); i++) {
		gates[i] = (struct gate_job){.job = {.run = stand_at_gate},
			.started = started,
			.open = eventfd(0, EFD_CLOEXEC)};
		tp_group_submit(&group, &gates[i].job);
	}
	eventfd_read(started, &ignored);
	/* That something doesn't happen takes a while to see. */
	cr_assert_eq(poll(&second, 1, 100), 0);
	tp_group_wake(&group);
	eventfd_read(started, &ignored);
	for (size_t i = 0; i < TP_ARRAY_LEN(gates); i++)
		eventfd_write(gates[i].open, 1);
	tp_group_join(&group, false);
	for (size_t i = 0; i < TP_ARRAY_LEN(gates); i++)
		close(gates[i].open);
	tp_group_deinit(&group);
	tp_workers_free(workers);
	close(started);
}

Test(workers, what_is_held_back_is_done_by_its_waiter)
{
	_Atomic unsigned int counted = 0;
	struct counting_job jobs[8];
	struct tp_workers *workers;
	struct tp_group group;

	/* A single thread isn't held back: there would be none. */
	for (unsigned int threads = 1; threads <= 2; threads++) {
		counted = 0;
		must(tp_workers_new(threads, &workers));
		must(tp_group_init(&group, workers));
		tp_group_hold_back(&group);
		for (size_t i = 0; i < TP_ARRAY_LEN(jobs); i++) {
			jobs[i] = (struct counting_job){{.run = count}, &counted, 3};
			tp_group_submit(&group, &jobs[i].job);
		}
		must(tp_group_wait(&group, &forever, "wait", NULL));
		cr_assert_eq(counted, 32);
		tp_group_deinit(&group);
		tp_workers_free(workers);
	}
}

Test(workers, codecs_are_used_again)
{
	struct tp_workers *workers;

	must(tp_workers_new(1, &workers));
	struct tp_codec *first = tp_workers_take_codec(workers);
	struct tp_codec *second = tp_workers_take_codec(workers);
	cr_assert(first && second && first != second);
	tp_workers_give_codec(workers, first);
	cr_assert_eq(tp_workers_take_codec(workers), first);
	tp_workers_give_codec(workers, second);
	tp_workers_give_codec(workers, first);
	tp_workers_free(workers);
}

/* Waits for one transfer to complete. */
static struct tp_io_request *complete(struct tp_io_queue *queue)
{
	struct tp_io_request *request;

	while (!(request = tp_io_reap(queue)))
		must(tp_wait_fd(tp_io_queue_fd(queue), POLLIN, &forever, "wait", NULL));
	return request;
}

static void transfers(void)
{
	uint8_t out[3][1000];
	uint8_t in[3][1000];
	struct tp_io_request requests[3];
	TP_FD int fd = -1;

	must(tp_memfd("file", 0, &fd));
	struct tp_io_queue *queue = tp_io_queue_new(fd, 4);
	for (size_t i = 0; i < 3; i++) {
		memset(out[i], (int)i + 1, sizeof(out[i]));
		requests[i] = (struct tp_io_request){
			.write = true, .buf = out[i], .len = 1000, .offset = i * 1000};
		tp_io_submit(queue, &requests[i]);
	}
	for (size_t i = 0; i < 3; i++)
		must(tp_io_request_error(complete(queue), "file"));
	for (size_t i = 0; i < 3; i++) {
		requests[i] = (struct tp_io_request){.buf = in[i], .len = 1000, .offset = i * 1000};
		tp_io_submit(queue, &requests[i]);
	}
	for (size_t i = 0; i < 3; i++)
		must(tp_io_request_error(complete(queue), "file"));
	cr_assert_eq(memcmp(in, out, sizeof(in)), 0);
	cr_assert_null(tp_io_reap(queue));

	requests[0] = (struct tp_io_request){.buf = in[0], .len = 1000, .offset = 2500};
	tp_io_submit(queue, &requests[0]);
	struct tp_io_request *early = complete(queue);
	cr_assert_eq(early->error, TP_IO_ENDS_EARLY);
	cr_assert_eq(code_of(tp_io_request_error(early, "file")), TORPOR_E_CORRUPT);
	tp_io_queue_free(queue);
}

Test(io, transfers_with_and_without_uring)
{
	transfers();
	tp_io_force_sync(true);
	cr_assert_not(tp_io_uring_available());
	transfers();
}

Test(io, the_environment_turns_uring_off)
{
	setenv("TORPOR_IO", "sync", 1);
	cr_assert_not(tp_io_uring_available());
	tp_io_force_sync(false);
	cr_assert_not(tp_io_uring_available());
	transfers();
}

Test(io, freeing_a_queue_waits_for_it)
{
	static uint8_t data[1 << 20];
	struct tp_io_request requests[4];
	TP_FD int fd = -1;

	must(tp_memfd("file", 0, &fd));
	struct tp_io_queue *queue = tp_io_queue_new(fd, 4);
	for (size_t i = 0; i < TP_ARRAY_LEN(requests); i++) {
		requests[i] = (struct tp_io_request){.write = true,
			.buf = data,
			.len = sizeof(data),
			.offset = i * sizeof(data)};
		tp_io_submit(queue, &requests[i]);
	}
	tp_io_queue_free(queue);
	uint64_t size;
	must(tp_file_size(fd, "file", &size));
	cr_assert_eq(size, 4 * sizeof(data));
}
