/* SPDX-License-Identifier: Apache-2.0 */
/* The real torpord, with real guests, as a process of the test's. */
#include "daemon.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <curl/curl.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "schema.h"
#include "support.h"

#define PATIENCE_S 120

/* --- what stays until the end --- */

struct kept {
	struct kept *next;
	char *text;
	json_t *json;
	struct it_answer answer;
};
static pthread_mutex_t keep_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kept *all_kept; /* by the lock */

/* Takes TEXT and JSON. */
static struct kept *keep(char *text, json_t *json)
{
	struct kept *kept = tp_calloc(1, sizeof(*kept));

	kept->text = text;
	kept->json = json;
	pthread_mutex_lock(&keep_lock);
	kept->next = all_kept;
	all_kept = kept;
	pthread_mutex_unlock(&keep_lock);
	return kept;
}

static void forget_kept(void)
{
	while (all_kept) {
		struct kept *kept = all_kept;
		all_kept = kept->next;
		free(kept->text);
		json_decref(kept->json);
		free(kept);
	}
}

const char *it_text(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	char *text = tp_vasprintf(fmt, ap);
	va_end(ap);
	return keep(text, NULL)->text;
}

/* --- nothing is left behind --- */

#define GUARD "TORPOR_TEST_GUARD" /* the pids of the process above all, and of its child */

/*
 * All children of GUARD but the two SPARED (0: none): guests without a torpord, and a torpord
 * without a test.
 */
static void end_orphans(pid_t guard, const pid_t spared[2])
{
	TP_FREE char *path = tp_asprintf("/proc/%d/task/%d/children", guard, guard);
	FILE *f = fopen(path, "r");
	pid_t pid;

	while (f && fscanf(f, "%d", &pid) == 1) {
		if (pid != spared[0] && pid != spared[1])
			kill(pid, SIGKILL);
	}
	if (f)
		fclose(f);
}

/*
 * Before main: this process becomes the one that orphans come to, and the test goes on in a child.
 * However that ends, and whatever it could not clear up itself, its guests end with it; and those
 * of a torpord that was killed don't stay behind as zombies that look like guests.
 */
