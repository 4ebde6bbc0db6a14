/* SPDX-License-Identifier: Apache-2.0 */
/* JSON Web Tokens: one that is good, and every way to be bad. */
#include <criterion/criterion.h>

#include <jose/b64.h>
#include <jose/jwk.h>
#include <jose/jws.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "daemon/auth.h"
#include "daemon/jwt.h"
#include "stub_service.h"

#define NOW 1000000

/* Keys of the issuer, and of somebody else. */
static json_t *rsa, *ec, *oct, *stranger;
static EVP_PKEY *ed25519;
static char jwks[64];
static struct tp_jwt_keys *keys;

static json_t *new_key(const char *alg, const char *kid)
{
	json_t *key = json_pack("{s:s, s:s}", "alg", alg, "kid", kid);

	cr_assert(jose_jwk_gen(NULL, key));
	return key;
}

static json_t *public_of(const json_t *key)
{
	json_t *copy = json_deep_copy(key);

	cr_assert(jose_jwk_pub(NULL, copy));
	return copy;
}

static json_t *public_of_ed25519(void)
{
	uint8_t raw[32];
	size_t len = sizeof(raw);

	cr_assert(EVP_PKEY_get_raw_public_key(ed25519, raw, &len) == 1);
	return json_pack("{s:s, s:s, s:s, s:o}", "kty", "OKP", "crv", "Ed25519", "kid", "ed", "x",
		jose_b64_enc(raw, len));
}

static struct tp_auth_config config_for(unsigned int algorithms)
{
	return (struct tp_auth_config){
		.jwks = jwks,
		.issuer = (char *)"https://issuer",
		.audience = (char *)"torpor",
		.algorithms = algorithms,
	};
}

static void write_keys(json_t *array)
{
	json_t *set = json_pack("{s:o}", "keys", array);

	cr_assert(json_dump_file(set, jwks, 0) == 0);
	json_decref(set);
}

static void setup(void)
{
	struct tp_auth_config config =
		config_for(TP_JWT_RS256 | TP_JWT_ES256 | TP_JWT_EDDSA | TP_JWT_HS256);

	stub_reset();
	strcpy(jwks, "/tmp/torpord-jwks.XXXXXX");
	cr_assert(close(mkstemp(jwks)) == 0);
	rsa = new_key("RS256", "rsa");
	ec = new_key("ES256", "ec");
	oct = new_key("HS256", "oct");
	stranger = new_key("ES256", "ec");
	ed25519 = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	write_keys(
		json_pack("[o, o, o, O]", public_of(rsa), public_of(ec), public_of_ed25519(), oct));
	struct torpor_error *err = tp_jwt_keys_load(&config, &keys);
	cr_assert(!err, "%s", torpor_error_message(err));
}

static void teardown(void)
{
	keys = tp_jwt_keys_free(keys);
	unlink(jwks);
	json_decref(rsa);
	json_decref(ec);
	json_decref(oct);
	json_decref(stranger);
	EVP_PKEY_free(ed25519);
}

TestSuite(jwt, .init = setup, .fini = teardown);

static json_t *good_claims(void)
{
	return json_pack("{s:s, s:i, s:i, s:s, s:[s, s], s:s}", "sub", "bob", "exp", NOW + 60,
		"nbf", NOW - 60, "iss", "https://issuer", "aud", "other", "torpor", "torpor_tenant",
		"alice");
}

/* CLAIMS is taken; ALG and KID (may be NULL) are what the header says. */
static char *sign(json_t *claims, const json_t *key, const char *alg, const char *kid)
{
	TP_FREE char *text = json_dumps(claims, 0);
	json_t *header = json_pack("{s:s, s:s*}", "alg", alg, "kid", kid);
	json_t *jws = json_pack("{s:o}", "payload", jose_b64_enc(text, strlen(text)));
	json_t *sig = json_pack("{s:o}", "protected", header);

	cr_assert(jose_jws_sig(NULL, jws, sig, key));
	char *token = tp_asprintf("%s.%s.%s", json_string_value(json_object_get(jws, "protected")),
		json_string_value(json_object_get(jws, "payload")),
		json_string_value(json_object_get(jws, "signature")));
	json_decref(jws);
	json_decref(sig);
	json_decref(claims);
	return token;
}

/* The first two parts, by hand: for what libjose wouldn't sign. */
static char *unsigned_part(const char *header, json_t *claims)
{
	TP_FREE char *text = json_dumps(claims, 0);
	json_t *a = jose_b64_enc(header, strlen(header));
	json_t *b = jose_b64_enc(text, strlen(text));
	char *parts = tp_asprintf("%s.%s", json_string_value(a), json_string_value(b));

	json_decref(a);
	json_decref(b);
	json_decref(claims);
	return parts;
}

