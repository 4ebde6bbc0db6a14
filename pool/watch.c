/* SPDX-License-Identifier: Apache-2.0 */
/* The watcher. */
#include "pool/watch.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/control.h"
#include "pool/turn.h"

#define WAKE_ID 0 /* of the eventfd that wakes the thread; guests count from 1 */

/* Something to be told. */
struct news {
	struct news *next;
	enum torpor_event event;
	char *name; /* owned */
};

struct tp_watcher {
	struct torpor_engine *engine;
	int epoll_fd;
	int wake_fd;
	pthread_t thread;
	pthread_cond_t idle; /* with the engine's lock: a session's `endings` went down */
	/* By the engine's lock. */
	struct news *news; /* oldest first */
	struct news **news_end;
	bool stopping;
};

/* --- Telling --- */

static void wake(struct tp_watcher *watcher)
{
	if (eventfd_write(watcher->wake_fd, 1) < 0)
		tp_log(TP_LOG_WARNING, "wake the watcher: %m");
}

void tp_watcher_tell(struct tp_watcher *watcher, enum torpor_event event, const char *name)
{
	struct torpor_engine *engine = watcher->engine;

	if (!engine->on_event)
		return;
	struct news *news = tp_calloc(1, sizeof(*news));
	news->event = event;
	news->name = tp_strdup(name);
	pthread_mutex_lock(&engine->lock);
	*watcher->news_end = news;
	watcher->news_end = &news->next;
	pthread_mutex_unlock(&engine->lock);
	wake(watcher);
}

static struct news *take_news(struct tp_watcher *watcher, bool *stopping_out)
{
	pthread_mutex_lock(&watcher->engine->lock);
	struct news *news = watcher->news;
	watcher->news = NULL;
	watcher->news_end = &watcher->news;
	*stopping_out = watcher->stopping;
	pthread_mutex_unlock(&watcher->engine->lock);
	return news;
}

/* Tells all that is to be told; false once that was the last. */
static bool tell_news(struct tp_watcher *watcher)
{
	struct torpor_engine *engine = watcher->engine;
	eventfd_t count;
	bool stopping;

	if (eventfd_read(watcher->wake_fd, &count) < 0)
		return true;
	struct news *news = take_news(watcher, &stopping);
	while (news) {
		struct news *next = news->next;
		engine->on_event(engine->event_data, news->event, news->name);
		free(news->name);
		free(news);
		news = next;
	}
	return !stopping;
}

/* The session's state was changed by nobody's call. */
static void tell_state(struct torpor_session *session)
{
	tp_watcher_tell(session->engine->watcher, TORPOR_EVENT_SESSION, session->name);
}

/* --- When a guest has ended --- */

static void end_session(struct torpor_session *session, const char *reason)
{
	struct tp_call call = tp_call_within(CLEANUP_TIMEOUT_NS);

	tp_error_log(tp_session_end_guest(session, &call));
	free(session->end_reason);
	session->end_reason = tp_strdup(reason);
	tp_session_set_state(session, TORPOR_SESSION_ENDED);
	tell_state(session);
	tp_log(TP_LOG_INFO, "session %s has ended: %s", session->name, reason);
}

static void reboot(struct torpor_session *session)
{
	struct tp_call call = tp_call_within(REBOOT_TIMEOUT_NS);
	struct tp_call soon = tp_call_within(CLEANUP_TIMEOUT_NS);

	call.cancel_fd = session->retire_fd;
	tp_session_set_state(session, TORPOR_SESSION_REBOOTING);
	tell_state(session);
	tp_error_log(tp_session_end_guest(session, &soon));
	TP_ERROR struct torpor_error *err = tp_session_boot(session, &call);
	if (err) {
		TP_FREE char *reason = tp_asprintf(
			"it reset itself and could not boot anew: %s", torpor_error_message(err));
		end_session(session, reason);
		return;
	}
	tp_session_set_state(session, TORPOR_SESSION_RUNNING);
	tell_state(session);
}

/* Whether it comes as a surprise; what we do ourselves is heard of, too. */
static bool is_news(struct torpor_session *session, enum tp_stir how)
{
	enum torpor_session_state state = tp_session_state(session);

	return (state == TORPOR_SESSION_RUNNING && how != TP_STIR_CONTINUED) ||
	       (state == TORPOR_SESSION_PAUSED && how != TP_STIR_STOPPED);
}

/*
 * What the session is shown as becomes what its guest does, where somebody has stopped or continued
 * that behind our back. Nothing is made fresh: whoever did it has taken that upon himself.
 */
