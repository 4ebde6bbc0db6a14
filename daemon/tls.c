/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificate that TCP connections are served with.
 *
 * A handshake takes what is current and holds it without a count, so older ones stay until the end.
 * There is one for each renewal of the certificate: reading the same again adds none.
 */
#include "daemon/tls.h"

#include <fcntl.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/mem.h"

#define PEM_MAX	  TP_MIB
#define CHAIN_MAX 16

struct credentials {
	struct credentials *older;
	gnutls_pcert_st chain[CHAIN_MAX];
	unsigned int length;
	gnutls_privkey_t key;
	char *pem; /* of both files, to see whether they changed */
};

struct tp_tls {
	pthread_mutex_t lock;
	struct credentials *current; /* by the lock */
};

static struct credentials *credentials_free(struct credentials *c)
{
	if (!c)
		return NULL;
	for (unsigned int i = 0; i < c->length; i++)
		gnutls_pcert_deinit(&c->chain[i]);
	if (c->key)
		gnutls_privkey_deinit(c->key);
	if (c->pem)
		explicit_bzero(c->pem, strlen(c->pem));
	free(c->pem);
	free(c);
	return NULL;
}
TP_DEFINE_CLEANUP(struct credentials *, credentials_free)

static struct torpor_error *bad_file(const char *what, const char *path, int code)
{
	return tp_error(TORPOR_E_INVALID, what, path, "%s", gnutls_strerror(code));
}

/* Whether the key signs what the certificate verifies. */
static struct torpor_error *check_pair(
	const struct credentials *c, const char *cert_path, const char *key_path)
{
	uint8_t of_cert[64];
	uint8_t of_key[64];
	size_t cert_len = sizeof(of_cert);
	size_t key_len = sizeof(of_key);
	gnutls_pubkey_t public_key;

	int code = gnutls_pubkey_init(&public_key);
	if (code == 0)
		code = gnutls_pubkey_import_privkey(public_key, c->key, 0, 0);
	if (code == 0)
		code = gnutls_pubkey_get_key_id(
			public_key, GNUTLS_KEYID_USE_SHA256, of_key, &key_len);
	gnutls_pubkey_deinit(public_key);
	if (code == 0)
		code = gnutls_pubkey_get_key_id(
			c->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, of_cert, &cert_len);
	if (code != 0)
		return bad_file("read the private key", key_path, code);
	if (cert_len != key_len || memcmp(of_cert, of_key, key_len) != 0)
		return tp_error(TORPOR_E_INVALID, "read the private key", key_path,
			"it isn't that of the first certificate in %s", cert_path);
	return NULL;
}

static struct torpor_error *load(
	const char *cert_path, const char *key_path, struct credentials **credentials_out)
{
	TP_CLEANUP(credentials_free) struct credentials *c = tp_calloc(1, sizeof(*c));
	TP_FREE char *cert = NULL;
	TP_FREE char *key = NULL;
	size_t cert_len;
	size_t key_len;
	unsigned int n = CHAIN_MAX;

	TP_TRY(tp_read_file(AT_FDCWD, cert_path, PEM_MAX, &cert, &cert_len));
	TP_TRY(tp_read_file(AT_FDCWD, key_path, PEM_MAX, &key, &key_len));
	c->pem = tp_asprintf("%s\n%s", cert, key);

	gnutls_datum_t cert_pem = {.data = (uint8_t *)cert, .size = (unsigned int)cert_len};
	gnutls_datum_t key_pem = {.data = (uint8_t *)key, .size = (unsigned int)key_len};
	int code =
		gnutls_pcert_list_import_x509_raw(c->chain, &n, &cert_pem, GNUTLS_X509_FMT_PEM, 0);
	if (code < 0)
		return bad_file("read the certificate", cert_path, code);
	c->length = n;
	code = gnutls_privkey_init(&c->key);
	if (code == 0)
		code = gnutls_privkey_import_x509_raw(
			c->key, &key_pem, GNUTLS_X509_FMT_PEM, NULL, 0);
	explicit_bzero(key, key_len);
	if (code != 0)
		return bad_file("read the private key", key_path, code);
	TP_TRY(check_pair(c, cert_path, key_path));
	*credentials_out = TP_TAKE(c);
	return NULL;
}

struct torpor_error *tp_tls_new(
	const char *cert_path, const char *key_path, struct tp_tls **tls_out)
{
	struct credentials *first;

	TP_TRY(load(cert_path, key_path, &first));
	struct tp_tls *tls = tp_calloc(1, sizeof(*tls));
	pthread_mutex_init(&tls->lock, NULL);
	tls->current = first;
	*tls_out = tls;
	return NULL;
}

struct tp_tls *tp_tls_free(struct tp_tls *tls)
{
	if (!tls)
		return NULL;
	for (struct credentials *c = tls->current; c;) {
		struct credentials *older = c->older;
		credentials_free(c);
		c = older;
	}
	pthread_mutex_destroy(&tls->lock);
	free(tls);
	return NULL;
}

void tp_tls_take(struct tp_tls *tls, struct tp_tls *newer)
{
	pthread_mutex_lock(&tls->lock);
	if (strcmp(newer->current->pem, tls->current->pem) != 0) {
		newer->current->older = tls->current;
		tls->current = TP_TAKE(newer->current);
	}
	pthread_mutex_unlock(&tls->lock);
}

void tp_tls_current(struct tp_tls *tls, gnutls_pcert_st **chain_out, unsigned int *length_out,
	gnutls_privkey_t *key_out)
{
	pthread_mutex_lock(&tls->lock);
	*chain_out = tls->current->chain;
	*length_out = tls->current->length;
	*key_out = tls->current->key;
	pthread_mutex_unlock(&tls->lock);
}
