/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of torpord.conf as data. */
#include "daemon/config_keys.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "daemon/config_value.h"

#define AT(field)	   offsetof(struct tp_daemon_config, field)
#define OF_TEMPLATE(field) offsetof(struct tp_template_config, field)
#define MINUTE		   (60 * TP_NSEC_PER_SEC)
#define DAY		   (1440 * MINUTE)
#define STOCK_MAX	   1000
#define SIZE_MAX_	   (1024 * 1024 * TP_GIB)

/* clang-format off */
const struct tp_key tp_config_keys[] = {
	{"daemon", "state_dir", TP_KEY_PATH, AT(state_dir)},
	{"daemon", "socket", TP_KEY_PATH_OR_OFF, AT(socket)},
	{"daemon", "socket_mode", TP_KEY_MODE, AT(socket_mode)},
	{"daemon", "socket_group", TP_KEY_TEXT, AT(socket_group)},
	{"daemon", "log_level", TP_KEY_LOG_LEVEL, AT(log_level)},
	{"daemon", "on_stop", TP_KEY_ON_STOP, AT(service.park_on_stop)},

	{"tcp", "listen", TP_KEY_LISTEN, AT(tcp_listen)},
	{"tcp", "tls_cert", TP_KEY_PATH, AT(tls_cert)},
	{"tcp", "tls_key", TP_KEY_PATH, AT(tls_key)},
	{"tcp", "plain", TP_KEY_BOOL, AT(tcp_plain)},

	{"engine", "qemu", TP_KEY_TEXT, AT(qemu)},
	{"engine", "qemu_microvm", TP_KEY_TEXT, AT(qemu_microvm)},
	{"engine", "launcher", TP_KEY_TEXT, AT(launcher)},
	{"engine", "connect", TP_KEY_TEXT, AT(connect)},
	{"engine", "workers", TP_KEY_COUNT, AT(service.engine.workers), 0, 64},
	{"engine", "staging", TP_KEY_SIZE, AT(service.engine.staging_bytes), 16 * TP_MIB, SIZE_MAX_},
	{"engine", "zstd_level", TP_KEY_LEVEL, AT(service.engine.zstd_level), 0, 19},
	{"engine", "path", TP_KEY_DATA_PATH, AT(service.engine.path)},

	{"pool", "warm_min", TP_KEY_COUNT, AT(service.policy.warm_min), 0, STOCK_MAX},
	{"pool", "warm_max", TP_KEY_COUNT, AT(service.policy.warm_max), 0, STOCK_MAX},
	{"pool", "shells_min", TP_KEY_COUNT, AT(service.policy.shells_min), 0, STOCK_MAX},
	{"pool", "shells_max", TP_KEY_COUNT, AT(service.policy.shells_max), 0, STOCK_MAX},
	{"pool", "window", TP_KEY_DURATION, AT(service.policy.window_ns), TP_NSEC_PER_SEC, DAY},
	{"pool", "waiting_high", TP_KEY_COUNT, AT(service.policy.waiting_high), 1, 100000},
	{"pool", "start_slow", TP_KEY_DURATION, AT(service.policy.start_slow_ns), TP_NSEC_PER_MSEC, DAY},
	{"pool", "failure_percent", TP_KEY_PERCENT, AT(service.policy.failure_percent)},
	{"pool", "backoff_min", TP_KEY_DURATION, AT(service.policy.backoff_min_ns), TP_NSEC_PER_MSEC, DAY},
	{"pool", "backoff_max", TP_KEY_DURATION, AT(service.policy.backoff_max_ns), TP_NSEC_PER_MSEC, DAY},
	{"pool", "degraded_after", TP_KEY_COUNT, AT(service.policy.degraded_after), 1, 1000},
	{"pool", "start_slots", TP_KEY_COUNT, AT(service.start_slots), 0, 1000},
	{"pool", "refill_slots", TP_KEY_COUNT, AT(service.refill_slots), 0, 1000},
	{"pool", "refill_every", TP_KEY_COUNT, AT(service.refill_every), 0, 1000},
	{"pool", "queue", TP_KEY_COUNT, AT(service.queue_max), 1, 100000},
	{"pool", "deaf_after", TP_KEY_DURATION, AT(service.engine.deaf_after_ns), 100 * TP_NSEC_PER_MSEC, 60 * MINUTE},
	{"pool", "ask_interval", TP_KEY_DURATION, AT(service.ask_every_ns), 0, DAY},
	{"pool", "host_memory", TP_KEY_HOST_SIZE, AT(service.admission.host_memory), 64 * TP_MIB, SIZE_MAX_},
	{"pool", "memory_reserve", TP_KEY_HOST_SIZE, AT(service.memory_reserve), TP_MIB, SIZE_MAX_},
	{"pool", "max_sessions", TP_KEY_COUNT64, AT(service.admission.max_sessions), 1, 1000000},
	{"pool", "guest_share", TP_KEY_PERCENT, AT(service.admission.guest_share_percent)},
	{"pool", "guest_overhead", TP_KEY_SIZE, AT(service.admission.guest_overhead), 0, SIZE_MAX_},
	{"pool", "cgroup_root", TP_KEY_CGROUP, AT(cgroup_root)},

	{"sessions", "ttl", TP_KEY_SECONDS, AT(service.timers.ttl_s)},
	{"sessions", "idle", TP_KEY_SECONDS, AT(service.timers.idle_s)},
	{"sessions", "retention", TP_KEY_SECONDS, AT(service.timers.retention_s)},
	{"sessions", "health_interval", TP_KEY_DURATION, AT(service.health_every_ns), 0, DAY},

	{"tenants", "sessions", TP_KEY_COUNT64, AT(service.tenant_limits.sessions), 1, 1000000},
	{"tenants", "memory", TP_KEY_SIZE, AT(service.tenant_limits.memory_bytes), TP_MIB, SIZE_MAX_},
	{"tenants", "parked_bytes", TP_KEY_SIZE, AT(service.tenant_limits.parked_bytes), TP_MIB, SIZE_MAX_},
	{"tenants", "requests_per_minute", TP_KEY_COUNT, AT(service.requests_per_minute), 1, 1000000},

	{"template", "warm_min", TP_KEY_COUNT, OF_TEMPLATE(policy.warm_min), 0, STOCK_MAX},
	{"template", "warm_max", TP_KEY_COUNT, OF_TEMPLATE(policy.warm_max), 0, STOCK_MAX},
	{"template", "shells_min", TP_KEY_COUNT, OF_TEMPLATE(policy.shells_min), 0, STOCK_MAX},
	{"template", "shells_max", TP_KEY_COUNT, OF_TEMPLATE(policy.shells_max), 0, STOCK_MAX},
	{"template", "ttl", TP_KEY_SECONDS, OF_TEMPLATE(timers.ttl_s)},
	{"template", "idle", TP_KEY_SECONDS, OF_TEMPLATE(timers.idle_s)},
	{"template", "retention", TP_KEY_SECONDS, OF_TEMPLATE(timers.retention_s)},

	{"auth", "jwks", TP_KEY_PATH, AT(auth.jwks)},
	{"auth", "issuer", TP_KEY_TEXT, AT(auth.issuer)},
	{"auth", "audience", TP_KEY_TEXT, AT(auth.audience)},
	{"auth", "algorithms", TP_KEY_ALGORITHMS, AT(auth.algorithms)},

	{"http", "max_connections", TP_KEY_COUNT, AT(http.max_connections), 1, 100000},
	{"http", "max_body", TP_KEY_SIZE, AT(http.max_body), TP_KIB, 64 * TP_MIB},
	{"http", "request_timeout", TP_KEY_DURATION, AT(http.request_timeout_ns), TP_NSEC_PER_SEC, 60 * MINUTE},
	{"http", "streams_per_tenant", TP_KEY_COUNT, AT(http.streams_per_tenant), 1, 100000},
	{"http", "login_time", TP_KEY_DURATION, AT(http.login_time_ns), TP_NSEC_PER_SEC, TP_LOGIN_MEMORY_NS},
	{0},
};
/* clang-format on */

