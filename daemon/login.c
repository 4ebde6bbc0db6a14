/* SPDX-License-Identifier: Apache-2.0 */
/* Logins, sealed, and codes. */
#include "daemon/login.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/buf.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/mem.h"

#define KEY_LEN	  32
#define NONCE_LEN 12
#define TAG_LEN	  16
/* Nothing that was sealed for another purpose, or in another form, opens as a login. */
#define PURPOSE "torpor login 1"

struct code {
	struct code *next;
	uint8_t hash[SHA256_DIGEST_LENGTH];
	char *owner;
	char *credential;
	uint64_t until_ns;
};

struct tp_logins {
	uint8_t key[KEY_LEN]; /* constant */

	pthread_mutex_t lock;
	struct code *codes; /* by the lock; newest first */
};

/* --- the key --- */

static void random_bytes(void *data, size_t len)
{
	uint8_t *at = data;

	while (len > 0) {
		ssize_t n = getrandom(at, len, 0);
		assert(n > 0 || errno == EINTR);
		if (n <= 0)
			continue;
		at += n;
		len -= (size_t)n;
	}
}

/* Under another name first: a key that was cut off by a crash would be none. */
static struct torpor_error *make_key(const char *path, uint8_t key[KEY_LEN])
{
	TP_FREE char *temporary = tp_asprintf("%s.new", path);

	random_bytes(key, KEY_LEN);
	unlink(temporary);
	TP_FD int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return tp_error_errno(errno, "make", temporary);
	TP_TRY(tp_pwrite_full(fd, key, KEY_LEN, 0, temporary));
	if (fsync(fd) != 0)
		return tp_error_errno(errno, "sync", temporary);
	if (rename(temporary, path) != 0)
		return tp_error_errno(errno, "rename to", path);
	return NULL;
}

static struct torpor_error *read_key(const char *path, uint8_t key[KEY_LEN])
{
	TP_FREE char *data = NULL;
	size_t len;

	if (access(path, F_OK) != 0 && errno == ENOENT)
		return make_key(path, key);
	TP_TRY(tp_read_file(AT_FDCWD, path, KEY_LEN + 1, &data, &len));
	if (len != KEY_LEN)
		return tp_error_hint(tp_error(TORPOR_E_CORRUPT, "read the key of logins", path,
					     "it isn't %d bytes long", KEY_LEN),
			"Remove it: torpord makes another, and browsers have to sign in again.");
	memcpy(key, data, KEY_LEN);
	OPENSSL_cleanse(data, len);
	return NULL;
}

struct torpor_error *tp_logins_new(const char *key_path, struct tp_logins **logins_out)
{
	struct tp_logins *logins = tp_calloc(1, sizeof(*logins));

	pthread_mutex_init(&logins->lock, NULL);
	if (key_path) {
		struct torpor_error *err = read_key(key_path, logins->key);
		if (err) {
			tp_logins_free(logins);
			return err;
		}
	} else {
		random_bytes(logins->key, KEY_LEN);
	}
	*logins_out = logins;
	return NULL;
}

static void code_free(struct code *code)
{
	OPENSSL_cleanse(code->credential, strlen(code->credential));
	free(code->credential);
	free(code->owner);
	free(code);
}

struct tp_logins *tp_logins_free(struct tp_logins *logins)
{
	if (!logins)
		return NULL;
	while (logins->codes) {
		struct code *code = logins->codes;
		logins->codes = code->next;
		code_free(code);
	}
	OPENSSL_cleanse(logins->key, KEY_LEN);
	pthread_mutex_destroy(&logins->lock);
	free(logins);
	return NULL;
}

void tp_login_deinit(struct tp_login *login)
{
	if (login->credential)
		OPENSSL_cleanse(login->credential, strlen(login->credential));
	free(login->credential);
	*login = (struct tp_login){0};
}

/* --- sealing: nonce, then the text, encrypted, then its tag --- */

static struct torpor_error *denied(const char *why)
{
	return tp_error(TORPOR_E_DENIED, "open", "a login", "%s", why);
}

/* LEN bytes of TEXT to OUT, either way; SEAL: makes TAG, else checks it. */
static bool do_crypt(const struct tp_logins *logins, bool seal, const uint8_t *nonce,
	const uint8_t *text, size_t len, uint8_t *out, uint8_t *tag)
{
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	int n = 0;

	if (!context)
		abort(); /* out of memory, as for all small allocations */
	bool good = EVP_CipherInit_ex(context, EVP_aes_256_gcm(), NULL, logins->key, nonce, seal) &&
		    EVP_CipherUpdate(
			    context, NULL, &n, (const uint8_t *)PURPOSE, (int)strlen(PURPOSE)) &&
		    EVP_CipherUpdate(context, out, &n, text, (int)len);
	if (good && !seal)
		good = EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, TAG_LEN, tag);
	good = good && EVP_CipherFinal_ex(context, out + n, &n);
	if (good && seal)
		good = EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG_LEN, tag);
	EVP_CIPHER_CTX_free(context);
	return good;
}

/* base64url (RFC 4648, section 5), without padding: what cookies may hold, and addresses. */
static char *to_cookie(const struct tp_buf *bytes)
{
	TP_BUF struct tp_buf text = {0};

	tp_base64_put(&text, bytes->data, bytes->len);
	tp_buf_put_u8(&text, '\0');
	for (char *at = (char *)text.data; *at; at++) {
		if (*at == '+')
			*at = '-';
		else if (*at == '/')
			*at = '_';
		else if (*at == '=')
			*at = '\0';
	}
	return tp_strdup((char *)text.data);
}

