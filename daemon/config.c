/* SPDX-License-Identifier: Apache-2.0 */
/* Reading torpord.conf: all of it first, with every fault, then what it means. */
#include "daemon/config.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/mem.h"
#include "daemon/config_keys.h"
#include "daemon/config_value.h"

#define CONFIG_MAX TP_MIB /* bytes of a file */
#define LINE_MAX_  190	  /* inih cuts lines that are longer, and says nothing */

/* One `key = value`, as it stands in the file. */
struct setting {
	char *section; /* without the name: "template" */
	char *name;    /* of "[template NAME]", or NULL */
	char *key;
	char *value;
	unsigned int line;
};

/* A file being read. */
struct source {
	const char *path;
	const char *at; /* what is left of its text */
	unsigned int line;
	char *section; /* of the header seen last; NULL: none yet, or a faulty one */
	char *name;
	bool section_seen;
	struct setting *settings;
	size_t n;
	struct tp_config_faults *faults;
};

static void fault(struct source *source, unsigned int line, const char *fmt, ...) TP_PRINTF(3, 4);
static void fault(struct source *source, unsigned int line, const char *fmt, ...)
{
	struct tp_config_faults *faults = source->faults;
	va_list ap;

	va_start(ap, fmt);
	TP_FREE char *text = tp_vasprintf(fmt, ap);
	va_end(ap);
	size_t at = faults->n++;
	faults->lines = tp_reallocarray(faults->lines, faults->n, sizeof(char *));
	faults->numbers = tp_reallocarray(faults->numbers, faults->n, sizeof(unsigned int));
	for (; at > 0 && faults->numbers[at - 1] > line; at--) {
		faults->lines[at] = faults->lines[at - 1];
		faults->numbers[at] = faults->numbers[at - 1];
	}
	faults->numbers[at] = line;
	faults->lines[at] = line ? tp_asprintf("%s:%u: %s", source->path, line, text)
				 : tp_asprintf("%s: %s", source->path, text);
}

void tp_config_faults_deinit(struct tp_config_faults *faults)
{
	for (size_t i = 0; i < faults->n; i++)
		free(faults->lines[i]);
	free(faults->lines);
	free(faults->numbers);
	*faults = (struct tp_config_faults){0};
}

static void source_deinit(struct source *source)
{
	for (size_t i = 0; i < source->n; i++) {
		free(source->settings[i].section);
		free(source->settings[i].name);
		free(source->settings[i].key);
		free(source->settings[i].value);
	}
	free(source->settings);
	free(source->section);
	free(source->name);
}

/* --- what is known --- */

static bool known_section(const char *section)
{
	for (const struct tp_key *key = tp_config_keys; key->section; key++) {
		if (strcmp(key->section, section) == 0)
			return true;
	}
	return false;
}

static const struct tp_key *find_key(const char *section, const char *name)
{
	for (const struct tp_key *key = tp_config_keys; key->section; key++) {
		if (strcmp(key->section, section) == 0 && strcmp(key->name, name) == 0)
			return key;
	}
	return NULL;
}

/* The key (of SECTION), or for NULL the section, that WORD was perhaps meant to be; or NULL. */
static const char *perhaps(const char *section, const char *word)
{
	const char *best = NULL;
	unsigned int distance = 3;

	for (const struct tp_key *key = tp_config_keys; key->section; key++) {
		const char *candidate = section ? key->name : key->section;
		if (section && strcmp(key->section, section) != 0)
			continue;
		unsigned int d = tp_value_distance(candidate, word);
		if (d < distance && d < strlen(candidate)) {
			distance = d;
			best = candidate;
		}
	}
	return best;
}

/* The section that KEY belongs to, for one that stands in a wrong one; or NULL. */
static const char *elsewhere(const char *name)
{
	for (const struct tp_key *key = tp_config_keys; key->section; key++) {
		if (strcmp(key->name, name) == 0)
			return key->section;
	}
	return NULL;
}

static void fault_unknown_key(struct source *source, const struct setting *setting)
{
	const char *guess = perhaps(setting->section, setting->key);
	const char *home = elsewhere(setting->key);

	if (guess)
		fault(source, setting->line, "%s: no such key in [%s]; perhaps %s?", setting->key,
			setting->section, guess);
	else if (home)
		fault(source, setting->line, "%s: no such key in [%s]; it belongs to [%s]",
			setting->key, setting->section, home);
	else
		fault(source, setting->line, "%s: no such key in [%s]", setting->key,
			setting->section);
}

