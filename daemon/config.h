/* SPDX-License-Identifier: Apache-2.0 */
/*
 * torpord's configuration: one INI file. docs/torpord.conf has every key with its default and
 * meaning.
 */
#ifndef TP_DAEMON_CONFIG_H
#define TP_DAEMON_CONFIG_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/log.h"
#include "service/service.h"

/* Signature algorithms of JWTs, as bits. */
enum tp_jwt_alg {
	TP_JWT_RS256 = 1 << 0,
	TP_JWT_RS384 = 1 << 1,
	TP_JWT_RS512 = 1 << 2,
	TP_JWT_PS256 = 1 << 3,
	TP_JWT_PS384 = 1 << 4,
	TP_JWT_PS512 = 1 << 5,
	TP_JWT_ES256 = 1 << 6,
	TP_JWT_ES384 = 1 << 7,
	TP_JWT_ES512 = 1 << 8,
	TP_JWT_EDDSA = 1 << 9,
	TP_JWT_HS256 = 1 << 10,
};

/* The bit of the algorithm NAME ("RS256"), or 0. */
unsigned int tp_jwt_alg_of(const char *name);

struct tp_auth_config {
	char *jwks;	/* path; NULL: no JWTs */
	char *issuer;	/* or NULL: not asked */
	char *audience; /* or NULL: tokens must have none */
	unsigned int algorithms;
};

struct tp_http_config {
	unsigned int max_connections;
	uint64_t max_body;
	uint64_t request_timeout_ns;
	unsigned int streams_per_tenant;
	uint64_t login_time_ns; /* of a browser that signed in; at most TP_LOGIN_MEMORY_NS */
};

struct tp_daemon_config {
	/* Its strings are those below. */
	struct tp_service_config service;

	char *state_dir;
	char *socket; /* NULL: none */
	mode_t socket_mode;
	char *socket_group; /* NULL: the process's own */
	enum tp_log_level log_level;

	char *tcp_listen; /* ADDRESS:PORT, checked; NULL: none */
	char *tls_cert;	  /* both or none */
	char *tls_key;
	bool tcp_plain;

	char *qemu;
	char *qemu_microvm; /* "off": never; NULL: where it is */
	char *launcher;
	char *connect;
	char *cgroup_root;

	struct tp_auth_config auth;
	struct tp_http_config http;
};

/* What is wrong with a file, in the order of its lines: "FILE:LINE: KEY: ...". */
struct tp_config_faults {
	char **lines;
	unsigned int *numbers; /* of those lines; 0: the file as a whole */
	size_t n;
};
void tp_config_faults_deinit(struct tp_config_faults *faults);

/*
 * Reads PATH. A failure (INVALID where the content is to blame) comes with all that is wrong in
 * FAULTS, which is the caller's to deinit in any case. NOT_FOUND if there is no such file.
 */
struct torpor_error *tp_config_load(const char *path, struct tp_config_faults *faults,
	struct tp_daemon_config **config_out) TP_MUST_USE;
/* What holds without a file. */
struct tp_daemon_config *tp_config_defaults(void);
/* Takes NULL. Returns NULL. */
struct tp_daemon_config *tp_config_free(struct tp_daemon_config *config);
TP_DEFINE_CLEANUP(struct tp_daemon_config *, tp_config_free)

/*
 * Splits "127.0.0.1:8080", "[::1]:8080"; false if it isn't that. HOST has room for 64 bytes, PORT
 * for 6.
 */
bool tp_config_split_listen(const char *listen, char *host, char *port);

#endif