static char *sign_ed25519(json_t *claims)
{
	TP_FREE char *parts = unsigned_part("{\"alg\":\"EdDSA\",\"kid\":\"ed\"}", claims);
	uint8_t signature[64];
	size_t len = sizeof(signature);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	cr_assert(EVP_DigestSignInit(ctx, NULL, NULL, NULL, ed25519) == 1);
	cr_assert(EVP_DigestSign(ctx, signature, &len, (uint8_t *)parts, strlen(parts)) == 1);
	EVP_MD_CTX_free(ctx);
	json_t *third = jose_b64_enc(signature, len);
	char *token = tp_asprintf("%s.%s", parts, json_string_value(third));
	json_decref(third);
	return token;
}

/* TOKEN is freed. */
static void expect_good(char *token, struct tp_actor *actor_out)
{
	struct torpor_error *err = tp_jwt_verify(keys, token, NOW, actor_out);

	free(token);
	cr_assert(!err, "%s", torpor_error_message(err));
}

static void expect_bad_at(char *token, uint64_t now, const char *why)
{
	struct tp_actor actor = {0};
	struct torpor_error *err = tp_jwt_verify(keys, token, now, &actor);

	cr_assert(err, "accepted, should be: %s", why);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_DENIED);
	cr_expect(strstr(torpor_error_message(err), why), "%s, should be: %s",
		torpor_error_message(err), why);
	/* Nothing of it in the log, not even its beginning. */
	if (strlen(token) > 12) {
		TP_FREE char *start = tp_strndup(token, 12);
		cr_expect(!strstr(torpor_error_message(err), start));
	}
	cr_expect(!actor.tenant[0] && !actor.perms);
	torpor_error_free(err);
	free(token);
}

static void expect_bad(char *token, const char *why)
{
	expect_bad_at(token, NOW, why);
}

static json_t *with(const char *name, json_t *value)
{
	json_t *claims = good_claims();

	json_object_set_new(claims, name, value);
	return claims;
}

static json_t *without(const char *name)
{
	json_t *claims = good_claims();

	json_object_del(claims, name);
	return claims;
}

static char *signed_with(const char *name, json_t *value)
{
	return sign(with(name, value), ec, "ES256", "ec");
}

Test(jwt, good_ones)
{
	struct tp_actor actor;

	expect_good(sign(good_claims(), ec, "ES256", "ec"), &actor);
	cr_assert_str_eq(actor.tenant, "alice");
	cr_assert_str_eq(actor.how, "jwt bob");
	cr_assert_eq(actor.perms, TP_PERM_READ);
	cr_assert(!actor.admin && !actor.session[0] && !actor.key[0]);
	expect_good(sign(good_claims(), rsa, "RS256", "rsa"), &actor);
	expect_good(sign(good_claims(), oct, "HS256", "oct"), &actor);
	expect_good(sign_ed25519(good_claims()), &actor);
	expect_good(sign(good_claims(), ec, "ES256", NULL), &actor); /* no kid: any key that fits */
	expect_good(sign(with("aud", json_string("torpor")), ec, "ES256", "ec"), &actor);
	expect_good(sign(without("nbf"), ec, "ES256", "ec"), &actor);

	json_t *claims = with("torpor_perm", json_pack("[s, s]", "exec", "create"));
	json_object_set_new(claims, "torpor_session", json_string("k3v9q2m7x4tz0d8h"));
	json_object_set_new(claims, "sub", json_string("eve\n\x1b[31m"));
	expect_good(sign(claims, ec, "ES256", "ec"), &actor);
	cr_assert_eq(actor.perms, TP_PERM_EXEC | TP_PERM_CREATE);
	cr_assert_str_eq(actor.session, "k3v9q2m7x4tz0d8h");
	cr_assert_str_eq(actor.how, "jwt eve??[31m");
}

