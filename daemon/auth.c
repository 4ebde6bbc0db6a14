/* SPDX-License-Identifier: Apache-2.0 */
/* Who sends a request. */
#include "daemon/auth.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "daemon/jwt.h"

#define TOKEN_MAX 8192 /* bytes: a JWT of a talkative issuer */

struct tp_auth {
	struct tp_service *service; /* constant */

	pthread_rwlock_t lock;
	struct tp_jwt_keys *keys; /* by the lock; NULL: no JWTs */
};

struct torpor_error *tp_auth_new(
	const struct tp_auth_config *config, struct tp_service *service, struct tp_auth **auth_out)
{
	struct tp_jwt_keys *keys = NULL;

	if (config->jwks)
		TP_TRY(tp_jwt_keys_load(config, &keys));
	struct tp_auth *auth = tp_calloc(1, sizeof(*auth));
	auth->service = service;
	auth->keys = keys;
	pthread_rwlock_init(&auth->lock, NULL);
	*auth_out = auth;
	return NULL;
}

struct tp_auth *tp_auth_free(struct tp_auth *auth)
{
	if (!auth)
		return NULL;
	tp_jwt_keys_free(auth->keys);
	pthread_rwlock_destroy(&auth->lock);
	free(auth);
	return NULL;
}

void tp_auth_exchange(struct tp_auth *auth, struct tp_auth *newer)
{
	pthread_rwlock_wrlock(&auth->lock);
	struct tp_jwt_keys *old = auth->keys;
	auth->keys = newer->keys;
	pthread_rwlock_unlock(&auth->lock);
	newer->keys = old;
}

static struct torpor_error *unknown(void)
{
	return tp_error_hint(tp_error(TORPOR_E_DENIED, "identify the caller", NULL,
				     "there is no valid credential"),
		"Send `Authorization: Bearer TOKEN`, or use the UNIX socket as root.");
}

/* ERR is for the log alone: what it says would help those who guess. Takes it. */
static struct torpor_error *refuse(struct torpor_error *err)
{
	if (!err)
		return NULL;
	tp_log(TP_LOG_DEBUG, "credential refused: %s", torpor_error_message(err));
	/* That the records can't be read is no news about the credential. */
	bool ours = torpor_error_code(err) != TORPOR_E_DENIED &&
		    torpor_error_code(err) != TORPOR_E_NOT_FOUND &&
		    torpor_error_code(err) != TORPOR_E_INVALID;
	if (ours)
		return err;
	torpor_error_free(err);
	return unknown();
}

static bool is_jwt(const char *token)
{
	const char *dot = strchr(token, '.');

	dot = dot ? strchr(dot + 1, '.') : NULL;
	return dot && !strchr(dot + 1, '.');
}

static struct torpor_error *actor_of_jwt(
	struct tp_auth *auth, const char *token, struct tp_actor *actor)
{
	struct torpor_error *err;

	pthread_rwlock_rdlock(&auth->lock);
	if (auth->keys)
		err = tp_jwt_verify(auth->keys, token, tp_realtime_ns() / TP_NSEC_PER_SEC, actor);
	else
		err = tp_error(TORPOR_E_DENIED, "read a JWT", NULL, "there is no [auth] jwks");
	pthread_rwlock_unlock(&auth->lock);
	if (err)
		return err;
	return tp_service_check_tenant(auth->service, actor->tenant);
}

/* The token of "Bearer TOKEN", or NULL. */
static const char *bearer_of(const char *authorization)
{
	if (strncasecmp(authorization, "Bearer", 6) != 0 || authorization[6] != ' ')
		return NULL;
	return authorization + 6 + strspn(authorization + 6, " ");
}

static struct torpor_error *actor_of_header(
	struct tp_auth *auth, const char *authorization, struct tp_actor *actor)
{
	const char *token = bearer_of(authorization);

	if (!token || !*token || strlen(token) > TOKEN_MAX || strpbrk(token, " \t"))
		return tp_error(TORPOR_E_DENIED, "read Authorization", NULL,
			"it isn't `Bearer TOKEN` with a token of at most %d bytes", TOKEN_MAX);
	if (is_jwt(token))
		return actor_of_jwt(auth, token, actor);
	return tp_service_actor_of_token(auth->service, token, actor);
}

static struct torpor_error *actor_of_uid(struct tp_auth *auth, uid_t uid, struct tp_actor *actor)
{
	if (uid != 0 && uid != geteuid())
		return tp_service_actor_of_uid(auth->service, uid, actor);
	*actor = (struct tp_actor){
		.tenant = TP_DEFAULT_TENANT,
		.admin = true,
		.perms = TP_PERM_ALL,
	};
	snprintf(actor->how, sizeof(actor->how), "peer %u", (unsigned int)uid);
	return NULL;
}

static struct torpor_error *uid_of_peer(int fd, uid_t *uid_out)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
		return tp_error_errno(errno, "ask who is at the other end of", "the UNIX socket");
	*uid_out = peer.uid;
	return NULL;
}

static struct torpor_error *actor_of_peer(struct tp_auth *auth, int fd, struct tp_actor *actor)
{
	uid_t uid;

	TP_TRY(uid_of_peer(fd, &uid));
	return actor_of_uid(auth, uid, actor);
}

struct torpor_error *tp_auth_identify(
	struct tp_auth *auth, const char *authorization, int peer_fd, struct tp_actor *actor_out)
{
	struct tp_actor actor = {0};

	/* Whoever shows a credential is who it says, or nobody. */
	if (authorization)
		TP_TRY(refuse(actor_of_header(auth, authorization, &actor)));
	else if (peer_fd >= 0)
		TP_TRY(refuse(actor_of_peer(auth, peer_fd, &actor)));
	else
		return unknown();
	*actor_out = actor;
	return NULL;
}

/* --- credentials --- */

#define PEER "peer "

char *tp_auth_credential(const char *authorization, int peer_fd)
{
	uid_t uid;

	if (authorization)
		return tp_strdup(authorization);
	if (peer_fd < 0)
		return NULL;
	struct torpor_error *err = uid_of_peer(peer_fd, &uid);
	if (err) {
		tp_error_log(err);
		return NULL;
	}
	return tp_asprintf(PEER "%u", (unsigned int)uid);
}

/* As refuse(), for who wants to know which it was. Takes ERR. */
static struct torpor_error *explain(struct torpor_error *err)
{
	const char *reason = torpor_error_reason(err);
	bool expired = reason && strcmp(reason, "token-expired") == 0;

	err = refuse(err);
	if (torpor_error_code(err) != TORPOR_E_DENIED)
		return err;
	torpor_error_free(err);
	if (expired)
		return tp_error_refusal(
			tp_error_hint(tp_error(TORPOR_E_DENIED, "sign in", NULL,
					      "the token was valid, and its time is over"),
				"Ask for a new one."),
			"token-expired", 0);
	return tp_error_refusal(
		tp_error_hint(tp_error(TORPOR_E_DENIED, "sign in", NULL, "the token isn't valid"),
			"Was all of it copied? It may also have been removed."),
		"token-wrong", 0);
}

struct torpor_error *tp_auth_credential_actor(
	struct tp_auth *auth, const char *credential, struct tp_actor *actor_out)
{
	struct tp_actor actor = {0};
	struct torpor_error *err;

	if (strncmp(credential, PEER, strlen(PEER)) == 0)
		err = actor_of_uid(
			auth, (uid_t)strtoul(credential + strlen(PEER), NULL, 10), &actor);
	else
		err = actor_of_header(auth, credential, &actor);
	if (err)
		return explain(err);
	*actor_out = actor;
	return NULL;
}