__attribute__((constructor)) static void stand_guard(void)
{
	static const pid_t nobody[2];
	char text[32];
	int status = 0;

	if (getenv(GUARD))
		return;
	pid_t guard = getpid();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid_t top = fork();
	if (top == 0) {
		snprintf(text, sizeof(text), "%d %d", guard, getpid());
		setenv(GUARD, text, 1);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		return;
	}
	while (waitpid(-1, &status, 0) != top)
		;
	end_orphans(guard, nobody);
	/* A torpord that was among them leaves its guests. */
	while (waitpid(-1, NULL, 0) > 0)
		end_orphans(guard, nobody);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static void end_guests(void)
{
	const char *also = getenv(IT_DAEMON_SPARED);
	int guard, top;

	cr_assert(sscanf(getenv(GUARD), "%d %d", &guard, &top) == 2);
	end_orphans(guard, (const pid_t[2]){top, also ? atoi(also) : 0});
}

/* --- the process --- */

static void run(const char *command)
{
	cr_assert(system(command) == 0, "%s", command);
}

/* One that was free just now: torpord says nowhere which one it was given. */
static int free_port(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	TP_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	cr_assert(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
	return ntohs(address.sin_port);
}

static void write_config(const struct it_daemon *daemon, const char *config)
{
	FILE *f = fopen(it_text("%s/conf", daemon->dir), "w");

	cr_assert(f);
	fprintf(f, "%s\n", config ? config : "");
	fprintf(f, "[daemon]\nstate_dir = %s\nsocket = %s\nlog_level = debug\n", daemon->dir,
		daemon->socket);
	fprintf(f, "[tcp]\nlisten = 127.0.0.1:%d\ntls_cert = %s/cert.pem\ntls_key = %s/key.pem\n",
		daemon->port, daemon->dir, daemon->dir);
	fprintf(f, "[pool]\ncgroup_root = none\n");
	cr_assert(fclose(f) == 0);
}

/* A copy: what this torpord does with it is nothing to the others. */
static void copy_template(const struct it_daemon *daemon)
{
	struct torpor_engine *engine = it_open();
	const char *from = it_text("%s/templates/" IT_TEMPLATE, getenv("TORPOR_TEST_STATE"));

	torpor_engine_close(engine);
	run(it_text("mkdir -m 700 %s/templates && cp -r --sparse=always %s %s/templates/",
		daemon->dir, from, daemon->dir));
}

static void listen_for_notices(struct it_daemon *daemon)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = PATIENCE_S};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", daemon->dir);
	daemon->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert(bind(daemon->notify_fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	setsockopt(daemon->notify_fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	/* Here and not in the child: a test's threads may run when it is made. */
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
}

void it_daemon_init(struct it_daemon *daemon, const char *config)
{
	*daemon = (struct it_daemon){.dir = "/tmp/torpord-it.XXXXXX", .notify_fd = -1};
	curl_global_init(CURL_GLOBAL_DEFAULT);
	cr_assert(mkdtemp(daemon->dir));
	snprintf(daemon->socket, sizeof(daemon->socket), "%s/sock", daemon->dir);
	daemon->port = free_port();
	run(it_text("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
		    "-days 2 -subj /CN=torpord -addext subjectAltName=IP:127.0.0.1 "
		    "-keyout %s/key.pem -out %s/cert.pem 2>%s/openssl",
		daemon->dir, daemon->dir, daemon->dir));
	write_config(daemon, config);
	copy_template(daemon);
	listen_for_notices(daemon);
}

static void expect_notice(const struct it_daemon *daemon, const char *text)
{
	char seen[256] = {0};

	cr_assert(recv(daemon->notify_fd, seen, sizeof(seen) - 1, 0) > 0, "no %s came", text);
	cr_assert(strncmp(seen, text, strlen(text)) == 0, "%s instead of %s", seen, text);
}

static void spawn(struct it_daemon *daemon)
{
	const char *config = it_text("%s/conf", daemon->dir);
	const char *log = it_text("%s/log", daemon->dir);

	daemon->pid = fork();
	cr_assert(daemon->pid >= 0);
	if (daemon->pid > 0)
		return;
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	execl(TORPORD, TORPORD, "--config", config, NULL);
	_exit(127);
}

/* What was put there from elsewhere is in use from the first session on. */
static void take_template_into_use(const struct it_who *admin)
{
	const json_t *session = it_expect(
		admin, 201, "POST", "/v1/sessions", "{\"template\": \"" IT_TEMPLATE "\"}");

	it_expect(admin, 204, "DELETE", it_session(it_string(session, "id"), ""), NULL);
}

/* Readiness is that sessions can be made; tests that count on a warm guest wait for one. */
static void wait_for_stock(const struct it_who *admin)
{
	struct it_stream stream = it_stream_open(
		&(struct it_who){.daemon = admin->daemon, .header = "Last-Event-ID: 0"}, "GET",
		"/v1/events", NULL);

	for (;;) {
		const json_t *pool = it_expect(admin, 200, "GET", "/v1/pool", NULL);
		if (it_number(pool, "templates.0.pool.warm") >=
			TP_MAX(it_number(pool, "templates.0.pool.warm_target"), 1))
			break;
		cr_assert(*it_stream_next(&stream).type, "torpord ended while its pool filled");
	}
	it_stream_close(&stream);
}

void it_daemon_start(struct it_daemon *daemon)
{
	struct it_who admin = {.daemon = daemon};

	spawn(daemon);
	expect_notice(daemon, "READY=1");
	if (!daemon->openapi)
		daemon->openapi =
			json_incref((json_t *)it_expect(&admin, 200, "GET", "/openapi.json", NULL));
	it_expect(&admin, 200, "GET", "/readyz", NULL);
	if (json_array_size(
		    it_member(it_expect(&admin, 200, "GET", "/v1/pool", NULL), "templates")) == 0)
		take_template_into_use(&admin);
	wait_for_stock(&admin);
}

void it_daemon_term(struct it_daemon *daemon)
{
	kill(daemon->pid, SIGTERM);
	expect_notice(daemon, "STOPPING=1");
}

void it_daemon_wait(struct it_daemon *daemon)
{
	int status;

	cr_assert(waitpid(daemon->pid, &status, 0) == daemon->pid);
	daemon->pid = 0;
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "torpord ended with %#x",
		(unsigned int)status);
}

void it_daemon_stop(struct it_daemon *daemon)
{
	it_daemon_term(daemon);
	it_daemon_wait(daemon);
}

/* Guests that libvirt runs are no children of the guard's: their directories have their pids. */
static void end_domains(const struct it_daemon *daemon)
{
	run(it_text("for record in %s/run/*/process; do"
		    "  pid=$(sed -n 's/^{\"pid\": \\([0-9]*\\),.*/\\1/p' $record 2>/dev/null);"
		    "  [ -z \"$pid\" ] || kill -KILL $pid 2>/dev/null; "
		    "done; true",
		daemon->dir));
}

void it_daemon_deinit(struct it_daemon *daemon)
{
	if (getenv("TORPOR_TEST_SHOW_LOG"))
		run(it_text("cat %s/log >&2", daemon->dir));
	if (daemon->pid > 0) {
		kill(daemon->pid, SIGKILL);
		waitpid(daemon->pid, NULL, 0);
	}
	end_guests();
	if (it_with_libvirt())
		end_domains(daemon);
	tp_close(daemon->notify_fd);
	json_decref(daemon->openapi);
	run(it_text("rm -rf %s", daemon->dir));
	forget_kept();
}

/* --- answers and the document --- */

/* Whether PATH, up to a query, has the form of PATTERN. */
static bool fits(const char *pattern, const char *path)
{
	while (*pattern) {
		if (*pattern != '{') {
			if (*pattern++ != *path++)
				return false;
			continue;
		}
		if (*path == '/' || *path == '\0')
			return false;
		path += strcspn(path, "/?");
		pattern = strchr(pattern, '}') + 1;
	}
	return *path == '\0' || *path == '?';
}

static const char *pattern_of(const struct it_daemon *daemon, const char *method, const char *path)
{
	const char *pattern;
	json_t *operations;

	json_object_foreach (json_object_get(daemon->openapi, "paths"), pattern, operations) {
		if (fits(pattern, path) && schema_operation(daemon->openapi, method, pattern))
			return pattern;
	}
	return NULL;
}

/* What no operation of the document answers is a problem like all others. */
static void check_answer(const struct it_who *who, const char *method, const char *path,
	const struct it_answer *answer)
{
	const char *type = it_header(answer, "Content-Type");
	const char *pattern = pattern_of(who->daemon, method, path);
	char *why = NULL;

	if (!who->daemon->openapi || answer->status == 0 || strcmp(method, "HEAD") == 0)
		return;
	if (answer->status >= 400)
		cr_assert(type && (strcmp(type, "application/problem+json") == 0 ||
					  (answer->status == 503 && strcmp(path, "/readyz") == 0)),
			"%s %s: %d is no problem: %s", method, path, answer->status, answer->text);
	else if (type && strncmp(type, "text/", 5) == 0)
		return;
	if (!pattern) {
		cr_assert_geq(answer->status, 400, "%s %s: %d", method, path, answer->status);
		method = "GET";
		pattern = "/healthz"; /* has the default alone */
	}
	cr_assert(schema_check(who->daemon->openapi, method, pattern, answer->status, answer->body,
			  &why),
		"%s %s: %d: %s: %s", method, path, answer->status, why, answer->text);
}

/* --- requests --- */

struct incoming {
	FILE *body, *head;
};

static size_t take_body(char *data, size_t size, size_t n, void *incoming)
{
	return fwrite(data, size, n, ((struct incoming *)incoming)->body);
}

static size_t take_head(char *data, size_t size, size_t n, void *incoming)
{
	return fwrite(data, size, n, ((struct incoming *)incoming)->head);
}

static struct curl_slist *headers_of(const struct it_who *who, const char *body)
{
	struct curl_slist *list = curl_slist_append(NULL, "Expect:");

	if (who->token) {
		TP_FREE char *line = tp_asprintf("Authorization: Bearer %s", who->token);
		list = curl_slist_append(list, line);
	}
	if (who->header)
		list = curl_slist_append(list, who->header);
	return curl_slist_append(list, body ? "Content-Type: application/json" : "Content-Type:");
}

static void set_target(CURL *curl, const struct it_who *who, const char *path)
{
	const struct it_daemon *daemon = who->daemon;
	TP_FREE char *url = who->tcp ? tp_asprintf("https://127.0.0.1:%d%s", daemon->port, path)
				     : tp_asprintf("http://torpord%s", path);
	TP_FREE char *cert = tp_asprintf("%s/cert.pem", daemon->dir);

	curl_easy_setopt(curl, CURLOPT_URL, url);
	if (who->tcp)
		curl_easy_setopt(curl, CURLOPT_CAINFO, cert);
	else
		curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, daemon->socket);
}

const struct it_answer *it_ask(
	const struct it_who *who, const char *method, const char *path, const char *body)
{
	CURL *curl = curl_easy_init();
	struct curl_slist *headers = headers_of(who, body);
	char *text, *head;
	size_t text_len, head_len;
	struct incoming incoming = {
		.body = open_memstream(&text, &text_len), .head = open_memstream(&head, &head_len)};
	long status = 0;

	set_target(curl, who, path);
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)PATIENCE_S);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	if (strcmp(method, "HEAD") == 0)
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	if (body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	else if (strcmp(method, "POST") == 0 || strcmp(method, "PATCH") == 0)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &incoming);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_head);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, &incoming);
	CURLcode result = curl_easy_perform(curl);
	fclose(incoming.body);
	fclose(incoming.head);
	cr_assert(result == CURLE_OK || who->quiet, "%s %s: %s", method, path,
		curl_easy_strerror(result));
	if (result == CURLE_OK)
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);

	struct kept *kept = keep(text, json_loads(text, 0, NULL));
	kept->answer = (struct it_answer){.status = (int)status,
		.body = kept->json,
		.text = text,
		.head = keep(head, NULL)->text};
	check_answer(who, method, path, &kept->answer);
	return &kept->answer;
}

