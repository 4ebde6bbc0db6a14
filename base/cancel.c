/* SPDX-License-Identifier: Apache-2.0 */
/* Public calls and their cancellation, from outside. */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/call.h"
#include "base/fd.h"
#include "base/mem.h"

struct torpor_error *torpor_cancel_new(struct torpor_cancel **cancel_out)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return tp_error_errno(errno, "make", "cancellation");
	*cancel_out = tp_malloc(sizeof(**cancel_out));
	(*cancel_out)->fd = fd;
	return NULL;
}

void torpor_cancel_trigger(struct torpor_cancel *cancel)
{
	uint64_t one = 1;
	int saved = errno;

	/* Can't fail but for a full counter, which is as readable as it gets. */
	ssize_t n = write(cancel->fd, &one, sizeof(one));
	(void)n;
	errno = saved;
}

struct torpor_cancel *torpor_cancel_free(struct torpor_cancel *cancel)
{
	if (cancel) {
		tp_close(cancel->fd);
		free(cancel);
	}
	return NULL;
}

struct tp_call tp_call_from(const struct torpor_call *call, uint64_t default_ns)
{
	uint64_t timeout = call && call->timeout_ns ? call->timeout_ns : default_ns;
	struct tp_call inner = tp_call_within(timeout);

	if (call && call->cancel)
		inner.cancel_fd = call->cancel->fd;
	return inner;
}

struct torpor_call tp_call_public(const struct tp_call *call, struct torpor_cancel *cancel)
{
	struct torpor_call public = {.timeout_ns = UINT64_MAX};
	uint64_t now = tp_now_ns();

	/* Zero would mean the default; a deadline that has passed leaves next to nothing. */
	if (call->deadline_ns != TP_NO_DEADLINE)
	public.timeout_ns = call->deadline_ns > now ? call->deadline_ns - now : 1;
	cancel->fd = call->cancel_fd;
	if (cancel->fd >= 0)
	public.cancel = cancel;
	return public;
}
