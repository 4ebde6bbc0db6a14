/* SPDX-License-Identifier: Apache-2.0 */
/* torpord.conf: what is read, and every kind of mistake. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "daemon/config.h"
#include "daemon/config_keys.h"
#include "daemon/config_value.h"

/* A file with TEXT; the name is the caller's to free, and to unlink. */
static char *write_file(const char *text)
{
	char *path = tp_strdup("/tmp/torpord-test.XXXXXX");
	TP_FD int fd = mkstemp(path);

	cr_assert(fd >= 0);
	cr_assert(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	return path;
}

static struct tp_daemon_config *load_good(const char *text)
{
	TP_FREE char *path = write_file(text);
	struct tp_config_faults faults;
	struct tp_daemon_config *config = NULL;
	struct torpor_error *err = tp_config_load(path, &faults, &config);

	unlink(path);
	cr_assert(!err, "%s: %s", torpor_error_message(err), faults.n ? faults.lines[0] : "");
	tp_config_faults_deinit(&faults);
	return config;
}

/* All that is wrong with TEXT, a line each, without the file's name. */
static char *faults_of(const char *text)
{
	TP_FREE char *path = write_file(text);
	struct tp_config_faults faults;
	struct tp_daemon_config *config = NULL;
	struct torpor_error *err = tp_config_load(path, &faults, &config);
	char *all = tp_strdup("");

	unlink(path);
	cr_assert(err, "this is accepted: %s", text);
	cr_assert(torpor_error_code(err) == TORPOR_E_INVALID);
	cr_assert(!config);
	torpor_error_free(err);
	for (size_t i = 0; i < faults.n; i++) {
		cr_assert(strncmp(faults.lines[i], path, strlen(path)) == 0);
		char *longer = tp_asprintf("%s%s\n", all, faults.lines[i] + strlen(path) + 1);
		free(all);
		all = longer;
	}
	tp_config_faults_deinit(&faults);
	return all;
}

static void expect_fault(const char *text, const char *fault)
{
	TP_FREE char *all = faults_of(text);

	cr_assert(strstr(all, fault), "expected \"%s\", got:\n%s", fault, all);
}

/* Each key's value in both, as the key's kind reads it. */
static bool same_value(const struct tp_key *key, const void *a, const void *b)
{
	const void *x = (const char *)a + key->offset;
	const void *y = (const char *)b + key->offset;

	switch (key->kind) {
	case TP_KEY_TEXT:
	case TP_KEY_PATH:
	case TP_KEY_PATH_OR_OFF:
	case TP_KEY_LISTEN:
	case TP_KEY_CGROUP: {
		const char *s = *(char *const *)x;
		const char *t = *(char *const *)y;
		return (!s && !t) || (s && t && strcmp(s, t) == 0);
	}
	case TP_KEY_COUNT64:
	case TP_KEY_SIZE:
	case TP_KEY_HOST_SIZE:
	case TP_KEY_SECONDS:
	case TP_KEY_DURATION:
		return memcmp(x, y, 8) == 0;
	case TP_KEY_BOOL:
	case TP_KEY_ON_STOP:
		return memcmp(x, y, sizeof(bool)) == 0;
	default:
		return memcmp(x, y, 4) == 0;
	}
}

static char *read_text(const char *path)
{
	char *text;
	size_t len;
	struct torpor_error *err = tp_read_file(AT_FDCWD, path, 1 << 20, &text, &len);

	cr_assert(!err, "%s", torpor_error_message(err));
	return text;
}

/* The example says for each key what holds without it; a key that is commented out has none. */
Test(example, has_every_key_with_its_default)
{
	TP_FREE char *text = read_text(TORPORD_CONF);
	TP_CLEANUP(tp_config_free) struct tp_daemon_config *config = load_good(text);
	TP_CLEANUP(tp_config_free) struct tp_daemon_config *defaults = tp_config_defaults();

	for (const struct tp_key *key = tp_config_keys; key->section; key++) {
		TP_FREE char *line = tp_asprintf("\n%s = ", key->name);
		TP_FREE char *comment = tp_asprintf("\n#%s = ", key->name);
		cr_expect(strstr(text, line) || strstr(text, comment), "%s isn't there", key->name);
		if (strcmp(key->section, "template") != 0)
			cr_expect(same_value(key, config, defaults), "[%s] %s", key->section,
				key->name);
	}
}

Test(example, manual_has_every_key)
{
	TP_FREE char *text = read_text(MAN_DIR "/torpord.conf.5.scd");

	for (const struct tp_key *key = tp_config_keys; key->section; key++) {
		TP_FREE char *name = tp_asprintf("*%s*", key->name);
		TP_FREE char *section = tp_asprintf("\n# [%s", key->section);
		const char *from = strstr(text, section);
		const char *to = from ? strstr(from + 1, "\n# ") : NULL;
		const char *found = from ? strstr(from, name) : NULL;
		cr_expect(found && to && found < to, "[%s] %s", key->section, key->name);
	}
}

/* With the comment signs taken away, all of it is still right. */
Test(example, commented_keys_are_valid)
{
	TP_FREE char *text = read_text(TORPORD_CONF);

	for (char *at = text; (at = strchr(at, '\n')); at++) {
		if (at[1] == '#' && at[2] >= 'a' && at[2] <= 'z' && strstr(at, " = ") &&
			strcspn(at + 1, " ") < strcspn(at + 1, "\n") &&
			at[1 + strcspn(at + 1, " ") + 1] == '=')
			at[1] = ' ';
		if (strncmp(at, "\n#[", 3) == 0)
			at[1] = ' ';
	}
	TP_CLEANUP(tp_config_free) struct tp_daemon_config *config = load_good(text);
	cr_assert_eq(config->service.n_templates, 1);
	cr_assert_str_eq(config->service.templates[0].name, "minimal");
	cr_assert_eq(config->service.templates[0].policy.warm_min, 2);
	cr_assert_eq(config->service.templates[0].timers.idle_s, 900);
	cr_assert_str_eq(config->auth.audience, "torpor");
}

Test(good, values_arrive)
{
	TP_CLEANUP(tp_config_free)
	struct tp_daemon_config *config = load_good(
		"\xEF\xBB\xBF[template b]\n  warm_min = 3\r\n[pool]\nwarm_max: 9 ; nine\n"
		"host_memory = 1.5G\nguest_share=50 %\ncgroup_root = none\n"
		"[daemon]\nstate_dir = /x\non_stop = park\nlog_level = debug\nsocket_mode = 600\n"
		"[tcp]\nlisten = [::1]:80\nplain = yes\n"
		"[sessions]\nttl = never\nhealth_interval = 1500ms\n"
		"[auth]\njwks = /j\nalgorithms = HS256, EdDSA\n");

	cr_assert_str_eq(config->service.engine.state_dir, "/x");
	cr_assert_eq(config->service.admission.host_memory, 3 * TP_GIB / 2);
	cr_assert_eq(config->service.admission.guest_share_percent, 50);
	cr_assert_str_eq(config->service.cgroup_root, "");
	cr_assert(config->service.park_on_stop);
	cr_assert_eq(config->log_level, TP_LOG_DEBUG);
	cr_assert_eq(config->socket_mode, 0600);
	cr_assert_eq(config->service.timers.ttl_s, 0);
	cr_assert_eq(config->service.health_every_ns, 1500 * TP_NSEC_PER_MSEC);
	cr_assert_eq(config->auth.algorithms, TP_JWT_HS256 | TP_JWT_EDDSA);
	/* What a template doesn't say is as in [pool], wherever that stands. */
	cr_assert_eq(config->service.templates[0].policy.warm_min, 3);
	cr_assert_eq(config->service.templates[0].policy.warm_max, 9);
	cr_assert_eq(config->service.templates[0].timers.ttl_s, TP_UNSET);
}

Test(bad, each_mistake_is_named_with_its_line)
{
	expect_fault("[http]\nmax_boddy = 1M\n",
		"2: max_boddy: no such key in [http]; perhaps max_body?");
	expect_fault(
		"[http]\nttl = 1h\n", "2: ttl: no such key in [http]; it belongs to [sessions]");
	expect_fault("[http]\nabsurdity = 1h\n", "2: absurdity: no such key in [http]\n");
	expect_fault("[demon]\n", "1: no such section: [demon]; perhaps [daemon]?");
	expect_fault("[somewhere else]\n", "1: no such section: [somewhere]");
	expect_fault("\nttl = 1h\n", "2: ttl: stands before the first section");
	expect_fault("[http\n", "1: the section's name has no end");
	expect_fault("[http]\nmax_body\n", "2: neither [section] nor key = value");
	expect_fault("[http]\nmax_body = 1M\n\nmax_body = 1M\n",
		"4: max_body: was set in line 2 already");
	expect_fault("[http]\nmax_body =\n", "2: max_body: \"\" is no size");
	expect_fault("[http]\nmax_body = 65M\n", "2: max_body: \"65M\" is out of bounds");
	expect_fault("[http]\nmax_connections = -1\n", "is no whole number from 1 to 100000");
	expect_fault("[http]\nrequest_timeout = never\n", "out of bounds");
	expect_fault("[http]\nrequest_timeout = soon\n", "\"soon\" is no duration");
	expect_fault("[sessions]\nttl = 1500ms\n", "no whole number of seconds");
	expect_fault("[sessions]\nidle = 1x\n", "write 90s, 15m, 1h, 30d, or never");
	expect_fault("[daemon]\nstate_dir = here\n", "it must begin with /");
	expect_fault("[daemon]\nstate_dir =\n", "needs a value");
	expect_fault("[daemon]\nlog_level = loud\n", "none of debug, info, warning");
	expect_fault("[daemon]\non_stop = die\n", "neither keep nor park");
	expect_fault("[daemon]\nsocket_mode = 0888\n", "are no permissions");
	expect_fault("[daemon]\nsocket = off\n", "2: socket: is off, and there is no [tcp] listen");
	expect_fault("[tcp]\nplain = maybe\n", "neither yes nor no");
	expect_fault("[tcp]\nlisten = 8080\n", "no address with a port");
	expect_fault("[tcp]\nlisten = 1.2.3.4:99999\n", "no address with a port");
	expect_fault("[tcp]\nlisten = localhost:80\n", "no address with a port");
	expect_fault("[tcp]\nlisten = 127.0.0.1:80\n",
		"2: listen: needs tls_cert and tls_key, or plain = yes");
	expect_fault("[tcp]\nlisten = 0.0.0.0:80\nplain = yes\n",
		"2: listen: 0.0.0.0:80 isn't loopback");
	expect_fault("[tcp]\ntls_cert = /a\n",
		"2: tls_cert and tls_key need each other: tls_key is missing");
	expect_fault("[pool]\nguest_share = 0%\n", "is no share");
	expect_fault("[pool]\nhost_memory = 120%\n", "or a share of the host's memory");
	expect_fault("[pool]\ncgroup_root = here\n", "or auto, or none");
	expect_fault("[pool]\nwarm_min = 9\n", "[pool]: warm_max is below warm_min");
	expect_fault("[template a]\nwarm_min = 9\n", "2: [template a]: warm_max is below warm_min");
	expect_fault("[template]\n", "1: a template's section has its name in it");
	expect_fault("[template ../x]\n", "1: a template's section has its name in it");
	expect_fault("[http x]\n", "1: [http] takes no name");
	expect_fault("[auth]\nissuer = a\n", "2: issuer: means nothing without jwks");
	expect_fault(
		"[auth]\njwks = /a\nalgorithms = none\n", "\"none\" is no signature algorithm");
	expect_fault(
		"[auth]\njwks = /a\nalgorithms = HS512\n", "\"HS512\" is no signature algorithm");
	expect_fault("[engine]\nzstd_level = 20\n", "from 0 to 19");
	expect_fault("[engine]\npath = fast\n", "none of auto, direct, stream");
}

Test(bad, all_of_them_in_the_order_of_the_lines)
{
	TP_FREE char *all = faults_of("[pool]\nwarm_min = 9\nwarm_max = x\n[nowhere]\na = b\n"
				      "[http]\nq = 1\nnonsense\n");

	cr_assert_str_eq(all, "3: warm_max: \"x\" is no whole number from 0 to 1000\n"
			      "4: no such section: [nowhere]\n"
			      "7: q: no such key in [http]\n"
			      "8: neither [section] nor key = value\n");
}

Test(bad, long_lines_are_refused_not_cut)
{
	char text[600] = "[daemon]\nstate_dir = /";

	memset(text + strlen(text), 'x', 400);
	expect_fault(text, "2: the line is longer than");
}

Test(bad, no_file)
{
	struct tp_config_faults faults;
	struct tp_daemon_config *config = NULL;
	struct torpor_error *err = tp_config_load("/nowhere/torpord.conf", &faults, &config);

	cr_assert_eq(torpor_error_code(err), TORPOR_E_NOT_FOUND);
	cr_assert_eq(faults.n, 0);
	torpor_error_free(err);
}

Test(values, overflow_is_refused)
{
	uint64_t value = 7;

	cr_assert(!tp_value_number("18446744073709551616", &value));
	cr_assert(!tp_value_size("99999999999T", &value));
	cr_assert(!tp_value_size("0.0001K", &value));
	cr_assert(!tp_value_duration("999999999999d", &value));
	cr_assert_eq(value, 7);
	cr_assert(tp_value_number("18446744073709551615", &value));
	cr_assert_eq(value, UINT64_MAX);
	cr_assert_eq(tp_value_distance("max_body", "max_boddy"), 1);
	cr_assert_eq(tp_value_distance("abc", ""), 3);
}