Test(jwt, claims)
{
	expect_bad(sign(without("exp"), ec, "ES256", "ec"), "no exp");
	expect_bad(signed_with("exp", json_string("9999999999")), "no exp");
	expect_bad(signed_with("exp", json_integer(NOW - 31)), "expired");
	expect_bad(signed_with("nbf", json_integer(NOW + 31)), "isn't valid yet");
	expect_bad(signed_with("nbf", json_string("0")), "nbf is no time");
	expect_bad(signed_with("iss", json_string("https://other")), "another issuer");
	expect_bad(sign(without("iss"), ec, "ES256", "ec"), "another issuer");
	expect_bad(signed_with("aud", json_string("other")), "another audience");
	expect_bad(signed_with("aud", json_pack("[s]", "other")), "another audience");
	expect_bad(sign(without("aud"), ec, "ES256", "ec"), "another audience");
	expect_bad(sign(without("sub"), ec, "ES256", "ec"), "no sub");
	expect_bad(sign(without("torpor_tenant"), ec, "ES256", "ec"), "no torpor_tenant");
	expect_bad(signed_with("torpor_tenant", json_integer(1)), "no torpor_tenant");
	expect_bad(signed_with("torpor_tenant", json_stringn("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
							     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
							65)),
		"no torpor_tenant");
	expect_bad(signed_with("torpor_session", json_string("../x")), "no session's id");
	expect_bad(signed_with("torpor_session", json_null()), "no session's id");
	expect_bad(signed_with("torpor_perm", json_string("read")), "no list");
	expect_bad(signed_with("torpor_perm", json_pack("[s]", "admin")), "unknown permission");
	expect_bad(signed_with("torpor_perm", json_pack("[i]", 15)), "unknown permission");
}

Test(jwt, leeway_is_thirty_seconds)
{
	struct tp_actor actor;

	expect_good(signed_with("exp", json_integer(NOW - 29)), &actor);
	expect_bad(signed_with("exp", json_integer(NOW - 30)), "expired");
	expect_good(signed_with("nbf", json_integer(NOW + 30)), &actor);
	expect_bad_at(sign(good_claims(), ec, "ES256", "ec"), NOW + 90, "expired");
	expect_bad_at(sign(good_claims(), ec, "ES256", "ec"), NOW - 91, "isn't valid yet");
}

Test(jwt, keys_and_algorithms)
{
	json_t *es384 = new_key("ES384", "ec");

	expect_bad(sign(good_claims(), stranger, "ES256", "ec"), "signature is wrong");
	expect_bad(sign(good_claims(), ec, "ES256", "rsa"), "no key");
	expect_bad(sign(good_claims(), ec, "ES256", "unknown"), "no key");
	expect_bad(sign(good_claims(), es384, "ES384", "ec"), "algorithm isn't one");
	json_decref(es384);

	/* Unsigned. */
	TP_FREE char *none = unsigned_part("{\"alg\":\"none\"}", good_claims());
	expect_bad(tp_asprintf("%s.", none), "algorithm isn't one");
	TP_FREE char *none2 = unsigned_part("{\"alg\":\"nOnE\",\"kid\":\"ec\"}", good_claims());
	expect_bad(tp_asprintf("%s.", none2), "algorithm isn't one");
	TP_FREE char *missing = unsigned_part("{\"kid\":\"ec\"}", good_claims());
	expect_bad(tp_asprintf("%s.AAAA", missing), "algorithm isn't one");
	TP_FREE char *empty = unsigned_part("{\"alg\":\"ES256\",\"kid\":\"ec\"}", good_claims());
	expect_bad(tp_asprintf("%s.", empty), "signature is wrong");
	TP_FREE char *crit = unsigned_part("{\"alg\":\"ES256\",\"crit\":[\"x\"]}", good_claims());
	expect_bad(tp_asprintf("%s.AAAA", crit), "critical header");
}

/* The classic: the public RSA key, which everybody has, as the secret of an HMAC. */
Test(jwt, public_key_is_no_secret)
{
	TP_FREE char *n = tp_strdup(json_string_value(json_object_get(rsa, "n")));
	json_t *fake = json_pack(
		"{s:s, s:s, s:s, s:s}", "kty", "oct", "alg", "HS256", "k", n, "kid", "rsa");

	expect_bad(sign(good_claims(), fake, "HS256", "rsa"), "no key");
	json_decref(fake);
}

Test(jwt, changed_ones)
{
	struct tp_actor actor;
	TP_FREE char *token = sign(good_claims(), ec, "ES256", "ec");
	size_t len = strlen(token);

	/* Any change of a character. The last one of a part has bits that mean nothing. */
	for (size_t i = 0; i < len; i++) {
		TP_FREE char *changed = tp_strdup(token);
		changed[i] = changed[i] == 'A' ? 'Q' : 'A';
		if (token[i] == '.' || i + 1 == len || token[i + 1] == '.')
			continue;
		struct torpor_error *err = tp_jwt_verify(keys, changed, NOW, &actor);
		cr_assert(err, "character %zu", i);
		torpor_error_free(err);
	}
}

