/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing: where torpord is, and who calls it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/fd.h"
#include "base/mem.h"
#include "client/client_priv.h"

#define TOKEN_MAX (16 * TP_KIB)

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_ready;

static void start_curl(void)
{
	curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* What can stand in a header: visible ASCII. */
static bool is_word(const char *text)
{
	for (const char *at = text; *at; at++) {
		if (*at <= ' ' || *at > '~')
			return false;
	}
	return *text;
}

/* --- where --- */

static struct torpor_error *take_url(struct torpor_client *client, const char *url)
{
	size_t len = strlen(url);

	if (strncmp(url, "https://", 8) != 0 && strncmp(url, "http://", 7) != 0)
		return tp_error(TORPOR_E_INVALID, "use URL", url, "it must begin with https://");
	if (!is_word(url) || strpbrk(url, "?#@"))
		return tp_error(TORPOR_E_INVALID, "use URL", url,
			"it may have a host, a port and a path, nothing else");
	while (url[len - 1] == '/')
		len--;
	client->where = tp_strdup(url);
	client->base = tp_strndup(url, len);
	return NULL;
}

static struct torpor_error *take_socket(struct torpor_client *client, const char *path)
{
	struct sockaddr_un address;

	if (!path[0] || strlen(path) >= sizeof(address.sun_path))
		return tp_error(TORPOR_E_INVALID, "use socket", path,
			"a socket's path has 1 to %zu bytes", sizeof(address.sun_path) - 1);
	client->where = tp_strdup(path);
	client->is_socket = true;
	client->base = tp_strdup("http://torpord");
	return NULL;
}

static struct torpor_error *take_where(
	struct torpor_client *client, const struct torpor_client_options *options)
{
	const char *url = options->url;
	const char *path = options->socket_path;

	if (url && path)
		return tp_error(TORPOR_E_INVALID, "call", "torpord",
			"either a socket or a URL is needed, not both");
	if (!url && !path)
		url = secure_getenv("TORPOR_URL");
	if (!url && !path)
		path = secure_getenv("TORPOR_SOCKET");
	if (url)
		return take_url(client, url);
	return take_socket(client, path ? path : TORPOR_DEFAULT_SOCKET);
}

/* --- who --- */

static struct torpor_error *read_token(const char *path, char **token_out)
{
	TP_FREE char *text = NULL;
	size_t len;

	TP_TRY(tp_error_in(
		tp_read_file(AT_FDCWD, path, TOKEN_MAX, &text, &len), "read token", path));
	while (len > 0 && strchr(" \t\r\n", text[len - 1]))
		text[--len] = '\0';
	*token_out = TP_TAKE(text);
	return NULL;
}

static struct torpor_error *take_token(
	struct torpor_client *client, const struct torpor_client_options *options)
{
	const char *file = options->token_file;
	TP_FREE char *token = tp_strdup(options->token);

	if (token && file)
		return tp_error(TORPOR_E_INVALID, "call", client->where,
			"either a token or a file with one is needed, not both");
	if (!token && !file) {
		token = tp_strdup(secure_getenv("TORPOR_TOKEN"));
		file = token ? NULL : secure_getenv("TORPOR_TOKEN_FILE");
	}
	if (file)
		TP_TRY(read_token(file, &token));
	if (!token)
		return NULL;
	if (!is_word(token) || strlen(token) > TOKEN_MAX)
		return tp_error(TORPOR_E_INVALID, "call", client->where,
			"the token isn't one: it has characters that none has");
	client->auth_header = tp_asprintf("Authorization: Bearer %s", token);
	explicit_bzero(token, strlen(token));
	return NULL;
}

static struct torpor_error *take_options(
	struct torpor_client *client, const struct torpor_client_options *options)
{
	const char *ca_file = options->ca_file ? options->ca_file : secure_getenv("TORPOR_CA_FILE");

	TP_TRY(take_where(client, options));
	TP_TRY(take_token(client, options));
	if (options->tenant && (!is_word(options->tenant) || strlen(options->tenant) > 64))
		return tp_error(TORPOR_E_INVALID, "act for tenant", options->tenant,
			"a name has 1 to 64 letters, digits, '.', '_' and '-'");
	if (options->tenant)
		client->tenant_header = tp_asprintf("Torpor-Tenant: %s", options->tenant);
	client->ca_file = tp_strdup(ca_file);
	client->timeout_ns = options->timeout_ns ? options->timeout_ns : TP_CLIENT_TIMEOUT_NS;
	return NULL;
}

struct torpor_error *torpor_client_open(
	const struct torpor_client_options *options, struct torpor_client **client_out)
{
	static const struct torpor_client_options none;

	pthread_once(&curl_once, start_curl);
	if (curl_ready != CURLE_OK)
		return tp_error(TORPOR_E_INTERNAL, "set up", "libcurl", "%s",
			curl_easy_strerror(curl_ready));
	struct torpor_client *client = tp_calloc(1, sizeof(*client));
	pthread_mutex_init(&client->lock, NULL);
	struct torpor_error *err = take_options(client, options ? options : &none);
	if (err) {
		torpor_client_close(client);
		return err;
	}
	*client_out = client;
	return NULL;
}

struct torpor_client *torpor_client_close(struct torpor_client *client)
{
	if (!client)
		return NULL;
	while (client->idle) {
		struct tp_link *next = client->idle->next;
		tp_link_free(client->idle);
		client->idle = next;
	}
	if (client->auth_header)
		explicit_bzero(client->auth_header, strlen(client->auth_header));
	free(client->auth_header);
	free(client->tenant_header);
	free(client->ca_file);
	free(client->base);
	free(client->where);
	pthread_mutex_destroy(&client->lock);
	free(client);
	return NULL;
}

const char *torpor_client_where(const struct torpor_client *client)
{
	return client->where;
}
