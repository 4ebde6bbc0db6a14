/* SPDX-License-Identifier: Apache-2.0 */
/* JSON Web Tokens. */
#include "daemon/jwt.h"

#include <fcntl.h>
#include <jansson.h>
#include <jose/b64.h>
#include <jose/jws.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/mem.h"

#define JWKS_MAX TP_MIB
#define LEEWAY_S 30

struct tp_jwt_keys {
	json_t *keys; /* array of JWKs */
	char *issuer;
	char *audience;
	unsigned int algorithms;
};

static struct torpor_error *denied(const char *why)
{
	return tp_error(TORPOR_E_DENIED, "check a JWT", NULL, "%s", why);
}

static const char *text_of(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static bool is(const json_t *object, const char *name, const char *value)
{
	const char *text = text_of(object, name);

	return text && strcmp(text, value) == 0;
}

/* --- keys --- */

/* The algorithms that KEY may be used with, by its type and size alone. */
static unsigned int algorithms_of_type(const json_t *key)
{
	static const unsigned int rsa = TP_JWT_RS256 | TP_JWT_RS384 | TP_JWT_RS512 | TP_JWT_PS256 |
					TP_JWT_PS384 | TP_JWT_PS512;

	if (is(key, "kty", "RSA"))
		return jose_b64_dec(json_object_get(key, "n"), NULL, 0) >= 256 ? rsa : 0;
	if (is(key, "kty", "EC") && is(key, "crv", "P-256"))
		return TP_JWT_ES256;
	if (is(key, "kty", "EC") && is(key, "crv", "P-384"))
		return TP_JWT_ES384;
	if (is(key, "kty", "EC") && is(key, "crv", "P-521"))
		return TP_JWT_ES512;
	if (is(key, "kty", "OKP") && is(key, "crv", "Ed25519"))
		return jose_b64_dec(json_object_get(key, "x"), NULL, 0) == 32 ? TP_JWT_EDDSA : 0;
	if (is(key, "kty", "oct")) {
		size_t len = jose_b64_dec(json_object_get(key, "k"), NULL, 0);
		return len != SIZE_MAX && len >= 32 ? TP_JWT_HS256 : 0;
	}
	return 0;
}

static bool may_verify(const json_t *key)
{
	const json_t *ops = json_object_get(key, "key_ops");
	const json_t *use = json_object_get(key, "use");
	size_t i;
	json_t *op;

	if (use && !is(key, "use", "sig"))
		return false;
	if (!ops)
		return true;
	json_array_foreach (ops, i, op) {
		if (json_is_string(op) && strcmp(json_string_value(op), "verify") == 0)
			return true;
	}
	return false;
}

/* The algorithms that KEY may be used with, by all that it says of itself. */
static unsigned int algorithms_of(const json_t *key)
{
	const char *alg = text_of(key, "alg");
	unsigned int set = algorithms_of_type(key);

	if (!may_verify(key))
		return 0;
	return alg ? set & tp_jwt_alg_of(alg) : set;
}

static struct torpor_error *check_keys(const char *path, const json_t *keys, unsigned int allowed)
{
	size_t i;
	json_t *key;

	if (json_array_size(keys) == 0)
		return tp_error(TORPOR_E_INVALID, "read the keys in", path,
			"it isn't {\"keys\": [...]} with a key or more");
	json_array_foreach (keys, i, key) {
		if (!(algorithms_of(key) & allowed))
			return tp_error_hint(tp_error(TORPOR_E_INVALID, "read the keys in", path,
						     "key %zu can't be used with any of the "
						     "configured algorithms",
						     i + 1),
				"Keys are RSA of 2048 bits or more, EC, OKP Ed25519, or, where "
				"HS256 is named, oct of 256 bits or more.");
		if (!is(key, "kty", "oct") && json_object_get(key, "d"))
			return tp_error_hint(tp_error(TORPOR_E_INVALID, "read the keys in", path,
						     "key %zu is a private key", i + 1),
				"Only the issuer needs that: leave its public part here.");
	}
	return NULL;
}

struct torpor_error *tp_jwt_keys_load(
	const struct tp_auth_config *config, struct tp_jwt_keys **keys_out)
{
	TP_FREE char *text = NULL;
	size_t len;
	json_error_t where;

	TP_TRY(tp_read_file(AT_FDCWD, config->jwks, JWKS_MAX, &text, &len));
	json_t *set = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
	if (!set)
		return tp_error(TORPOR_E_INVALID, "read the keys in", config->jwks,
			"line %d is no JSON", where.line);
	json_t *array = json_incref(json_object_get(set, "keys"));
	json_decref(set);
	struct torpor_error *err = check_keys(config->jwks, array, config->algorithms);
	if (err) {
		json_decref(array);
		return err;
	}
	struct tp_jwt_keys *keys = tp_calloc(1, sizeof(*keys));
	keys->keys = array;
	keys->issuer = tp_strdup(config->issuer);
	keys->audience = tp_strdup(config->audience);
	keys->algorithms = config->algorithms;
	*keys_out = keys;
	return NULL;
}

struct tp_jwt_keys *tp_jwt_keys_free(struct tp_jwt_keys *keys)
{
	if (!keys)
		return NULL;
	json_decref(keys->keys);
	free(keys->issuer);
	free(keys->audience);
	free(keys);
	return NULL;
}

/* --- signature --- */

/* libjose would write what it finds wrong to standard error. */
static void be_silent(
	void *misc, const char *file, int line, uint64_t err, const char *fmt, va_list ap)
{
	(void)misc;
	(void)file;
	(void)line;
	(void)err;
	(void)fmt;
	(void)ap;
}

/* With a configuration of its own: its count of references isn't atomic. */
static bool jose_good(const json_t *key, const json_t *jws)
{
	jose_cfg_auto_t *cfg = jose_cfg();

	if (!cfg)
		return false;
	jose_cfg_set_err_func(cfg, be_silent, NULL);
	return jose_jws_ver(cfg, jws, NULL, key, false);
}

/* libjose 11 has no EdDSA (RFC 8037). */
static bool ed25519_good(const json_t *key, const json_t *jws)
{
	uint8_t public_key[32];
	uint8_t signature[64];
	bool good = false;

	if (jose_b64_dec(json_object_get(key, "x"), public_key, sizeof(public_key)) !=
			sizeof(public_key) ||
		jose_b64_dec(json_object_get(jws, "signature"), signature, sizeof(signature)) !=
			sizeof(signature))
		return false;
	TP_FREE char *signed_text =
		tp_asprintf("%s.%s", text_of(jws, "protected"), text_of(jws, "payload"));
	EVP_PKEY *pkey =
		EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, sizeof(public_key));
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	if (pkey && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) == 1)
		good = EVP_DigestVerify(ctx, signature, sizeof(signature),
			       (const uint8_t *)signed_text, strlen(signed_text)) == 1;
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(pkey);
	return good;
}