Test(jwt, garbage)
{
	static const char *const garbage[] = {"", ".", "..", "...", "a.b", "a.b.c", "a.b.c.d",
		"e30.e30.e30", "\xff.\xff.\xff", "W10.W10.W10", "eyJhbGciOiJFUzI1NiJ9..",
		"eyJhbGciOiJFUzI1NiJ9.e30.", "    .e30.e30", "bnVsbA.bnVsbA.bnVsbA"};

	for (size_t i = 0; i < TP_ARRAY_LEN(garbage); i++) {
		struct tp_actor actor;
		struct torpor_error *err = tp_jwt_verify(keys, garbage[i], NOW, &actor);
		cr_assert(err, "%s", garbage[i]);
		torpor_error_free(err);
	}
}

Test(jwt, audience_unset)
{
	struct tp_auth_config config = config_for(TP_JWT_ES256);
	struct tp_actor actor;

	config.audience = NULL;
	tp_jwt_keys_free(keys);
	write_keys(json_pack("[o]", public_of(ec)));
	cr_assert(!tp_jwt_keys_load(&config, &keys));
	expect_bad(sign(good_claims(), ec, "ES256", "ec"), "another audience");
	expect_good(sign(without("aud"), ec, "ES256", "ec"), &actor);
}

static void expect_bad_keys(json_t *array, unsigned int algorithms, const char *why)
{
	struct tp_auth_config config = config_for(algorithms);
	struct tp_jwt_keys *loaded = NULL;

	write_keys(array);
	struct torpor_error *err = tp_jwt_keys_load(&config, &loaded);
	cr_assert(err, "accepted, should be: %s", why);
	cr_expect(strstr(torpor_error_message(err), why), "%s", torpor_error_message(err));
	torpor_error_free(err);
}

Test(jwt, files_of_keys)
{
	static const unsigned int usual = TP_JWT_RS256 | TP_JWT_ES256 | TP_JWT_EDDSA;
	json_t *encrypts = public_of(ec);
	json_t *small = json_pack("{s:s, s:i}", "kty", "RSA", "bits", 1024);

	expect_bad_keys(json_array(), usual, "a key or more");
	expect_bad_keys(json_object(), usual, "a key or more");
	expect_bad_keys(json_pack("[O]", oct), usual, "key 1 can't be used");
	expect_bad_keys(json_pack("[o, O]", public_of(ec), rsa), usual, "key 2 is a private key");
	expect_bad_keys(json_pack("[{s:s, s:s}]", "kty", "oct", "k", "c2hvcnQ"), TP_JWT_HS256,
		"key 1 can't be used");
	expect_bad_keys(json_pack("[i]", 1), usual, "key 1 can't be used");
	json_object_set_new(encrypts, "use", json_string("enc"));
	expect_bad_keys(json_pack("[o]", encrypts), usual, "key 1 can't be used");
	cr_assert(jose_jwk_gen(NULL, small) || true);
	if (json_object_get(small, "n"))
		expect_bad_keys(json_pack("[o]", public_of(small)), usual, "key 1 can't be used");
	json_decref(small);
}

/* Through the front door: headers, schemes, tenants that there must be. */
Test(jwt, bearer)
{
	struct tp_auth_config config = config_for(TP_JWT_ES256);
	struct tp_auth *auth;
	struct tp_actor actor;
	char exp[32];
	write_keys(json_pack("[o]", public_of(ec)));
	cr_assert(!tp_auth_new(&config, NULL, &auth));
	(void)exp;

	json_t *claims = with("exp", json_integer(99999999999));
	TP_FREE char *token = sign(json_copy(claims), ec, "ES256", "ec");
	TP_FREE char *header = tp_asprintf("bearer  %s", token);
	struct torpor_error *err = tp_auth_identify(auth, header, -1, &actor);
	cr_assert(!err, "%s", torpor_error_message(err));
	cr_assert_str_eq(actor.tenant, "alice");

	json_object_set_new(claims, "torpor_tenant", json_string("nobody"));
	TP_FREE char *other = sign(claims, ec, "ES256", "ec");
	TP_FREE char *other_header = tp_asprintf("Bearer %s", other);
	const char *const bad[] = {other_header, token, "Bearer", "Bearer ", "Basic YTpi",
		"Bearer tpr_bob", "Bearer a b", "Bearer a.b.c"};
	for (size_t i = 0; i < TP_ARRAY_LEN(bad); i++) {
		err = tp_auth_identify(auth, bad[i], -1, &actor);
		cr_assert(err, "%s", bad[i]);
		/* One answer for all, that tells nothing. */
		cr_assert_str_eq(torpor_error_message(err),
			"identify the caller: there is no valid credential");
		torpor_error_free(err);
	}
	tp_auth_free(auth);
}