static const struct {
	const char *name;
	enum tp_jwt_alg bit;
} algorithms[] = {
	{"RS256", TP_JWT_RS256},
	{"RS384", TP_JWT_RS384},
	{"RS512", TP_JWT_RS512},
	{"PS256", TP_JWT_PS256},
	{"PS384", TP_JWT_PS384},
	{"PS512", TP_JWT_PS512},
	{"ES256", TP_JWT_ES256},
	{"ES384", TP_JWT_ES384},
	{"ES512", TP_JWT_ES512},
	{"EdDSA", TP_JWT_EDDSA},
	{"HS256", TP_JWT_HS256},
};

unsigned int tp_jwt_alg_of(const char *name)
{
	for (size_t i = 0; i < TP_ARRAY_LEN(algorithms); i++) {
		if (strcmp(name, algorithms[i].name) == 0)
			return algorithms[i].bit;
	}
	return 0;
}

static void put_text(char **field, const char *text)
{
	free(*field);
	*field = tp_strdup(text);
}

/* The index of TEXT in WORDS (N of them), or -1. */
static int word_index(const char *text, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(text, words[i]) == 0)
			return (int)i;
	}
	return -1;
}

static char *set_text(const struct tp_key *key, const char *text, char **field)
{
	char host[64];
	char port[6];

	if (key->kind == TP_KEY_CGROUP && strcmp(text, "auto") == 0) {
		put_text(field, NULL);
		return NULL;
	}
	if (key->kind == TP_KEY_CGROUP && strcmp(text, "none") == 0) {
		put_text(field, "");
		return NULL;
	}
	if ((key->kind == TP_KEY_PATH_OR_OFF || key->kind == TP_KEY_LISTEN) &&
		strcmp(text, "off") == 0) {
		put_text(field, NULL);
		return NULL;
	}
	if (!*text)
		return tp_strdup("needs a value; leave the line out for the default");
	if (key->kind == TP_KEY_LISTEN && !tp_config_split_listen(text, host, port))
		return tp_asprintf("\"%s\" is no address with a port: write 127.0.0.1:8470, "
				   "[::1]:8470, or off",
			text);
	if (key->kind == TP_KEY_CGROUP && *text != '/')
		return tp_asprintf("\"%s\" is no absolute path: write one, or auto, or none", text);
	if ((key->kind == TP_KEY_PATH || key->kind == TP_KEY_PATH_OR_OFF) && *text != '/')
		return tp_asprintf("\"%s\" is no absolute path: it must begin with /", text);
	put_text(field, text);
	return NULL;
}

