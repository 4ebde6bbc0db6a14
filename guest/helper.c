/* SPDX-License-Identifier: Apache-2.0 */
/*
 * torpor-helper [PORT]: serves the engine on a virtio port, /dev/virtio-ports/org.torpor.0 if
 * none is given. Started and kept running by the guest's init.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "guest/helper.h"

static struct tp_guest guest;

/* Descriptors 0 to 2 must be something, or a command's pipes could get these numbers. */
static void fill_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd < 3);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "/dev/virtio-ports/org.torpor.0";

	if (argc > 2) {
		fprintf(stderr, "usage: torpor-helper [PORT]\n");
		return 2;
	}
	fill_standard_descriptors();
	close_range(3, UINT_MAX, 0);
	int port = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (port < 0) {
		fprintf(stderr, "torpor-helper: open %s: %s\n", path, strerror(errno));
		return 1;
	}
	int error = tp_guest_serve(&guest, port, &tp_guest_this_machine);
	fprintf(stderr, "torpor-helper: %s: %s\n", path, strerror(error));
	return 1;
}
