/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fork: one image, many sessions.
 *
 * A few threads, as many as there are processors, wake one fork after the other. They aren't the
 * compression workers, since each of them waits for those.
 */
#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/probe.h"
#include "pool/session.h"

#define FORK_THREADS_MAX 8
#define FORK_COUNT_MAX	 1000

struct fork_all {
	struct torpor_session *source;
	const struct tp_image *image;
	const struct tp_record *record;
	const struct torpor_session_spec *specs;
	const struct tp_session_hooks *hooks; /* one for each, or NULL */
	size_t count;
	uint64_t entered_ns;
	const struct tp_call *call;
	/* Each place is written by the one thread that drew its number. */
	struct torpor_resume_report *reports;
	struct torpor_session **sessions;
	atomic_size_t next;
	/* By the lock. */
	pthread_mutex_t lock;
	struct torpor_error *err; /* the first; the others stop */
};

static bool failed(struct fork_all *all)
{
	pthread_mutex_lock(&all->lock);
	bool is = all->err;
	pthread_mutex_unlock(&all->lock);
	return is;
}

static void *fork_some(void *data)
{
	struct fork_all *all = data;

	for (;;) {
		size_t i = atomic_fetch_add(&all->next, 1);
		if (i >= all->count || failed(all))
			return NULL;
		struct torpor_error *err = tp_session_start_from(all->source->tmpl, all->image,
			all->record, &all->specs[i], all->hooks ? &all->hooks[i] : NULL,
			all->entered_ns, all->call, &all->reports[i], &all->sessions[i]);
		if (err) {
			pthread_mutex_lock(&all->lock);
			all->err = tp_error_first(all->err, err);
			pthread_mutex_unlock(&all->lock);
		}
	}
}

/* Wakes all, on this thread and some more. Threads that can't be had are done without. */
static void fork_in_parallel(struct fork_all *all)
{
	pthread_t threads[FORK_THREADS_MAX];
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	size_t wanted = TP_MIN(all->count, (size_t)TP_MAX(processors, 1L));
	size_t started = 0;

	wanted = TP_MIN(wanted, (size_t)FORK_THREADS_MAX);
	while (started + 1 < wanted && pthread_create(&threads[started], NULL, fork_some, all) == 0)
		started++;
	fork_some(all);
	while (started > 0)
		pthread_join(threads[--started], NULL);
}

static struct torpor_error *fork_image(struct fork_all *all)
{
	TP_RECORD struct tp_record record = {0};

	TP_TRY(tp_session_read_record(all->source, all->image, &record));
	all->record = &record;
	fork_in_parallel(all);
	if (!all->err)
		return NULL;
	for (size_t i = 0; i < all->count; i++) {
		if (all->sessions[i])
			tp_error_log(torpor_session_destroy(all->sessions[i], NULL));
	}
	return all->err;
}

/* A running source is checkpointed into a file that loses its name once it is open. */
static struct torpor_error *checkpoint_source(
	struct torpor_session *source, const struct tp_call *call, struct tp_image **image_out)
{
	struct torpor_engine *engine = source->engine;
	struct torpor_park_report report = {0};
	TP_FREE char *name = tp_engine_guest_name(engine, "fork");
	uint64_t stop_ns;

	TP_TRY(tp_session_save(source, name, true, call, &stop_ns, &report));
	struct torpor_error *err = tp_image_open(engine->images_fd, name, call, image_out);
	if (unlinkat(engine->images_fd, name, 0) < 0)
		tp_error_log(tp_error_errno(errno, "remove image", name));
	return err;
}

static struct torpor_error *get_image(
	struct torpor_session *source, const struct tp_call *call, struct tp_image **image_out)
{
	enum torpor_session_state state = tp_session_state(source);

	if (state == TORPOR_SESSION_RUNNING || state == TORPOR_SESSION_PAUSED)
		return checkpoint_source(source, call, image_out);
	TP_TRY(tp_session_require(source, TORPOR_SESSION_PARKED, "fork"));
	return tp_session_open_image(source, call, image_out);
}

static struct torpor_error *fork_session(struct fork_all *all)
{
	TP_CLEANUP(tp_image_close) struct tp_image *image = NULL;

	TP_TRY(get_image(all->source, all->call, &image));
	TP_PROBE2(fork__opened, all->source->name, tp_image_file_bytes(image));
	all->image = image;
	return fork_image(all);
}

struct torpor_error *tp_session_fork_hooked(struct torpor_session *source,
	const struct torpor_session_spec *specs, size_t count, const struct tp_session_hooks *hooks,
	const struct torpor_call *public_call, struct torpor_resume_report *reports_out,
	struct torpor_session **sessions_out)
{
	const char *name = source->name;
	struct tp_call call = tp_call_from(public_call,
		RESUME_TIMEOUT_NS + TP_MIN(count, (size_t)FORK_COUNT_MAX) * TP_NSEC_PER_SEC);

	if (count == 0 || count > FORK_COUNT_MAX)
		return tp_error(TORPOR_E_INVALID, "fork session", name,
			"1 to %d forks at a time, not %zu", FORK_COUNT_MAX, count);
	TP_FREE struct torpor_resume_report *reports = tp_calloc(count, sizeof(*reports));
	TP_FREE struct torpor_session **sessions =
		tp_calloc(count, sizeof(struct torpor_session *));
	struct fork_all all = {
		.source = source,
		.specs = specs,
		.hooks = hooks,
		.count = count,
		.entered_ns = tp_now_ns(),
		.call = &call,
		.reports = reports,
		.sessions = sessions,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};

	TP_TRY(tp_session_enter(source, true, &call));
	TP_PROBE3(fork__begin, name, count, all.entered_ns);
	struct torpor_error *err = fork_session(&all);
	TP_PROBE2(fork__end, name, err != NULL);
	tp_session_leave(source);
	if (err)
		return tp_error_in(err, "fork session", name);
	for (size_t i = 0; i < count; i++) {
		sessions_out[i] = sessions[i];
		if (reports_out)
			reports_out[i] = reports[i];
	}
	return NULL;
}

struct torpor_error *torpor_session_fork(struct torpor_session *source,
	const struct torpor_session_spec *specs, size_t count, const struct torpor_call *call,
	struct torpor_resume_report *reports_out, struct torpor_session **sessions_out)
{
	return tp_session_fork_hooked(source, specs, count, NULL, call, reports_out, sessions_out);
}