static struct torpor_error *check_signature(
	const struct tp_jwt_keys *keys, const json_t *header, const json_t *jws)
{
	const char *name = text_of(header, "alg");
	const char *kid = text_of(header, "kid");
	unsigned int alg = name ? tp_jwt_alg_of(name) & keys->algorithms : 0;
	bool tried = false;
	size_t i;
	json_t *key;

	if (!alg)
		return denied("its algorithm isn't one of those allowed");
	/* Extensions that must be understood (RFC 7515, 4.1.11): none is. */
	if (json_object_get(header, "crit"))
		return denied("it has critical header fields");
	json_array_foreach (keys->keys, i, key) {
		if ((kid && !is(key, "kid", kid)) || !(algorithms_of(key) & alg))
			continue;
		tried = true;
		if (alg == TP_JWT_EDDSA ? ed25519_good(key, jws) : jose_good(key, jws))
			return NULL;
	}
	return denied(tried ? "its signature is wrong" : "there is no key for it");
}

/* --- claims --- */

static bool in_audience(const json_t *claims, const char *audience)
{
	const json_t *aud = json_object_get(claims, "aud");
	size_t i;
	json_t *one;

	/* RFC 7519, 4.1.3: one that is meant for somebody isn't for those who have no name. */
	if (!audience)
		return !aud;
	if (json_is_string(aud))
		return is(claims, "aud", audience);
	json_array_foreach (aud, i, one) {
		if (json_is_string(one) && strcmp(json_string_value(one), audience) == 0)
			return true;
	}
	return false;
}

static struct torpor_error *check_times(const json_t *claims, uint64_t now_s)
{
	const json_t *exp = json_object_get(claims, "exp");
	const json_t *nbf = json_object_get(claims, "nbf");
	double now = (double)now_s;

	if (!json_is_number(exp))
		return denied("it has no exp");
	if (now >= json_number_value(exp) + LEEWAY_S)
		return tp_error_refusal(denied("it has expired"), "token-expired", 0);
	if (nbf && !json_is_number(nbf))
		return denied("its nbf is no time");
	if (nbf && now < json_number_value(nbf) - LEEWAY_S)
		return denied("it isn't valid yet");
	return NULL;
}