/* --- lines --- */

/* The same rule as for templates' names everywhere (torpor/torpor.h). */
static bool good_template_name(const char *name)
{
	size_t len = strlen(name);
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789._-";

	return len >= 1 && len <= 64 && strspn(name, letters) == len && *name != '.' &&
	       *name != '_' && *name != '-';
}

/* "[daemon]", "[template minimal]": remembered, because inih cuts long names. */
static void enter_section(struct source *source, const char *line)
{
	const char *end = strchr(line, ']');

	source->section = (free(source->section), NULL);
	source->name = (free(source->name), NULL);
	source->section_seen = true;
	if (!end) {
		fault(source, source->line, "the section's name has no end: write [daemon]");
		return;
	}
	TP_FREE char *section = tp_strndup(line + 1, (size_t)(end - line - 1));
	char *space = strchr(section, ' ');
	char *name = space ? space + 1 + strspn(space + 1, " \t") : NULL;
	if (space)
		*space = '\0';

	if (!known_section(section)) {
		const char *guess = perhaps(NULL, section);
		fault(source, source->line, "no such section: [%s]%s%s%s", section,
			guess ? "; perhaps [" : "", guess ? guess : "", guess ? "]?" : "");
		return;
	}
	bool of_template = strcmp(section, "template") == 0;
	if (of_template && !(name && good_template_name(name))) {
		fault(source, source->line,
			"a template's section has its name in it: write [template minimal]");
		return;
	}
	if (name && !of_template) {
		fault(source, source->line, "[%s] takes no name", section);
		return;
	}
	source->section = TP_TAKE(section);
	source->name = tp_strdup(name);
}

/*
 * Gives inih a line at a time (its fgets), and looks at each before: so that faults have line
 * numbers, none is passed over, and no line goes on in the next.
 */
static char *next_line(char *out, int room, void *data)
{
	struct source *source = data;

	if (!*source->at)
		return NULL;
	const char *line = source->at;
	size_t len = strcspn(line, "\n");
	source->at += len + (line[len] == '\n');
	source->line++;
	if (source->line == 1 && len >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0) {
		line += 3; /* a byte order mark */
		len -= 3;
	}
	while (len > 0 && (*line == ' ' || *line == '\t')) {
		line++;
		len--;
	}
	out[0] = '\n';
	out[1] = '\0';
	if (len == 0 || *line == '#' || *line == ';' || *line == '\r')
		return out;
	if (len > LINE_MAX_ || len + 2 > (size_t)room) {
		fault(source, source->line, "the line is longer than %d bytes", LINE_MAX_);
		return out;
	}
	memcpy(out, line, len);
	out[len] = '\0';
	if (*out == '[')
		enter_section(source, out);
	else if (!strpbrk(out, "=:")) {
		fault(source, source->line, "neither [section] nor key = value");
		*out = '\0';
	}
	strcat(out, "\n");
	return out;
}

static int take_setting(void *data, const char *section, const char *key, const char *value)
{
	struct source *source = data;

	(void)section;
	if (!source->section) {
		if (!source->section_seen)
			fault(source, source->line, "%s: stands before the first section", key);
		return 1; /* what is wrong with the section has been told already */
	}
	source->settings =
		tp_reallocarray(source->settings, source->n + 1, sizeof(*source->settings));
	source->settings[source->n++] = (struct setting){
		.section = tp_strdup(source->section),
		.name = tp_strdup(source->name),
		.key = tp_strdup(key),
		.value = tp_strdup(value),
		.line = source->line,
	};
	return 1;
}

/* --- meaning --- */

static bool same_place(const struct setting *a, const struct setting *b)
{
	return strcmp(a->section, b->section) == 0 && strcmp(a->key, b->key) == 0 &&
	       strcmp(a->name ? a->name : "", b->name ? b->name : "") == 0;
}

static void apply(struct source *source, const struct setting *setting, void *target)
{
	const struct tp_key *key = find_key(setting->section, setting->key);

	if (!key) {
		fault_unknown_key(source, setting);
		return;
	}
	for (const struct setting *before = source->settings; before < setting; before++) {
		if (same_place(before, setting)) {
			fault(source, setting->line, "%s: was set in line %u already", setting->key,
				before->line);
			return;
		}
	}
	TP_FREE char *wrong = tp_key_set(key, setting->value, target);
	if (wrong)
		fault(source, setting->line, "%s: %s", setting->key, wrong);
}