const json_t *it_expect(const struct it_who *who, int status, const char *method, const char *path,
	const char *body)
{
	const struct it_answer *answer = it_ask(who, method, path, body);

	cr_assert(answer->status == status, "%s %s: %d instead of %d: %s", method, path,
		answer->status, status, answer->text);
	return answer->body;
}

const char *it_header(const struct it_answer *answer, const char *name)
{
	TP_FREE char *start = tp_asprintf("\r\n%s: ", name);
	const char *at = strcasestr(answer->head, start);

	if (!at)
		return NULL;
	at += strlen(start);
	return it_text("%.*s", (int)strcspn(at, "\r"), at);
}

/* --- what is in them --- */

const json_t *it_member(const json_t *json, const char *path)
{
	TP_FREE char *copy = tp_strdup(path);
	char *rest;

	for (char *part = strtok_r(copy, ".", &rest); part; part = strtok_r(NULL, ".", &rest))
		json = json_is_array(json) ? json_array_get(json, strtoul(part, NULL, 10))
					   : json_object_get(json, part);
	return json;
}

static const char *shown(const json_t *json)
{
	return keep(json_dumps(json, JSON_ENCODE_ANY), NULL)->text;
}

const char *it_string(const json_t *json, const char *path)
{
	const char *text = json_string_value(it_member(json, path));

	cr_assert(text, "no text %s in %s", path, shown(json));
	return text;
}