static struct torpor_error *read_perms(const json_t *claims, uint32_t *perms_out)
{
	static const struct {
		const char *name;
		enum tp_perm perm;
	} names[] = {
		{"read", TP_PERM_READ},
		{"exec", TP_PERM_EXEC},
		{"operate", TP_PERM_OPERATE},
		{"create", TP_PERM_CREATE},
	};
	const json_t *list = json_object_get(claims, "torpor_perm");
	uint32_t perms = 0;
	size_t i;
	json_t *one;

	if (list && !json_is_array(list))
		return denied("its torpor_perm is no list");
	json_array_foreach (list, i, one) {
		const char *name = json_string_value(one);
		uint32_t perm = 0;
		for (size_t k = 0; name && k < TP_ARRAY_LEN(names); k++) {
			if (strcmp(names[k].name, name) == 0)
				perm = names[k].perm;
		}
		if (!perm)
			return denied("its torpor_perm has an unknown permission");
		perms |= perm;
	}
	*perms_out = list ? perms : TP_PERM_READ;
	return NULL;
}

/* CLOCK_REALTIME; as check_times has it. */
static uint64_t end_of(const json_t *claims)
{
	double end = json_number_value(json_object_get(claims, "exp")) + LEEWAY_S;

	return (uint64_t)TP_MIN(end, (double)(INT64_MAX / INT64_C(1000000000))) * TP_NSEC_PER_SEC;
}

/* SUB may be anything; the audit log is read by people. */
static void put_how(struct tp_actor *actor, const char *sub)
{
	snprintf(actor->how, sizeof(actor->how), "jwt %.80s", sub);
	for (char *at = actor->how; *at; at++) {
		if (*at < ' ' || *at > '~')
			*at = '?';
	}
}

static struct torpor_error *read_claims(const struct tp_jwt_keys *keys, const json_t *claims,
	uint64_t now_s, struct tp_actor *actor_out)
{
	const char *sub = text_of(claims, "sub");
	const char *tenant = text_of(claims, "torpor_tenant");
	const char *session = text_of(claims, "torpor_session");
	struct tp_actor actor = {0};

	TP_TRY(check_times(claims, now_s));
	if (keys->issuer && !is(claims, "iss", keys->issuer))
		return denied("it is from another issuer");
	if (!in_audience(claims, keys->audience))
		return denied("it is for another audience");
	if (!sub || !*sub)
		return denied("it has no sub");
	if (!tenant || !*tenant || strlen(tenant) >= sizeof(actor.tenant))
		return denied("it has no torpor_tenant");
	if (json_object_get(claims, "torpor_session") &&
		!(session && strlen(session) == TP_ID_LEN &&
			strspn(session, "0123456789abcdefghijklmnopqrstuvwxyz") == TP_ID_LEN))
		return denied("its torpor_session is no session's id");
	TP_TRY(read_perms(claims, &actor.perms));
	strcpy(actor.tenant, tenant);
	if (session)
		strcpy(actor.session, session);
	put_how(&actor, sub);
	actor.expires_ns = end_of(claims);
	*actor_out = actor;
	return NULL;
}

/* --- the whole --- */

/* A part of a token as an object; NULL if it isn't one. */
static json_t *decode_part(const json_t *jws, const char *name)
{
	const json_t *part = json_object_get(jws, name);
	size_t len = jose_b64_dec(part, NULL, 0);
	TP_FREE char *text = NULL;

	if (len == SIZE_MAX || len == 0)
		return NULL;
	text = tp_malloc(len);
	if (jose_b64_dec(part, text, len) != len)
		return NULL;
	json_t *object = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(object))
		return object;
	json_decref(object);
	return NULL;
}

static json_t *split(const char *token)
{
	const char *first = strchr(token, '.');
	const char *second = first ? strchr(first + 1, '.') : NULL;

	if (!second || strchr(second + 1, '.'))
		return NULL;
	/* NULL for what is no UTF-8. */
	return json_pack("{s:s%, s:s%, s:s}", "protected", token, (size_t)(first - token),
		"payload", first + 1, (size_t)(second - first - 1), "signature", second + 1);
}

struct torpor_error *tp_jwt_verify(const struct tp_jwt_keys *keys, const char *token,
	uint64_t now_s, struct tp_actor *actor_out)
{
	json_t *jws = split(token);
	json_t *header = jws ? decode_part(jws, "protected") : NULL;
	json_t *claims = NULL;
	struct torpor_error *err;

	if (!header) {
		err = denied("it isn't three parts with a header");
	} else {
		err = check_signature(keys, header, jws);
		/* Nothing of it is looked at before. */
		claims = err ? NULL : decode_part(jws, "payload");
		if (!err && !claims)
			err = denied("its claims are no JSON object");
		if (!err)
			err = read_claims(keys, claims, now_s, actor_out);
	}
	json_decref(claims);
	json_decref(header);
	json_decref(jws);
	return err;
}