/* The template's place; made, with what holds for all, where NAME is new. */
static struct tp_template_config *template_of(struct tp_daemon_config *config, const char *name)
{
	struct tp_service_config *service = &config->service;

	for (size_t i = 0; i < service->n_templates; i++) {
		if (strcmp(service->templates[i].name, name) == 0)
			return &service->templates[i];
	}
	service->templates = tp_reallocarray(
		service->templates, service->n_templates + 1, sizeof(*service->templates));
	service->templates[service->n_templates] = (struct tp_template_config){
		.name = tp_strdup(name),
		.policy = service->policy,
		.timers = {.ttl_s = TP_UNSET, .idle_s = TP_UNSET, .retention_s = TP_UNSET},
	};
	return &service->templates[service->n_templates++];
}

/* The line that sets KEY of SECTION; 0: none. */
static unsigned int line_of(const struct source *source, const char *section, const char *key)
{
	for (size_t i = 0; i < source->n; i++) {
		if (strcmp(source->settings[i].section, section) == 0 &&
			strcmp(source->settings[i].key, key) == 0)
			return source->settings[i].line;
	}
	return 0;
}

static unsigned int line_of_template(const struct source *source, const char *name)
{
	for (size_t i = 0; i < source->n; i++) {
		if (source->settings[i].name && strcmp(source->settings[i].name, name) == 0)
			return source->settings[i].line;
	}
	return 0;
}

bool tp_config_split_listen(const char *listen, char *host, char *port)
{
	const char *colon = strrchr(listen, ':');
	struct in6_addr address;
	uint64_t number;

	if (!colon || strlen(colon + 1) > 5 || !tp_value_number(colon + 1, &number) ||
		number > 65535)
		return false;
	bool six = *listen == '[';
	const char *from = listen + six;
	size_t len = (size_t)(colon - listen);
	if (six && (len < 3 || listen[len - 1] != ']'))
		return false;
	len -= six ? 2 : 0;
	if (len == 0 || len >= 64)
		return false;
	memcpy(host, from, len);
	host[len] = '\0';
	strcpy(port, colon + 1);
	return inet_pton(six ? AF_INET6 : AF_INET, host, &address) == 1;
}

static bool is_loopback(const char *listen)
{
	char host[64];
	char port[6];

	return tp_config_split_listen(listen, host, port) &&
	       (strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0);
}

static void check_tcp(struct source *source, const struct tp_daemon_config *config)
{
	unsigned int line = line_of(source, "tcp", "listen");
	bool tls = config->tls_cert && config->tls_key;

	if (!config->tls_cert != !config->tls_key)
		fault(source, line_of(source, "tcp", config->tls_cert ? "tls_cert" : "tls_key"),
			"tls_cert and tls_key need each other: %s is missing",
			config->tls_cert ? "tls_key" : "tls_cert");
	if (config->tcp_plain && tls)
		fault(source, line_of(source, "tcp", "plain"),
			"plain: there is a certificate as well; leave one of the two out");
	if (!config->tcp_listen) {
		if (!config->socket)
			fault(source, line_of(source, "daemon", "socket"),
				"socket: is off, and there is no [tcp] listen either");
		return;
	}
	if (config->tcp_plain && !is_loopback(config->tcp_listen))
		fault(source, line,
			"listen: %s isn't loopback, and goes with TLS only: set "
			"tls_cert and tls_key, not plain",
			config->tcp_listen);
	else if (!config->tcp_plain && !config->tls_cert && !config->tls_key)
		fault(source, line, "listen: needs tls_cert and tls_key%s",
			is_loopback(config->tcp_listen) ? ", or plain = yes on loopback" : "");
}

static void check_auth(struct source *source, const struct tp_daemon_config *config)
{
	static const char *const keys[] = {"issuer", "audience", "algorithms"};

	for (size_t i = 0; !config->auth.jwks && i < TP_ARRAY_LEN(keys); i++) {
		unsigned int line = line_of(source, "auth", keys[i]);
		if (line)
			fault(source, line, "%s: means nothing without jwks", keys[i]);
	}
}

