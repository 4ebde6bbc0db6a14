/* SPDX-License-Identifier: Apache-2.0 */
/* A scripted peer. */
#include "peer.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

/* Reads a line into peer->line, a byte at a time; true if a descriptor came along. */
static bool read_line(struct peer *peer)
{
	bool got_fd = false;

	for (peer->len = 0; peer->len < sizeof(peer->line) - 1;) {
		char room[CMSG_SPACE(sizeof(int))];
		struct iovec iov = {.iov_base = peer->line + peer->len, .iov_len = 1};
		struct msghdr msg = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = room,
			.msg_controllen = sizeof(room),
		};
		if (recvmsg(peer->fd, &msg, MSG_CMSG_CLOEXEC) <= 0)
			break;
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
		if (cmsg && cmsg->cmsg_type == SCM_RIGHTS) {
			int fd;
			memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
			close(fd);
			got_fd = true;
		}
		if (peer->line[peer->len] == '\n')
			break;
		/* The agent's delimiter isn't JSON. */
		if ((unsigned char)peer->line[peer->len] != 0xff)
			peer->len++;
	}
	peer->line[peer->len] = '\0';
	return got_fd;
}

/* Whether FOUND has all that WANTED has. */
static bool contains(json_t *found, json_t *wanted)
{
	const char *key;
	json_t *value;

	if (!json_is_object(wanted))
		return json_equal(found, wanted);
	json_object_foreach (wanted, key, value) {
		if (!contains(json_object_get(found, key), value))
			return false;
	}
	return true;
}

static void expect(struct peer *peer, const struct peer_step *step)
{
	bool got_fd = read_line(peer);
	json_t *found = json_loads(peer->line, 0, NULL);
	json_t *wanted = json_loads(step->text, 0, NULL);

	if (!found || !wanted || !contains(found, wanted))
		peer->failure = tp_asprintf("wanted %s, got %s", step->text, peer->line);
	else if (got_fd != (step->action == PEER_EXPECT_FD))
		peer->failure = tp_asprintf(
			"%s came %s a descriptor", step->text, got_fd ? "with" : "without");
	json_decref(found);
	json_decref(wanted);
}

static bool send_all(struct peer *peer, const char *data, size_t len)
{
	return send(peer->fd, data, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* The id of the last line: of the command, or of guest-sync-delimited's arguments. */
static json_int_t last_id(struct peer *peer)
{
	json_t *line = json_loads(peer->line, 0, NULL);
	json_t *id = json_object_get(line, "id");

	if (!id)
		id = json_object_get(json_object_get(line, "arguments"), "id");
	json_int_t value = json_integer_value(id);
	json_decref(line);
	return value;
}

static void reply(struct peer *peer, const char *text)
{
	const char *mark = strstr(text, "$ID");
	TP_FREE char *line = mark ? tp_asprintf("%.*s%lld%s\n", (int)(mark - text), text,
					    (long long)last_id(peer), mark + 3)
				  : tp_asprintf("%s\n", text);

	send_all(peer, line, strlen(line));
}

static void *play(void *data)
{
	struct peer *peer = data;

	for (const struct peer_step *step = peer->steps; step->text && !peer->failure; step++) {
		switch (step->action) {
		case PEER_EXPECT:
		case PEER_EXPECT_FD:
			expect(peer, step);
			break;
		case PEER_REPLY:
			reply(peer, step->text);
			break;
		case PEER_SEND:
			send_all(peer, step->text, strlen(step->text));
			break;
		case PEER_TELL:
			eventfd_write(peer->told_fd, 1);
			break;
		case PEER_FLOOD:
			while (send_all(peer, step->text, strlen(step->text)))
				;
			break;
		case PEER_CLOSE:
			break;
		}
	}
	shutdown(peer->fd, SHUT_WR);
	/* Until the client has closed as well. */
	while (recv(peer->fd, peer->line, sizeof(peer->line), 0) > 0)
		;
	peer->fd = tp_close(peer->fd);
	return NULL;
}

void peer_start(struct peer *peer, const struct peer_step *steps)
{
	int pair[2];

	*peer = (struct peer){.steps = steps};
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	peer->fd = pair[0];
	peer->other_fd = pair[1];
	peer->told_fd = eventfd(0, EFD_CLOEXEC);
	cr_assert_geq(peer->told_fd, 0);
	cr_assert_eq(pthread_create(&peer->thread, NULL, play, peer), 0);
}

void peer_end(struct peer *peer)
{
	pthread_join(peer->thread, NULL);
	peer->told_fd = tp_close(peer->told_fd);
	cr_assert_null(peer->failure, "%s", peer->failure ? peer->failure : "");
}