static char *out_of_range(const char *text, const struct tp_key *key)
{
	return tp_asprintf(
		"\"%s\" is no whole number from %" PRIu64 " to %" PRIu64, text, key->min, key->max);
}

static char *set_number(const struct tp_key *key, const char *text, void *field)
{
	uint64_t value;

	if (!tp_value_number(text, &value) || value < key->min || value > key->max)
		return out_of_range(text, key);
	if (key->kind == TP_KEY_COUNT64)
		*(uint64_t *)field = value;
	else if (key->kind == TP_KEY_LEVEL)
		*(int *)field = (int)value;
	else
		*(unsigned int *)field = (unsigned int)value;
	return NULL;
}

static uint64_t memory_of_host(void)
{
	return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static char *set_size(const struct tp_key *key, const char *text, uint64_t *field)
{
	uint64_t value;
	unsigned int percent;

	if (key->kind == TP_KEY_HOST_SIZE && tp_value_percent(text, &percent)) {
		*field = memory_of_host() / 100 * percent;
		return NULL;
	}
	if (!tp_value_size(text, &value))
		return tp_asprintf("\"%s\" is no size: write 512M, 16G or bytes%s", text,
			key->kind == TP_KEY_HOST_SIZE ? ", or a share of the host's memory as 80%"
						      : "");
	if (value < key->min || value > key->max)
		return tp_asprintf("\"%s\" is out of bounds: %" PRIu64 " to %" PRIu64 " bytes",
			text, key->min, key->max);
	*field = value;
	return NULL;
}

static char *no_duration(const char *text, bool never)
{
	return tp_asprintf("\"%s\" is no duration: write 90s, 15m, 1h, 30d%s", text,
		never ? ", or never" : "");
}

static char *set_seconds(const char *text, int64_t *field)
{
	uint64_t ns;

	if (!tp_value_duration(text, &ns))
		return no_duration(text, true);
	if (ns % TP_NSEC_PER_SEC != 0)
		return tp_asprintf("\"%s\" is no whole number of seconds", text);
	*field = (int64_t)(ns / TP_NSEC_PER_SEC);
	return NULL;
}

static char *set_duration(const struct tp_key *key, const char *text, uint64_t *field)
{
	uint64_t ns;

	if (!tp_value_duration(text, &ns))
		return no_duration(text, key->min == 0);
	if (ns < key->min || ns > key->max)
		return tp_asprintf("\"%s\" is out of bounds: %g to %g seconds", text,
			(double)key->min / 1e9, (double)key->max / 1e9);
	*field = ns;
	return NULL;
}

static char *set_algorithms(const char *text, unsigned int *field)
{
	TP_FREE char *copy = tp_strdup(text);
	char *rest = copy;
	unsigned int set = 0;

	for (char *word; (word = strsep(&rest, " ,\t"));) {
		unsigned int bit = tp_jwt_alg_of(word);
		if (!*word)
			continue;
		if (!bit)
			return tp_asprintf("\"%s\" is no signature algorithm that can be allowed: "
					   "RS256, RS384, RS512, PS256, PS384, PS512, ES256, "
					   "ES384, ES512, EdDSA, HS256",
				word);
		set |= bit;
	}
	if (!set)
		return tp_strdup("names no algorithm: write RS256 ES256 EdDSA");
	*field = set;
	return NULL;
}

static char *set_word(const struct tp_key *key, const char *text, void *field)
{
	static const char *const levels[] = {"debug", "info", "warning"};
	static const char *const stops[] = {"keep", "park"};
	static const char *const paths[] = {"auto", "direct", "stream"};
	int index;

	switch (key->kind) {
	case TP_KEY_LOG_LEVEL:
		index = word_index(text, levels, TP_ARRAY_LEN(levels));
		if (index < 0)
			return tp_asprintf("\"%s\" is none of debug, info, warning", text);
		*(enum tp_log_level *)field = (enum tp_log_level)index;
		return NULL;
	case TP_KEY_ON_STOP:
		index = word_index(text, stops, TP_ARRAY_LEN(stops));
		if (index < 0)
			return tp_asprintf("\"%s\" is neither keep nor park", text);
		*(bool *)field = index == 1;
		return NULL;
	default:
		index = word_index(text, paths, TP_ARRAY_LEN(paths));
		if (index < 0)
			return tp_asprintf("\"%s\" is none of auto, direct, stream", text);
		*(enum torpor_path *)field = (enum torpor_path)index;
		return NULL;
	}
}

char *tp_key_set(const struct tp_key *key, const char *text, void *target)
{
	void *field = (char *)target + key->offset;
	unsigned int mode;

	switch (key->kind) {
	case TP_KEY_TEXT:
	case TP_KEY_PATH:
	case TP_KEY_PATH_OR_OFF:
	case TP_KEY_LISTEN:
	case TP_KEY_CGROUP:
		return set_text(key, text, field);
	case TP_KEY_COUNT:
	case TP_KEY_COUNT64:
	case TP_KEY_LEVEL:
		return set_number(key, text, field);
	case TP_KEY_PERCENT:
		if (tp_value_percent(text, field))
			return NULL;
		return tp_asprintf("\"%s\" is no share: write 1%% to 100%%", text);
	case TP_KEY_SIZE:
	case TP_KEY_HOST_SIZE:
		return set_size(key, text, field);
	case TP_KEY_SECONDS:
		return set_seconds(text, field);
	case TP_KEY_DURATION:
		return set_duration(key, text, field);
	case TP_KEY_BOOL:
		if (tp_value_bool(text, field))
			return NULL;
		return tp_asprintf("\"%s\" is neither yes nor no", text);
	case TP_KEY_MODE:
		if (!tp_value_mode(text, &mode))
			return tp_asprintf("\"%s\" are no permissions: write 0660", text);
		*(mode_t *)field = mode;
		return NULL;
	case TP_KEY_LOG_LEVEL:
	case TP_KEY_ON_STOP:
	case TP_KEY_DATA_PATH:
		return set_word(key, text, field);
	case TP_KEY_ALGORITHMS:
		return set_algorithms(text, field);
	}
	abort();
}
