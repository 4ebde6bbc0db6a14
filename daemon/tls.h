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

/* TLS serves from now on with what NEWER has read; NEWER can only be freed afterwards. Any time. */
void tp_tls_take(struct tp_tls *tls, struct tp_tls *newer);

/* What serves now; valid as long as TLS. */
void tp_tls_current(struct tp_tls *tls, gnutls_pcert_st **chain_out, unsigned int *length_out,
	gnutls_privkey_t *key_out);

#endif
