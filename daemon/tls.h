/* SPDX-License-Identifier: Apache-2.0 */
/* The certificate that TCP connections are served with; can be exchanged while they are. */
#ifndef TP_DAEMON_TLS_H
#define TP_DAEMON_TLS_H

#include <gnutls/abstract.h>
#include <stdbool.h>

#include "base/error.h"

struct tp_tls;

/* From PEM files; the chain begins with the server's own certificate. INVALID if the two don't
 * belong together. */
struct torpor_error *tp_tls_new(
	const char *cert_path, const char *key_path, struct tp_tls **tls_out) TP_MUST_USE;
/* Nothing may be served with it any more. Takes NULL. Returns NULL. */
struct tp_tls *tp_tls_free(struct tp_tls *tls);
TP_DEFINE_CLEANUP(struct tp_tls *, tp_tls_free)

/* From now on other files; on failure the old ones serve on. */
struct torpor_error *tp_tls_reload(
	struct tp_tls *tls, const char *cert_path, const char *key_path) TP_MUST_USE;

/* What serves now; valid as long as TLS. */
void tp_tls_current(struct tp_tls *tls, gnutls_pcert_st **chain_out, unsigned int *length_out,
	gnutls_privkey_t *key_out);

#endif
