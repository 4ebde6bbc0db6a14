/* SPDX-License-Identifier: Apache-2.0 */
/* All routes, in the order of docs/API.md. */
#include "daemon/api.h"

#define SESSION	 "/v1/sessions/{id}"
#define TEMPLATE "/v1/templates/{name}"
#define TENANT	 "/v1/tenants/{name}"

const struct http_route http_routes[] = {
	{"POST", "/v1/sessions", api_create, HTTP_MUTATING | HTTP_LONG, "id"},
	{"GET", "/v1/sessions", api_list, 0},
	{"GET", SESSION, api_get, 0},
	{"PATCH", SESSION, api_change, HTTP_MUTATING},
	{"DELETE", SESSION, api_destroy, HTTP_MUTATING},
	{"POST", SESSION "/park", api_park, HTTP_MUTATING},
	{"DELETE", SESSION "/park", api_cancel_park, HTTP_MUTATING},
	{"POST", SESSION "/resume", api_resume, HTTP_MUTATING},
	{"POST", SESSION "/pause", api_pause, HTTP_MUTATING},
	{"POST", SESSION "/unpause", api_unpause, HTTP_MUTATING},
	{"POST", SESSION "/checkpoint", api_checkpoint, HTTP_MUTATING},
	{"GET", SESSION "/images", api_images, 0},
	{"DELETE", SESSION "/images/{name}", api_remove_image, HTTP_MUTATING},
	{"GET", SESSION "/images/{name}/where", api_image_where, 0},
	{"POST", SESSION "/fork", api_fork, HTTP_MUTATING},
	{"POST", SESSION "/exec", api_exec, HTTP_MUTATING | HTTP_LONG | HTTP_NO_REPEAT},
	{"GET", SESSION "/metrics", api_session_metrics, 0},
	{"GET", SESSION "/history", api_history, 0},
	{"GET", SESSION "/lineage", api_lineage, 0},

	{"POST", "/v1/imports", api_import, HTTP_MUTATING | HTTP_LONG},

	{"GET", "/v1/templates", api_templates, 0},
	{"POST", "/v1/templates", api_build_template, HTTP_MUTATING | HTTP_LONG, "name"},
	{"GET", TEMPLATE, api_template, 0},
	{"DELETE", TEMPLATE, api_remove_template, HTTP_MUTATING},

	{"GET", "/v1/pool", api_pool, 0},
	{"GET", "/v1/history/host", api_host_history, 0},
	{"GET", "/v1/history/pool", api_pool_history, 0},
	{"GET", "/v1/tenants", api_tenants, 0},
	{"POST", "/v1/tenants", api_new_tenant, HTTP_MUTATING, "name"},
	{"GET", TENANT, api_tenant, 0},
	{"PATCH", TENANT, api_change_tenant, HTTP_MUTATING},
	{"DELETE", TENANT, api_remove_tenant, HTTP_MUTATING},
	{"GET", TENANT "/tokens", api_tokens, 0},
	{"POST", TENANT "/tokens", api_new_token, HTTP_MUTATING},
	{"DELETE", TENANT "/tokens/{id}", api_remove_token, HTTP_MUTATING},
	{"GET", "/v1/audit", api_audit, 0},
	{"GET", "/v1/self", api_self, 0},

	{"POST", "/v1/login", api_login, HTTP_OPEN | HTTP_MUTATING | HTTP_NO_REPEAT},
	{"POST", "/v1/logout", api_logout, HTTP_OPEN | HTTP_MUTATING | HTTP_NO_REPEAT},
	{"POST", "/v1/login-links", api_login_link, HTTP_MUTATING},

	{"GET", "/v1/events", api_events, HTTP_LONG},

	{"GET", "/healthz", api_healthz, HTTP_OPEN},
	{"GET", "/readyz", api_readyz, HTTP_OPEN},
	{"GET", "/metrics", api_metrics, HTTP_OPEN},
	{"GET", "/openapi.json", api_openapi, HTTP_OPEN},

	{"GET", "/", api_index, HTTP_OPEN},
	{"GET", "/favicon.svg", api_favicon, HTTP_OPEN},
	{"GET", "/assets/{name}", api_asset, HTTP_OPEN},
	{0},
};
