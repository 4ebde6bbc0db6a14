/* SPDX-License-Identifier: Apache-2.0 */
/* Talking to systemd. */
#include "daemon/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"

#define LISTEN_FDS_START 3

void tp_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof(to.sun_path))
		return;
	strcpy(to.sun_path, path);
	if (*path == '@')
		to.sun_path[0] = '\0'; /* an abstract one */
	TP_FD int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (fd < 0 ||
		sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to, len) < 0)
		tp_log(TP_LOG_WARNING, "tell systemd \"%s\": %s", state, strerrordesc_np(errno));
}

void tp_notify_reloading(void)
{
	TP_FREE char *state =
		tp_asprintf("RELOADING=1\nMONOTONIC_USEC=%" PRIu64, tp_now_ns() / TP_NSEC_PER_USEC);

	tp_notify(state);
}

static int family_of(int fd)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	int listening = 0;
	socklen_t size = sizeof(listening);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || !listening ||
		getsockname(fd, (struct sockaddr *)&address, &len) != 0)
		return -1;
	return address.ss_family == AF_INET6 ? AF_INET : address.ss_family;
}

int tp_activated_socket(int family)
{
	static int taken[2] = {-1, -1};
	const char *pid = getenv("LISTEN_PID");
	const char *count = getenv("LISTEN_FDS");

	if (!pid || !count || atoi(pid) != getpid())
		return -1;
	for (int i = 0, fd = LISTEN_FDS_START; i < atoi(count); i++, fd++) {
		if (fd == taken[0] || fd == taken[1] || family_of(fd) != family)
			continue;
		taken[family == AF_UNIX] = fd;
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
		return fd;
	}
	return -1;
}
