/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens: "tpr_ID_SECRET". The id is shown, and in logs; of the whole only the SHA-256 is kept.
 *
 * The secret is 32 characters of 62, 190 bits: its hash needs no salt and no stretching, since
 * there is nothing to guess. An unknown id is compared with zeros in the same way as a known one
 * with its hash.
 */
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <errno.h>
#include <sys/random.h>

#include "base/id.h"
#include "base/mem.h"
#include "service/service_priv.h"

#define PREFIX	      "tpr_"
#define ID_LEN	      10
#define SECRET_LEN    32
#define TOKEN_LEN     (strlen(PREFIX) + ID_LEN + 1 + SECRET_LEN)
#define LABEL_MAX     255
#define EXPIRES_MAX_S (INT64_C(100) * 366 * 86400)

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
#define DIGITS (sizeof(digits) - 1)

static void random_secret(char text[SECRET_LEN + 1])
{
	for (size_t done = 0; done < SECRET_LEN;) {
		uint8_t byte;
		ssize_t n = getrandom(&byte, 1, 0);
		assert(n == 1 || errno == EINTR);
		/* Bytes beyond a multiple of the digits would favour the first ones. */
		if (n == 1 && byte < 256 / DIGITS * DIGITS)
			text[done++] = digits[byte % DIGITS];
	}
	text[SECRET_LEN] = '\0';
}

/* The id in TOKEN, if it looks like one. */
static bool parse(const char *token, char id[ID_LEN + 1])
{
	size_t prefix = strlen(PREFIX);

	if (strnlen(token, TOKEN_LEN + 1) != TOKEN_LEN || strncmp(token, PREFIX, prefix) != 0)
		return false;
	if (token[prefix + ID_LEN] != '_' || strspn(token + prefix, digits) != ID_LEN ||
		strspn(token + prefix + ID_LEN + 1, digits) != SECRET_LEN)
		return false;
	memcpy(id, token + prefix, ID_LEN);
	id[ID_LEN] = '\0';
	return true;
}

static void hash(const char *token, uint8_t hash_out[TP_HASH_LEN])
{
	SHA256((const uint8_t *)token, strlen(token), hash_out);
}

/* --- who it is --- */

static struct torpor_error *denied(void)
{
	return tp_error(TORPOR_E_DENIED, "authorize", NULL, "the token isn't valid");
}

static void fill_actor(const struct tp_token_row *row, struct tp_actor *actor_out)
{
	struct tp_actor actor = {
		.perms = TP_PERM_ALL, .admin = !row->tenant, .expires_ns = row->expires_ns};

	snprintf(actor.tenant, sizeof(actor.tenant), "%s",
		row->tenant ? row->tenant : TP_DEFAULT_TENANT);
	snprintf(actor.how, sizeof(actor.how), "token %s", row->id);
	*actor_out = actor;
}

struct torpor_error *tp_service_actor_of_token(
	struct tp_service *service, const char *token, struct tp_actor *actor_out)
{
	struct tp_token_row row = {0};
	uint8_t given[TP_HASH_LEN];
	char id[ID_LEN + 1];

	if (!parse(token, id))
		return denied();
	hash(token, given);
	struct torpor_error *err = tp_records_token(service->records, id, &row);
	if (err && torpor_error_code(err) != TORPOR_E_NOT_FOUND)
		return err;
	bool known = !err;
	torpor_error_free(err);
	bool same = CRYPTO_memcmp(given, row.hash, sizeof(given)) == 0;
	bool expired = row.expires_ns && tp_realtime_ns() >= row.expires_ns;
	if (known && same && !expired)
		fill_actor(&row, actor_out);
	tp_token_row_deinit(&row);
	if (!known || !same)
		return denied();
	/* Who knows the secret may know that. */
	return expired ? tp_error_refusal(denied(), "token-expired", 0) : NULL;
}

/* --- the admin's --- */

static json_t *view(const struct tp_token_row *row)
{
	return json_pack("{s:s, s:s?, s:s?, s:b, s:o, s:o}", "id", row->id, "tenant", row->tenant,
		"label", row->label, "admin", !row->tenant, "created",
		tp_time_json(row->created_ns), "expires", tp_time_json(row->expires_ns));
}

static struct torpor_error *add_view(void *data, const struct tp_token_row *row)
{
	json_array_append_new(data, view(row));
	return NULL;
}

/* The admin's own are kept with the default tenant's, for whom the admin acts. */
static bool holds_admins(const char *tenant)
{
	return strcmp(tenant, TP_DEFAULT_TENANT) == 0;
}

struct torpor_error *tp_service_tokens(struct tp_service *service, const struct tp_actor *actor,
	const char *tenant, json_t **view_out)
{
	TP_TRY(tp_actor_must_be_admin(actor));
	TP_TRY(tp_service_check_tenant(service, tenant));
	TP_JSON json_t *list = json_array();
	TP_TRY(tp_records_tokens(service->records, tenant, add_view, list));
	if (holds_admins(tenant))
		TP_TRY(tp_records_tokens(service->records, NULL, add_view, list));
	*view_out = json_pack("{s:O}", "tokens", list);
	return NULL;
}

struct wishes {
	const char *label;
	int64_t expires_s; /* 0: never */
	bool admin;
};

