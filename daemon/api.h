/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handlers behind the routes (daemon/routes.c), and what they share.
 *
 * A handler reads and bounds what was sent, calls the service once, and shapes the answer.
 * docs/API.md says what each does; openapi.json beside this file has the same bounds as below.
 */
#ifndef TP_DAEMON_API_H
#define TP_DAEMON_API_H

#include "daemon/http.h"
#include "daemon/json_in.h"

/* --- bounds --- */

#define API_LABELS_MAX	    32
#define API_LABEL_KEY_MAX   63
#define API_LABEL_VALUE_MAX 255

#define API_ENV_MAX	  64
#define API_ENV_ENTRY_MAX 4096 /* name and value */
/* A command reaches the guest in one frame of 16 KiB, with its environment (guest/wire.h). */
#define API_ENV_TOTAL_MAX  8192
#define API_ARGV_MAX	   512
#define API_ARGV_TOTAL_MAX 16384
#define API_CWD_MAX	   1024

#define API_OUTPUT_MAX (1u << 20) /* of each of stdout and stderr, unless streamed */
#define API_STDIN_MAX  (1u << 20)

#define API_SECONDS_MAX	     (10 * 365 * 86400) /* timers: ten years */
#define API_WAIT_MAX	     600		/* as Torpor-Timeout */
#define API_WAIT_DEFAULT     60
#define API_EXEC_TIMEOUT_MAX 86400

#define API_FORKS_MAX	 100
#define API_PAGE_MAX	 1000
#define API_PAGE_DEFAULT 100
#define API_CURSOR_MAX	 256
#define API_QUERY_MAX	 320 /* the longest of them: label */

#define API_BYTES_MAX (INT64_C(1) << 53) /* what every JSON parser reads exactly */
#define API_COUNT_MAX 1000000

#define API_PATH_MAX   4095
#define API_APPEND_MAX 2047 /* COMMAND_LINE_SIZE of x86 */
#define API_TEXT_MAX   256
#define API_CPU_MAX    127
#define API_USAGE_MAX  60   /* seconds between two of an event stream */
#define API_TOKEN_MAX  8192 /* a JWT of a talkative issuer */
#define API_CODE_MAX   64
#define API_UID_MAX    4294967294 /* the last is nobody's: (uid_t)-1 */

/* --- shared --- */

/* The session in the path. NOT_FOUND for what can't be an id. */
struct torpor_error *api_session_id(
	const struct http_request *req, const char **id_out) TP_MUST_USE;
/* The parameter I of the path, which is a name of a WHAT. NOT_FOUND for what can't be one. */
struct torpor_error *api_name(const struct http_request *req, unsigned int i, const char *what,
	const char **name_out) TP_MUST_USE;
/* For requests that have no fields. */
struct torpor_error *api_no_fields(const struct http_request *req, const char *step) TP_MUST_USE;

/* A query of at most MAX bytes, at least one, without control characters; NULL if not sent. */
struct torpor_error *api_query_text(const struct http_request *req, const char *name, size_t max,
	const char **text_out) TP_MUST_USE;

/* "ttl_s", "idle_s", "retention_s"; unset where not sent. */
struct tp_timers api_timers(struct json_in *in);
const json_t *api_labels(struct json_in *in);
const json_t *api_env(struct json_in *in);
bool api_label_key_ok(const char *key, size_t len);

/* REQ's time, or where it has none SECONDS from now. */
struct tp_call api_call_within(const struct http_request *req, unsigned int seconds);

/* Ends STREAM with an event "error": ERR, which is taken. */
void api_stream_error(struct http_stream *stream, struct torpor_error *err);

/* --- handlers --- */

http_handler api_create, api_list, api_get, api_change, api_destroy;
http_handler api_park, api_cancel_park, api_resume, api_pause, api_unpause, api_checkpoint;
http_handler api_images, api_image_where, api_import, api_remove_image, api_fork,
	api_session_metrics;
http_handler api_exec;
http_handler api_templates, api_template, api_build_template, api_remove_template, api_pool;
http_handler api_tenants, api_tenant, api_new_tenant, api_change_tenant, api_remove_tenant;
http_handler api_tokens, api_new_token, api_remove_token;
http_handler api_audit, api_self;
http_handler api_events;
http_handler api_history, api_lineage, api_host_history, api_pool_history;
http_handler api_login, api_logout, api_login_link;
http_handler api_index, api_favicon, api_asset;
http_handler api_healthz, api_readyz, api_metrics, api_openapi;

/* The document (daemon/openapi.json), embedded when it is built. */
extern const char api_openapi_text[];
extern const size_t api_openapi_len;

#endif
