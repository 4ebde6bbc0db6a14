/* SPDX-License-Identifier: Apache-2.0 */
/* Public calls and their cancellation, from outside. */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/call.h"
#include "base/fd.h"
#include "base/mem.h"

struct torpor_cancel {
	int fd; /* an eventfd, readable for good once triggered */
};

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