static void check(struct source *source, const struct tp_daemon_config *config)
{
	const struct tp_service_config *service = &config->service;
	const char *wrong = tp_policy_config_error(&service->policy);

	check_tcp(source, config);
	check_auth(source, config);
	if (wrong)
		fault(source, line_of(source, "pool", "warm_max"), "[pool]: %s", wrong);
	for (size_t i = 0; !wrong && i < service->n_templates; i++) {
		const struct tp_template_config *tmpl = &service->templates[i];
		const char *here = tp_policy_config_error(&tmpl->policy);
		if (here)
			fault(source, line_of_template(source, tmpl->name), "[template %s]: %s",
				tmpl->name, here);
	}
}

/* --- the whole --- */

static void lend_strings(struct tp_daemon_config *config)
{
	config->service.engine.state_dir = config->state_dir;
	config->service.engine.qemu = config->qemu;
	const char *small = config->qemu_microvm;
	config->service.engine.qemu_microvm = small && strcmp(small, "off") == 0 ? "" : small;
	config->service.engine.launcher = config->launcher;
	config->service.engine.connect = config->connect;
	config->service.cgroup_root = config->cgroup_root;
}

struct tp_daemon_config *tp_config_defaults(void)
{
	struct tp_daemon_config *config = tp_calloc(1, sizeof(*config));

	tp_service_config_init(&config->service);
	/* What 0 stands for below is said here in figures, as in docs/torpord.conf. */
	config->service.engine.staging_bytes = 256 * TP_MIB;
	config->state_dir = tp_strdup("/var/lib/torpor");
	config->socket = tp_strdup("/run/torpor/torpord.sock");
	config->socket_mode = 0660;
	config->log_level = TP_LOG_INFO;
	config->auth.algorithms = TP_JWT_RS256 | TP_JWT_ES256 | TP_JWT_EDDSA;
	config->http = (struct tp_http_config){
		.max_connections = 1024,
		.max_body = TP_MIB,
		.request_timeout_ns = 30 * TP_NSEC_PER_SEC,
		.streams_per_tenant = 64,
		.login_time_ns = 12 * 3600 * TP_NSEC_PER_SEC,
	};
	lend_strings(config);
	return config;
}

struct tp_daemon_config *tp_config_free(struct tp_daemon_config *config)
{
	if (!config)
		return NULL;
	for (size_t i = 0; i < config->service.n_templates; i++)
		free(config->service.templates[i].name);
	free(config->service.templates);
	free(config->state_dir);
	free(config->socket);
	free(config->socket_group);
	free(config->tcp_listen);
	free(config->tls_cert);
	free(config->tls_key);
	free(config->qemu);
	free(config->qemu_microvm);
	free(config->launcher);
	free(config->connect);
	free(config->cgroup_root);
	free(config->auth.jwks);
	free(config->auth.issuer);
	free(config->auth.audience);
	free(config);
	return NULL;
}

static void apply_all(struct source *source, struct tp_daemon_config *config)
{
	for (size_t i = 0; i < source->n; i++) {
		if (!source->settings[i].name)
			apply(source, &source->settings[i], config);
	}
	/* Templates start from what [pool] says, wherever it stands. */
	for (size_t i = 0; i < source->n; i++) {
		struct setting *setting = &source->settings[i];
		if (setting->name)
			apply(source, setting, template_of(config, setting->name));
	}
	/* What would follow from a mistake above is none of its own. */
	if (source->faults->n == 0)
		check(source, config);
}

struct torpor_error *tp_config_load(
	const char *path, struct tp_config_faults *faults, struct tp_daemon_config **config_out)
{
	TP_FREE char *text = NULL;
	TP_CLEANUP(tp_config_free) struct tp_daemon_config *config = tp_config_defaults();
	struct source source = {.path = path, .faults = faults};
	size_t len;

	*faults = (struct tp_config_faults){0};
	TP_TRY(tp_error_in(tp_read_file(AT_FDCWD, path, CONFIG_MAX, &text, &len),
		"read the configuration", NULL));
	if (strlen(text) != len)
		fault(&source, 0, "is no text: there is a zero byte in it");
	source.at = text;
	if (ini_parse_stream(next_line, &source, take_setting, &source) != 0 && faults->n == 0)
		fault(&source, 0, "can't be read as an INI file");
	apply_all(&source, config);
	source_deinit(&source);
	if (faults->n > 0) {
		return tp_error(TORPOR_E_INVALID, "read the configuration", path, "%zu %s",
			faults->n, faults->n == 1 ? "mistake" : "mistakes");
	}
	lend_strings(config);
	*config_out = TP_TAKE(config);
	return NULL;
}