static void look_at_guest(struct torpor_session *session)
{
	struct tp_call call = tp_call_within(CLEANUP_TIMEOUT_NS);
	enum torpor_session_state state = tp_session_state(session);
	TP_FREE char *status = NULL;

	pthread_mutex_lock(&session->engine->lock);
	bool news = is_news(session, session->stir);
	pthread_mutex_unlock(&session->engine->lock);
	if (!news)
		return;
	struct torpor_error *err = tp_guest_query_status(session->guest, &call, &status);
	if (err) {
		/* Its end, if it is that, is told by its process. */
		torpor_error_free(err);
		return;
	}
	bool runs = strcmp(status, "running") == 0;
	bool stands = strcmp(status, "paused") == 0;
	if (state == TORPOR_SESSION_RUNNING ? !stands : !runs)
		return;
	tp_session_set_state(session, runs ? TORPOR_SESSION_RUNNING : TORPOR_SESSION_PAUSED);
	tell_state(session);
	tp_log(TP_LOG_INFO, "session %s was %s by others", session->name,
		runs ? "continued" : "paused");
}

static void guest_ended(struct torpor_session *session)
{
	TP_GUEST_EXIT struct tp_guest_exit how = {0};
	struct torpor_error *err = tp_guest_exit_reason(session->guest, &how);

	if (err) {
		/* It is there: others have stopped or continued it, or this was about an earlier
		 * process of the session. */
		torpor_error_free(err);
		look_at_guest(session);
		return;
	}
	tp_unwatch(session);
	TP_FREE char *text = tp_guest_exit_text(&how);
	tp_session_tell_end(session, TORPOR_E_QEMU, text);
	if (how.shutdown_reason && strcmp(how.shutdown_reason, "guest-reset") == 0)
		reboot(session);
	else if (how.shutdown_reason && strcmp(how.shutdown_reason, "guest-shutdown") == 0)
		end_session(session, "the guest powered off");
	else
		end_session(session, text);
}

/* One round: with the turn that was reserved for it. */
static void handle_end(struct torpor_session *session)
{
	struct torpor_error *err = tp_turn_take_reserved(session->turn, session->name);

	if (err) {
		tp_error_log(err);
		return;
	}
	if (session->guest)
		guest_ended(session);
	tp_turn_give(session->turn);
}

static void *handle_ends(void *data)
{
	struct torpor_session *session = data;
	struct torpor_engine *engine = session->engine;
	bool more;

	do {
		handle_end(session);
		pthread_mutex_lock(&engine->lock);
		more = --session->endings > 0;
		pthread_cond_broadcast(&engine->watcher->idle);
		pthread_mutex_unlock(&engine->lock);
	} while (more);
	return NULL;
}

/*
 * Has the end of the session's guest dealt with, under the engine's lock. A round that is under way
 * may have looked at the guest already, so there is one more behind it; a third would see nothing
 * new. False if there is no thread to be had.
 */
static bool start_handler(struct torpor_session *session)
{
	pthread_t thread;

	if (session->endings == 2)
		return true;
	tp_turn_reserve(session->turn);
	if (session->endings++ > 0)
		return true;
	if (pthread_create(&thread, NULL, handle_ends, session) == 0) {
		pthread_detach(thread);
		return true;
	}
	tp_log(TP_LOG_WARNING, "no thread for the end of session %s", session->name);
	session->endings = 0;
	tp_turn_drop_reserved(session->turn);
	return false;
}

bool tp_watch_ended(struct torpor_session *session)
{
	struct pollfd end = {.events = POLLIN};

	if (!session->guest)
		return false;
	end.fd = tp_guest_pidfd(session->guest);
	if (poll(&end, 1, 0) <= 0)
		return false;
	pthread_mutex_lock(&session->engine->lock);
	bool started = start_handler(session);
	pthread_mutex_unlock(&session->engine->lock);
	return started;
}

/* --- When others stop or continue it --- */

void tp_watcher_stir(void *data, const char *guest_name, enum tp_stir how)
{
	struct tp_watcher *watcher = data;
	struct torpor_session *session;

	pthread_mutex_lock(&watcher->engine->lock);
	for (session = watcher->engine->sessions; session; session = session->next) {
		if (session->guest_name && strcmp(session->guest_name, guest_name) == 0)
			break;
	}
	if (session)
		session->stir = how;
	if (session && is_news(session, how))
		start_handler(session);
	pthread_mutex_unlock(&watcher->engine->lock);
}

/* --- The thread --- */

static void waiting_ended(struct tp_watcher *watcher, uint64_t id)
{
	char tmpl_name[65];
	struct tp_shell *shell = tp_stock_take_watched(watcher->engine, id, tmpl_name);

	if (!shell)
		return;
	tp_log(TP_LOG_INFO, "a guest that waited of template %s has ended", tmpl_name);
	tp_shell_free(shell);
	tp_watcher_tell(watcher, TORPOR_EVENT_STOCK, tmpl_name);
}