static struct torpor_error *invalid(const char *what, const char *why)
{
	return tp_error(TORPOR_E_INVALID, "make token", NULL, "%s: %s", what, why);
}

static struct torpor_error *parse_wish(const char *key, const json_t *value, struct wishes *wishes)
{
	if (strcmp(key, "label") == 0) {
		if (!json_is_string(value) || json_string_length(value) > LABEL_MAX ||
			strlen(json_string_value(value)) != json_string_length(value))
			return invalid(key, "it is a string of at most 255 bytes");
		wishes->label = json_string_value(value);
		return NULL;
	}
	if (strcmp(key, "expires_s") == 0) {
		if (!json_is_null(value) &&
			(!json_is_integer(value) || json_integer_value(value) < 1 ||
				json_integer_value(value) > EXPIRES_MAX_S))
			return invalid(key, "it is a number of seconds, from 1 on, or null");
		wishes->expires_s = json_integer_value(value);
		return NULL;
	}
	if (strcmp(key, "admin") == 0) {
		if (!json_is_boolean(value))
			return invalid(key, "it is true or false");
		wishes->admin = json_is_true(value);
		return NULL;
	}
	return invalid("body", "a token has no such property");
}

static struct torpor_error *parse_wishes(
	const char *tenant, const json_t *body, struct wishes *wishes_out)
{
	struct wishes wishes = {0};
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)body, key, value)
		TP_TRY(parse_wish(key, value, &wishes));
	if (wishes.admin && !holds_admins(tenant))
		return invalid("admin", "such a token belongs to the tenant " TP_DEFAULT_TENANT);
	*wishes_out = wishes;
	return NULL;
}

static struct torpor_error *make(struct tp_service *service, struct tp_op *op, const char *tenant,
	const struct wishes *wishes, json_t **view_out)
{
	char id[ID_LEN + 1];
	char secret[SECRET_LEN + 1];
	uint64_t now = tp_realtime_ns();

	tp_random_id(id, ID_LEN);
	random_secret(secret);
	TP_FREE char *token = tp_asprintf(PREFIX "%s_%s", id, secret);
	TP_FREE char *owner = wishes->admin ? NULL : tp_strdup(tenant);
	TP_FREE char *label = tp_strdup(wishes->label);
	struct tp_token_row row = {
		.id = id,
		.tenant = owner,
		.label = label,
		.created_ns = now,
		.expires_ns =
			wishes->expires_s ? now + (uint64_t)wishes->expires_s * TP_NSEC_PER_SEC : 0,
	};
	hash(token, row.hash);
	TP_JSON json_t *shown = view(&row);
	TP_JSON json_t *result = json_pack("{s:O}", "view", shown);
	struct tp_change *change = tp_change_new();
	tp_change_put_token(change, &row);
	op->object = id;
	op->detail = shown;
	op->result = result;
	struct torpor_error *err = tp_settle(service, op, change, NULL);
	if (err) {
		change = tp_change_new();
		tp_change_remove_token(change, id);
		tp_settle_undo(service, op, change);
	}
	op->object = NULL;
	op->detail = NULL;
	op->result = NULL;
	if (!err) {
		*view_out = json_copy(shown);
		json_object_set_new(*view_out, "token", json_string(token));
	}
	OPENSSL_cleanse(secret, sizeof(secret));
	OPENSSL_cleanse(token, strlen(token));
	return err;
}

struct torpor_error *tp_service_new_token(struct tp_service *service, const struct tp_actor *actor,
	const char *tenant, const json_t *body, json_t **view_out)
{
	struct tp_op op = {.actor = actor, .op = "token-create", .status = 201};
	struct wishes wishes;

	TP_TRY(tp_refuse(service, &op, tp_actor_must_be_admin(actor)));
	struct torpor_error *err = tp_service_check_tenant(service, tenant);
	if (!err)
		err = parse_wishes(tenant, body, &wishes);
	if (!err)
		err = make(service, &op, tenant, &wishes, view_out);
	return tp_refuse(service, &op, err);
}

static struct torpor_error *remove_token(
	struct tp_service *service, const struct tp_op *op, const struct tp_token_row *row)
{
	struct tp_change *change = tp_change_new();

	tp_change_remove_token(change, row->id);
	struct torpor_error *err = tp_settle(service, op, change, NULL);
	if (err) {
		change = tp_change_new();
		tp_change_put_token(change, row);
		tp_settle_undo(service, op, change);
	}
	return err;
}

struct torpor_error *tp_service_remove_token(struct tp_service *service,
	const struct tp_actor *actor, const char *tenant, const char *id)
{
	struct tp_op op = {.actor = actor, .op = "token-remove", .object = id, .status = 204};
	struct tp_token_row row = {0};

	TP_TRY(tp_refuse(service, &op, tp_actor_must_be_admin(actor)));
	struct torpor_error *err = tp_service_check_tenant(service, tenant);
	if (!err)
		err = tp_records_token(service->records, id, &row);
	bool theirs = row.tenant ? strcmp(row.tenant, tenant) == 0 : holds_admins(tenant);
	if (!err && !theirs)
		err = tp_error(TORPOR_E_NOT_FOUND, "find token", NULL, "there is none of that id");
	err = err ? tp_refuse(service, &op, err) : remove_token(service, &op, &row);
	tp_token_row_deinit(&row);
	return err;
}
