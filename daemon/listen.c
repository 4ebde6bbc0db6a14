/* SPDX-License-Identifier: Apache-2.0 */
/* The sockets that torpord listens on. */
#include "daemon/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/lock.h"
#include "base/mem.h"
#include "daemon/config.h"

#define BACKLOG 1024

static struct torpor_error *unix_address(const char *path, struct sockaddr_un *address_out)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(address.sun_path))
		return tp_error(TORPOR_E_INVALID, "listen on", path,
			"the path of a socket has at most %zu bytes", sizeof(address.sun_path) - 1);
	strcpy(address.sun_path, path);
	*address_out = address;
	return NULL;
}

/* Whether PATH may be replaced. */
static struct torpor_error *check_old_socket(const char *path, const struct sockaddr_un *address)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		return errno == ENOENT ? NULL : tp_error_errno(errno, "look at", path);
	if (!S_ISSOCK(st.st_mode))
		return tp_error(
			TORPOR_E_EXISTS, "listen on", path, "there is something that is no socket");
	TP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return tp_error_errno(errno, "make a socket for", path);
	/* EAGAIN: somebody listens, and has a full queue. */
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
		return tp_error_hint(
			tp_error(TORPOR_E_BUSY, "listen on", path, "another process answers there"),
			"Is torpord running already? Stop it, or give this one a socket of its "
			"own.");
	return NULL;
}

static struct torpor_error *group_id(const char *name, gid_t *gid_out)
{
	struct group group;
	struct group *found = NULL;
	TP_FREE char *buffer = tp_malloc(64 * TP_KIB);
	int errnum = getgrnam_r(name, &group, buffer, 64 * TP_KIB, &found);

	if (!found)
		return tp_error_hint(errnum ? tp_error_errno(errnum, "look up the group", name)
					    : tp_error(TORPOR_E_NOT_FOUND, "look up the group",
						      name, "there is none of that name"),
			"Make it with `groupadd --system %s`, or leave socket_group out.", name);
	*gid_out = group.gr_gid;
	return NULL;
}

static struct torpor_error *make_directory_of(const char *path)
{
	TP_FREE char *directory = tp_strdup(path);
	char *slash = strrchr(directory, '/');

	if (!slash || slash == directory)
		return NULL;
	*slash = '\0';
	if (mkdir(directory, 0755) != 0 && errno != EEXIST)
		return tp_error_errno(errno, "make the directory", directory);
	return NULL;
}

/* Whoever takes PATH, or removes it, looks first who has it: nobody else does meanwhile. */
static struct torpor_error *lock_name(const char *lock, int *fd_out)
{
	for (;;) {
		struct stat mine;
		struct stat there;
		TP_FD int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

		if (fd < 0)
			return tp_error_errno(errno, "open", lock);
		if (tp_lock_soon(fd) != 0)
			return tp_error_errno(errno, "lock", lock);
		/* Whoever had it may have removed it before it was ours. */
		if (fstat(fd, &mine) == 0 && lstat(lock, &there) == 0 &&
			mine.st_ino == there.st_ino && mine.st_dev == there.st_dev) {
			*fd_out = TP_TAKE_FD(fd);
			return NULL;
		}
	}
}

static void unlock_name(const char *lock, int fd)
{
	unlink(lock);
	tp_close(fd);
}

/* Binds to a name nobody looks at, makes it what it is to be, and moves it to PATH. */
static struct torpor_error *bind_at(
	int fd, const char *path, mode_t mode, const char *group, const char *temporary)
{
	struct sockaddr_un address;
	gid_t gid = (gid_t)-1;

	TP_TRY(unix_address(temporary, &address));
	if (group)
		TP_TRY(group_id(group, &gid));
	unlink(temporary);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		return tp_error_errno(errno, "bind to", temporary);
	if (chown(temporary, (uid_t)-1, gid) != 0 || chmod(temporary, mode) != 0)
		return tp_error_errno(errno, "set the rights of", temporary);
	if (listen(fd, BACKLOG) != 0)
		return tp_error_errno(errno, "listen on", path);
	if (rename(temporary, path) != 0)
		return tp_error_errno(errno, "rename to", path);
	return NULL;
}

/* Under the name's lock. */
static struct torpor_error *take_name(const char *path, mode_t mode, const char *group, int *fd_out)
{
	struct sockaddr_un address;

	TP_TRY(unix_address(path, &address));
	TP_TRY(check_old_socket(path, &address));
	TP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return tp_error_errno(errno, "make a socket for", path);
	TP_FREE char *temporary = tp_asprintf("%s.%d", path, (int)getpid());
	struct torpor_error *err = bind_at(fd, path, mode, group, temporary);
	if (err) {
		unlink(temporary);
		return err;
	}
	*fd_out = TP_TAKE_FD(fd);
	return NULL;
}

struct torpor_error *tp_listen_unix(const char *path, mode_t mode, const char *group, int *fd_out)
{
	TP_FREE char *lock = tp_asprintf("%s.lock", path);
	struct sockaddr_un address;
	int lock_fd;

	TP_TRY(unix_address(path, &address));
	TP_TRY(make_directory_of(path));
	TP_TRY(lock_name(lock, &lock_fd));
	struct torpor_error *err = take_name(path, mode, group, fd_out);
	unlock_name(lock, lock_fd);
	return err;
}

/* Under the name's lock. */
static void remove_name(const char *path, int fd)
{
	struct sockaddr_un address;
	struct stat st;

	/* The file's inode isn't the socket's: whether it is this one shows in that it answers no
	 * more once FD doesn't listen. */
	if (lstat(path, &st) != 0 || !S_ISSOCK(st.st_mode))
		return;
	shutdown(fd, SHUT_RDWR);
	struct torpor_error *err = unix_address(path, &address);
	if (!err)
		err = check_old_socket(path, &address);
	if (!err)
		unlink(path);
	torpor_error_free(err);
}

void tp_listen_remove(const char *path, int fd)
{
	TP_FREE char *lock = tp_asprintf("%s.lock", path);
	int lock_fd;

	struct torpor_error *err = lock_name(lock, &lock_fd);
	if (err) {
		tp_error_log(err);
		return;
	}
	remove_name(path, fd);
	unlock_name(lock, lock_fd);
}

struct torpor_error *tp_listen_tcp(const char *where, int *fd_out)
{
	struct sockaddr_in four = {.sin_family = AF_INET};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6};
	struct sockaddr *address = (struct sockaddr *)&four;
	socklen_t len = sizeof(four);
	char host[64];
	char port[6];
	int on = 1;

	if (!tp_config_split_listen(where, host, port))
		return tp_error(TORPOR_E_INVALID, "listen on", where, "it isn't ADDRESS:PORT");
	if (strchr(host, ':')) {
		inet_pton(AF_INET6, host, &six.sin6_addr);
		six.sin6_port = htons((uint16_t)atoi(port));
		address = (struct sockaddr *)&six;
		len = sizeof(six);
	} else {
		inet_pton(AF_INET, host, &four.sin_addr);
		four.sin_port = htons((uint16_t)atoi(port));
	}
	TP_FD int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return tp_error_errno(errno, "make a socket for", where);
	/* So that a restart needn't wait for the last connections' end. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, address, len) != 0 || listen(fd, BACKLOG) != 0)
		return tp_error_errno(errno, "listen on", where);
	*fd_out = TP_TAKE_FD(fd);
	return NULL;
}