static void guest_of_id_ended(struct tp_watcher *watcher, uint64_t id)
{
	struct torpor_session *session;

	pthread_mutex_lock(&watcher->engine->lock);
	for (session = watcher->engine->sessions; session; session = session->next) {
		if (session->watch_id == id)
			break;
	}
	if (session)
		start_handler(session);
	pthread_mutex_unlock(&watcher->engine->lock);
	if (!session)
		waiting_ended(watcher, id);
}

static void *watch_thread(void *data)
{
	struct tp_watcher *watcher = data;
	struct epoll_event event;

	for (;;) {
		int n = epoll_wait(watcher->epoll_fd, &event, 1, -1);
		if (n < 0 && errno != EINTR)
			return NULL;
		if (n < 1)
			continue;
		if (event.data.u64 != WAKE_ID)
			guest_of_id_ended(watcher, event.data.u64);
		else if (!tell_news(watcher))
			return NULL;
	}
}

static int add(struct tp_watcher *watcher, int fd, uint64_t id, uint32_t flags)
{
	struct epoll_event event = {.events = EPOLLIN | flags, .data.u64 = id};

	return epoll_ctl(watcher->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

struct torpor_error *tp_watcher_new(struct torpor_engine *engine, struct tp_watcher **watcher_out)
{
	TP_FD int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	TP_FD int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (epoll_fd < 0 || wake_fd < 0)
		return tp_error_errno(errno, "make", "watcher");
	struct tp_watcher *watcher = tp_calloc(1, sizeof(*watcher));
	watcher->engine = engine;
	watcher->epoll_fd = epoll_fd;
	watcher->wake_fd = wake_fd;
	watcher->news_end = &watcher->news;
	pthread_cond_init(&watcher->idle, NULL);
	int errnum = add(watcher, wake_fd, WAKE_ID, 0) < 0
			     ? errno
			     : pthread_create(&watcher->thread, NULL, watch_thread, watcher);
	if (errnum) {
		pthread_cond_destroy(&watcher->idle);
		free(watcher);
		return tp_error_errno(errnum, "start", "watcher");
	}
	(void)TP_TAKE_FD(epoll_fd);
	(void)TP_TAKE_FD(wake_fd);
	*watcher_out = watcher;
	return NULL;
}

struct tp_watcher *tp_watcher_free(struct tp_watcher *watcher)
{
	if (!watcher)
		return NULL;
	pthread_mutex_lock(&watcher->engine->lock);
	watcher->stopping = true;
	pthread_mutex_unlock(&watcher->engine->lock);
	wake(watcher);
	pthread_join(watcher->thread, NULL);
	pthread_cond_destroy(&watcher->idle);
	tp_close(watcher->wake_fd);
	tp_close(watcher->epoll_fd);
	free(watcher);
	return NULL;
}

/* NAME (NULL: none) is copied. */
static void set_guest_name(struct torpor_session *session, const char *name)
{
	char *copy = tp_strdup(name);

	pthread_mutex_lock(&session->engine->lock);
	free(session->guest_name);
	session->guest_name = copy;
	pthread_mutex_unlock(&session->engine->lock);
}

struct torpor_error *tp_watch(struct torpor_session *session)
{
	int fd = tp_guest_pidfd(session->guest);

	set_guest_name(session, tp_guest_name(session->guest));
	tp_session_label(session, session->name, NULL);
	/* Once: a pidfd stays readable, and one thread is enough. */
	if (add(session->engine->watcher, fd, session->watch_id, EPOLLONESHOT) < 0)
		return tp_error_errno(errno, "watch", session->name);
	return NULL;
}

void tp_unwatch(struct torpor_session *session)
{
	set_guest_name(session, NULL);
	/* ENOENT is fine: it wasn't watched. */
	epoll_ctl(session->engine->watcher->epoll_fd, EPOLL_CTL_DEL, tp_guest_pidfd(session->guest),
		NULL);
}

void tp_watch_waiting(struct torpor_engine *engine, struct tp_shell *shell)
{
	/* Unwatched it can wait all the same: whoever takes it looks whether it lives. */
	if (add(engine->watcher, tp_guest_pidfd(shell->guest), shell->watch_id, EPOLLONESHOT) < 0)
		tp_log(TP_LOG_WARNING, "watch a waiting guest: %m");
}

void tp_unwatch_waiting(struct torpor_engine *engine, struct tp_shell *shell)
{
	epoll_ctl(engine->watcher->epoll_fd, EPOLL_CTL_DEL, tp_guest_pidfd(shell->guest), NULL);
}

void tp_watcher_wait(struct torpor_session *session)
{
	struct torpor_engine *engine = session->engine;

	pthread_mutex_lock(&engine->lock);
	while (session->endings > 0)
		pthread_cond_wait(&engine->watcher->idle, &engine->lock);
	pthread_mutex_unlock(&engine->lock);
}