static bool from_cookie(const char *cookie, struct tp_buf *bytes)
{
	size_t len = strlen(cookie);
	TP_BUF struct tp_buf text = {0};

	if (len > TP_LOGIN_COOKIE_MAX || strpbrk(cookie, "+/="))
		return false;
	tp_buf_put(&text, cookie, len);
	for (size_t i = 0; i < len; i++) {
		if (text.data[i] == '-')
			text.data[i] = '+';
		else if (text.data[i] == '_')
			text.data[i] = '/';
	}
	while (text.len % 4 != 0)
		tp_buf_put_u8(&text, '=');
	return tp_base64_get(bytes, (char *)text.data, text.len);
}

struct torpor_error *tp_login_seal(
	struct tp_logins *logins, struct tp_login *login, char **cookie_out)
{
	TP_BUF struct tp_buf text = {0};
	TP_BUF struct tp_buf sealed = {0};

	tp_random_id(login->id, TP_LOGIN_ID_LEN);
	tp_buf_put_le64(&text, login->expires_ns);
	tp_buf_put(&text, login->id, TP_LOGIN_ID_LEN);
	tp_buf_put(&text, login->credential, strlen(login->credential));
	uint8_t *nonce = tp_buf_extend(&sealed, NONCE_LEN + text.len + TAG_LEN);
	random_bytes(nonce, NONCE_LEN);
	bool good = do_crypt(logins, true, nonce, text.data, text.len, nonce + NONCE_LEN,
		nonce + NONCE_LEN + text.len);
	OPENSSL_cleanse(text.data, text.len);
	if (!good)
		return tp_error(TORPOR_E_INTERNAL, "seal", "a login", "libcrypto refuses");
	char *cookie = to_cookie(&sealed);
	if (strlen(cookie) > TP_LOGIN_COOKIE_MAX) {
		free(cookie);
		return tp_error_hint(tp_error(TORPOR_E_INVALID, "sign in", NULL,
					     "the token is too long for a cookie"),
			"Use a token of torpord's, or a JWT with fewer claims.");
	}
	*cookie_out = cookie;
	return NULL;
}

struct torpor_error *tp_login_open(
	struct tp_logins *logins, const char *cookie, uint64_t now_ns, struct tp_login *login_out)
{
	TP_BUF struct tp_buf sealed = {0};
	TP_BUF struct tp_buf text = {0};
	struct tp_login login = {0};

	if (!from_cookie(cookie, &sealed) ||
		sealed.len <= NONCE_LEN + sizeof(uint64_t) + TP_LOGIN_ID_LEN + TAG_LEN)
		return denied("the cookie is none");
	size_t len = sealed.len - NONCE_LEN - TAG_LEN;
	uint8_t *out = tp_buf_extend(&text, len);
	if (!do_crypt(logins, false, sealed.data, sealed.data + NONCE_LEN, len, out,
		    sealed.data + NONCE_LEN + len))
		return denied("the cookie wasn't made here");
	struct tp_reader reader = tp_reader_over(text.data, text.len);
	login.expires_ns = tp_read_le64(&reader);
	memcpy(login.id, tp_read_bytes(&reader, TP_LOGIN_ID_LEN), TP_LOGIN_ID_LEN);
	size_t left = tp_reader_left(&reader);
	login.credential = tp_strndup((const char *)tp_read_bytes(&reader, left), left);
	OPENSSL_cleanse(text.data, text.len);
	if (now_ns >= login.expires_ns) {
		tp_login_deinit(&login);
		return denied("its time is over");
	}
	*login_out = login;
	return NULL;
}

/* --- codes --- */

static void hash_of(const char *code, uint8_t hash[SHA256_DIGEST_LENGTH])
{
	SHA256((const uint8_t *)code, strlen(code), hash);
}

/* By the lock: those whose time is over, and OWNER's beyond the newest that may wait. */
static void drop_codes(struct tp_logins *logins, const char *owner, uint64_t now_ns)
{
	struct code **at = &logins->codes;
	size_t kept = 0;

	while (*at) {
		struct code *code = *at;
		bool theirs = strcmp(code->owner, owner) == 0;
		if (now_ns < code->until_ns && (!theirs || kept < TP_LOGIN_CODES)) {
			kept += theirs;
			at = &code->next;
			continue;
		}
		*at = code->next;
		code_free(code);
	}
}

void tp_login_code_new(struct tp_logins *logins, const char *owner, const char *credential,
	uint64_t now_ns, char code_out[TP_LOGIN_CODE_LEN + 1])
{
	struct code *code = tp_calloc(1, sizeof(*code));

	tp_random_id(code_out, TP_LOGIN_CODE_LEN);
	hash_of(code_out, code->hash);
	code->owner = tp_strdup(owner);
	code->credential = tp_strdup(credential);
	code->until_ns = now_ns + TP_LOGIN_CODE_S * TP_NSEC_PER_SEC;
	pthread_mutex_lock(&logins->lock);
	code->next = logins->codes;
	logins->codes = code;
	drop_codes(logins, owner, now_ns);
	pthread_mutex_unlock(&logins->lock);
}

char *tp_login_code_use(struct tp_logins *logins, const char *code, uint64_t now_ns)
{
	uint8_t hash[SHA256_DIGEST_LENGTH];
	struct code *found = NULL;

	/* Hashes are compared, whole, so that how long it takes says nothing of the codes. */
	hash_of(code, hash);
	pthread_mutex_lock(&logins->lock);
	for (struct code **at = &logins->codes; *at && !found; at = &(*at)->next) {
		if (CRYPTO_memcmp((*at)->hash, hash, sizeof(hash)) != 0)
			continue;
		found = *at;
		*at = found->next;
		break;
	}
	pthread_mutex_unlock(&logins->lock);
	if (!found)
		return NULL;
	char *credential = now_ns < found->until_ns ? tp_strdup(found->credential) : NULL;
	code_free(found);
	return credential;
}
