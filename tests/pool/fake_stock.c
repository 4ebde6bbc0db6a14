/* SPDX-License-Identifier: Apache-2.0 */
/* Stock without guests. */
#include "fake_stock.h"

#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

#define FAKE_MEMORY (64 * TP_MIB)

pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t fake_changed = PTHREAD_COND_INITIALIZER;
unsigned int fake_reserved;
unsigned int fake_reserve_most = UINT32_MAX;

static struct fake *fake_of(struct torpor_template *tmpl)
{
	return (struct fake *)(void *)((char *)tmpl - offsetof(struct fake, tmpl));
}

void fake_init(struct fake *fake, const char *name)
{
	*fake = (struct fake){.gate_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)};
	pthread_mutex_init(&fake->engine.lock, NULL);
	fake->base.record.guest.memory_bytes = FAKE_MEMORY;
	fake->tmpl.engine = &fake->engine;
	fake->tmpl.name = tp_strdup(name);
	fake->tmpl.base = &fake->base;
	fake->tmpl.refs = 1;
}

void fake_deinit(struct fake *fake)
{
	if (fake->tmpl.refs != 1) {
		fprintf(stderr, "%s is counted %u times\n", fake->tmpl.name, fake->tmpl.refs);
		abort();
	}
	tp_close(fake->gate_fd);
	pthread_mutex_destroy(&fake->engine.lock);
	free(fake->tmpl.name);
}

void fake_gate(struct fake *fake, bool open)
{
	uint64_t value = 1;
	ssize_t n = open ? write(fake->gate_fd, &value, sizeof(value))
			 : read(fake->gate_fd, &value, sizeof(value));

	(void)n;
}

void fake_set_failing(struct fake *fake, bool failing)
{
	pthread_mutex_lock(&fake_lock);
	fake->failing = failing;
	pthread_mutex_unlock(&fake_lock);
}

enum torpor_source fake_take(struct fake *fake, bool warm_would_do)
{
	enum torpor_source source = TORPOR_SOURCE_SPAWN;

	pthread_mutex_lock(&fake_lock);
	if (warm_would_do && fake->warm > 0) {
		fake->warm--;
		source = TORPOR_SOURCE_WARM;
	} else if (fake->shells > 0) {
		fake->shells--;
		source = TORPOR_SOURCE_SHELL;
	}
	pthread_mutex_unlock(&fake_lock);
	return source;
}

static void enter(struct fake *fake)
{
	pthread_mutex_lock(&fake_lock);
	fake->in_start++;
	fake->in_start_peak = TP_MAX(fake->in_start_peak, fake->in_start);
	fake->niceness = getpriority(PRIO_PROCESS, (id_t)gettid());
	pthread_cond_broadcast(&fake_changed);
	pthread_mutex_unlock(&fake_lock);
}

static struct torpor_error *leave(struct fake *fake, unsigned int *count, struct torpor_error *err)
{
	pthread_mutex_lock(&fake_lock);
	fake->in_start--;
	if (err) {
		fake->cancelled += torpor_error_code(err) == TORPOR_E_CANCELLED;
	} else if (fake->failing) {
		fake->failed++;
		err = tp_error(TORPOR_E_QEMU, "start", fake->tmpl.name, "it is broken");
	} else {
		fake->started++;
		(*count)++;
	}
	pthread_cond_broadcast(&fake_changed);
	pthread_mutex_unlock(&fake_lock);
	return err;
}

static struct torpor_error *add(
	struct fake *fake, unsigned int *count, const struct tp_call *call, uint64_t *took_ns_out)
{
	enter(fake);
	struct torpor_error *err = leave(
		fake, count, tp_wait_fd(fake->gate_fd, POLLIN, call, "start", fake->tmpl.name));
	if (!err)
		*took_ns_out = TP_NSEC_PER_MSEC;
	return err;
}

static struct torpor_error *add_warm(
	struct torpor_template *tmpl, const struct tp_call *call, uint64_t *took_ns_out)
{
	return add(fake_of(tmpl), &fake_of(tmpl)->warm, call, took_ns_out);
}

static struct torpor_error *add_shell(
	struct torpor_template *tmpl, const struct tp_call *call, uint64_t *took_ns_out)
{
	return add(fake_of(tmpl), &fake_of(tmpl)->shells, call, took_ns_out);
}

static void count(struct torpor_template *tmpl, unsigned int *warm_out, unsigned int *shells_out)
{
	pthread_mutex_lock(&fake_lock);
	*warm_out = fake_of(tmpl)->warm;
	*shells_out = fake_of(tmpl)->shells;
	pthread_mutex_unlock(&fake_lock);
}

static unsigned int shrink_one(unsigned int *have, unsigned int to)
{
	unsigned int by = *have > to ? *have - to : 0;

	*have -= by;
	return by;
}

static unsigned int shrink(struct torpor_template *tmpl, unsigned int warm, unsigned int shells)
{
	struct fake *fake = fake_of(tmpl);

	pthread_mutex_lock(&fake_lock);
	unsigned int ended = shrink_one(&fake->warm, warm) + shrink_one(&fake->shells, shells);
	fake->ended += ended;
	pthread_mutex_unlock(&fake_lock);
	return ended;
}

static void ask(struct torpor_template *tmpl)
{
	struct fake *fake = fake_of(tmpl);

	pthread_mutex_lock(&fake_lock);
	unsigned int deaf = TP_MIN(fake->deaf_warm, fake->warm);
	fake->asked++;
	fake->warm -= deaf;
	fake->deaf += deaf;
	fake->deaf_warm = 0;
	pthread_cond_broadcast(&fake_changed);
	pthread_mutex_unlock(&fake_lock);
}

static unsigned int take_deaf(struct torpor_template *tmpl)
{
	struct fake *fake = fake_of(tmpl);

	pthread_mutex_lock(&fake_lock);
	unsigned int deaf = fake->deaf;
	fake->deaf = 0;
	pthread_mutex_unlock(&fake_lock);
	return deaf;
}

const struct tp_stock_ops fake_ops = {
	.add_warm = add_warm,
	.add_shell = add_shell,
	.count = count,
	.shrink = shrink,
	.ask = ask,
	.take_deaf = take_deaf,
};

bool fake_reserve(void *data, uint64_t memory_bytes)
{
	(void)data;
	pthread_mutex_lock(&fake_lock);
	bool room = memory_bytes == FAKE_MEMORY && fake_reserved < fake_reserve_most;
	fake_reserved += room;
	pthread_mutex_unlock(&fake_lock);
	return room;
}

void fake_unreserve(void *data, uint64_t memory_bytes)
{
	(void)data;
	(void)memory_bytes;
	pthread_mutex_lock(&fake_lock);
	if (fake_reserved == 0)
		abort();
	fake_reserved--;
	pthread_mutex_unlock(&fake_lock);
}

void fake_tell(void *data, const char *template_name)
{
	(void)data;
	(void)template_name;
	pthread_mutex_lock(&fake_lock);
	pthread_cond_broadcast(&fake_changed);
	pthread_mutex_unlock(&fake_lock);
}