int64_t it_number(const json_t *json, const char *path)
{
	const json_t *number = it_member(json, path);

	cr_assert(json_is_integer(number), "no number %s in %s", path, shown(json));
	return json_integer_value(number);
}

const char *it_session(const char *id, const char *rest)
{
	return it_text("/v1/sessions/%s%s", id, rest);
}

const char *it_tenant(const struct it_who *admin, const char *name, const char *limits)
{
	it_expect(admin, 201, "POST", "/v1/tenants",
		limits ? it_text("{\"name\": \"%s\", \"limits\": %s}", name, limits)
		       : it_text("{\"name\": \"%s\"}", name));
	return it_string(it_expect(admin, 201, "POST", it_text("/v1/tenants/%s/tokens", name),
				 "{\"label\": \"test\"}"),
		"token");
}

const char *it_script(const struct it_who *who, const char *id, const char *script)
{
	json_t *json = json_pack("{s:[s, s, s]}", "argv", "sh", "-c", script);
	const char *body = keep(json_dumps(json, 0), json)->text;
	const json_t *result = it_expect(who, 200, "POST", it_session(id, "/exec"), body);

	cr_assert(it_number(result, "exit_status") == 0, "%s: %s", script, shown(result));
	const char *out = it_string(result, "stdout");
	size_t len = strlen(out);
	return it_text("%.*s", (int)(len - (len > 0 && out[len - 1] == '\n')), out);
}

/* --- server-sent events --- */

/* HTTP/1.0: no chunks, the stream ends with the connection. */
struct it_stream it_stream_open(
	const struct it_who *who, const char *method, const char *path, const char *body)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = PATIENCE_S};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	TP_FREE char *line = NULL;
	size_t room = 0;
	int status = 0;

	strcpy(address.sun_path, who->daemon->socket);
	cr_assert(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	dprintf(fd, "%s %s HTTP/1.0\r\nHost: torpord\r\nAccept: text/event-stream\r\n", method,
		path);
	if (who->token)
		dprintf(fd, "Authorization: Bearer %s\r\n", who->token);
	if (who->header)
		dprintf(fd, "%s\r\n", who->header);
	if (body)
		dprintf(fd, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
			strlen(body), body);
	else
		dprintf(fd, "\r\n");
	struct it_stream stream = {.f = fdopen(fd, "r"), .daemon = who->daemon};
	cr_assert(getline(&line, &room, stream.f) > 0);
	cr_assert(sscanf(line, "HTTP/1.%*d %d", &status) == 1 && status == 200, "%s %s: %s", method,
		path, line);
	while (getline(&line, &room, stream.f) > 2)
		;
	return stream;
}

void it_stream_close(struct it_stream *stream)
{
	fclose(stream->f);
}

static void check_event(const struct it_stream *stream, const struct it_event *event)
{
	const json_t *schema = it_member(stream->daemon->openapi, "components.schemas.Session");
	char *why = NULL;

	if (strcmp(event->type, "session") == 0)
		cr_assert(schema_valid(stream->daemon->openapi, schema, event->data, &why),
			"event %s: %s", shown(event->data), why);
}

struct it_event it_stream_next(struct it_stream *stream)
{
	struct it_event event = {.type = ""};
	TP_FREE char *line = NULL;
	size_t room = 0;

	while (getline(&line, &room, stream->f) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "id: ", 4) == 0)
			event.id = strtoull(line + 4, NULL, 10);
		else if (strncmp(line, "event: ", 7) == 0)
			event.type = it_text("%s", line + 7);
		else if (strncmp(line, "data: ", 6) == 0)
			event.data = keep(NULL, json_loads(line + 6, JSON_DECODE_ANY, NULL))->json;
		else if (!*line && *event.type)
			break;
		else
			cr_assert(!*line || *line == ':', "no line of an event: %s", line);
	}
	check_event(stream, &event);
	return event;
}

struct it_event it_stream_until(struct it_stream *stream, const char *id, const char *state)
{
	for (;;) {
		struct it_event event = it_stream_next(stream);
		cr_assert(*event.type, "the stream ended before %s was %s", id ? id : "one", state);
		if (strcmp(event.type, "session") == 0 &&
			(!id || strcmp(it_string(event.data, "id"), id) == 0) &&
			strcmp(it_string(event.data, "state"), state) == 0)
			return event;
	}
}
