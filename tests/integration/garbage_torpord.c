/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nonsense at a whole torpord with a guest behind it, from a seed: requests that are spoilt as
 * text, as JSON and in how they are sent.
 *
 *   it_garbage SECONDS SEED
 *
 * It must live, answer sound requests in between, never with a 500, and end in order; sanitizers
 * must have nothing to say. Meant for a build with these.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/call.h"
#include "base/fd.h"
#include "base/mem.h"
#include "crash_world.h"

#define SLOW_MAX 16

/* %I is a session's id. */
static const char *const targets[] = {
	"GET /v1/sessions",
	"GET /v1/sessions?limit=2&label=a%3Db&match=abcd&cursor=x&state=running",
	"POST /v1/sessions",
	"GET /v1/sessions/%I",
	"PATCH /v1/sessions/%I",
	"DELETE /v1/sessions/%I",
	"POST /v1/sessions/%I/park",
	"DELETE /v1/sessions/%I/park",
	"POST /v1/sessions/%I/resume",
	"POST /v1/sessions/%I/pause",
	"POST /v1/sessions/%I/unpause",
	"POST /v1/sessions/%I/checkpoint",
	"GET /v1/sessions/%I/images",
	"DELETE /v1/sessions/%I/images/a",
	"POST /v1/sessions/%I/fork",
	"POST /v1/sessions/%I/exec",
	"POST /v1/sessions/%I/exec",
	"GET /v1/sessions/%I/metrics",
	"GET /v1/templates",
	"POST /v1/templates",
	"GET /v1/templates/minimal",
	"GET /v1/pool",
	"GET /v1/tenants",
	"POST /v1/tenants",
	"PATCH /v1/tenants/alice",
	"GET /v1/tenants/alice/tokens",
	"POST /v1/tenants/alice/tokens",
	"DELETE /v1/tenants/alice/tokens/x",
	"GET /v1/audit?limit=5&before=7",
	"GET /v1/self",
	"GET /v1/events?after=1",
	"GET /healthz",
	"GET /metrics",
	"GET /openapi.json",
	"GET /v1/sessions/%00%2e%2e%2f%ff",
	"OPTIONS *",
};

/* What the fields of a sound body may be, for targets with one. */
static const struct {
	const char *target; /* its end */
	const char *fields;
} sound[] = {
	{"POST /v1/sessions", "\"template\": \"minimal\""},
	{"/exec", "\"argv\": [\"true\"]"},
	{"/fork", "\"count\": 1"},
	{"POST /v1/tenants", "\"name\": \"carol\""},
	{"POST /v1/templates",
		"\"name\": \"other\", \"kernel\": \"/nonexistent\", \"initrd\": \"/nonexistent\""},
};

static const char *const keys[] = {"template", "name", "names", "count", "image", "env", "labels",
	"limits", "ttl_s", "idle_s", "retention_s", "wait_s", "argv", "cwd", "stdin", "encoding",
	"timeout_s", "wake", "kill_on_disconnect", "kernel", "initrd", "append", "memory_bytes",
	"vcpus", "uid", "label", "expires_s", "admin", "replace", "unknown"};

static const char *const values[] = {"null", "true", "0", "1", "-1", "2", "1.5", "1e999", "-0",
	"9223372036854775807", "9223372036854775808", "1e308", "\"\"", "\"a\"", "\"minimal\"",
	"\"\\u0000\"", "\"\\ud800\"", "\"/nonexistent\"", "\"base64\"", "\"====\"", "[]", "{}",
	"[\"true\"]", "[\"sh\", \"-c\", \"cat\"]", "[\"\"]", "[1, null]", "{\"a\": \"b\"}",
	"{\"A=B\": \"c\"}", "{\"a\": {\"a\": []}}", "{\"sessions\": 3}", "{\"cpus\": 1e-9}",
	"{\"memory_bytes\": 1048576, \"nofile\": 64}", "\"\xff\xfe\"", "NaN", "", "\""};

static const char *const headers[] = {"Host: h", "Accept: text/event-stream", "Idempotency-Key: k",
	"Idempotency-Key: \x01\x80\xff", "Torpor-Tenant: alice", "Torpor-Tenant: nobody",
	"Torpor-Timeout: 1", "Torpor-Timeout: 99999999999999999999", "Authorization: Bearer tpr_x",
	"Authorization: Bearer eyJhbGciOiJub25lIn0.e30.", "Authorization: Basic \xff\xff",
	"Expect: 100-continue", "Connection: close", "Last-Event-ID: 18446744073709551616",
	"Content-Type: application/json", "Content-Type: text/plain",
	"Transfer-Encoding: gzip, chunked", "\x01\x02\x03: \xfe", ": nothing", " folded",
	"Content-Length: -1", "Content-Length: 18446744073709551617"};

static uint64_t state;
static unsigned long sent;
static unsigned long statuses[600];

/* xorshift64*: the same everywhere for a seed. */
static uint32_t pick(uint32_t below)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (uint32_t)((state * UINT64_C(2685821657736338717)) >> 33) % below;
}

#define PICK(array) ((array)[pick(TP_ARRAY_LEN(array))])

static void put(struct tp_buf *buf, const char *text)
{
	tp_buf_put(buf, text, strlen(text));
}

/* --- requests --- */

static void repeat(struct tp_buf *buf, const char *piece, uint32_t n)
{
	while (n-- > 0)
		put(buf, piece);
}

static void put_field(struct tp_buf *body)
{
	put(body, "\"");
	put(body, PICK(keys));
	put(body, "\": ");
	put(body, PICK(values));
}

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text);

	return len >= strlen(end) && strcmp(text + len - strlen(end), end) == 0;
}

/* What TARGET takes, at times with one field more. */
static void put_sound_body(struct tp_buf *body, const char *target)
{
	const char *fields = "";

	for (size_t i = 0; i < TP_ARRAY_LEN(sound); i++) {
		if (ends_with(target, sound[i].target))
			fields = sound[i].fields;
	}
	put(body, "{");
	put(body, fields);
	if (pick(2)) {
		put(body, *fields ? ", " : "");
		put_field(body);
	}
	put(body, "}");
}

static void put_body(struct tp_buf *body)
{
	switch (pick(12)) {
	case 0: /* deep */
		repeat(body, pick(2) ? "[" : "{\"a\":", pick(100000));
		return;
	case 1: /* huge */
		put(body, "{\"name\": \"");
		repeat(body, "aaaaaaaaaaaaaaaa", pick(80000));
		put(body, "\"}");
		return;
	case 2:
		for (uint32_t n = pick(300); n > 0; n--)
			*(uint8_t *)tp_buf_extend(body, 1) = (uint8_t)pick(256);
		return;
	default:
		break;
	}
	put(body, "{");
	for (uint32_t n = pick(5); n > 0; n--) {
		put_field(body);
		put(body, n > 1 ? ", " : "");
	}
	put(body, pick(20) ? "}" : "");
}

static void put_target(struct tp_buf *text, const char *target)
{
	const char *hole = strstr(target, "%I");
	/* In a random order: the first is as good as any. */
	const char *id = pick(8) ? world_ask("SELECT id FROM sessions ORDER BY random()")
				 : "zzzzzzzzzzzzzzzz";

	if (!hole) {
		put(text, target);
		return;
	}
	tp_buf_put(text, target, (size_t)(hole - target));
	put(text, id);
	put(text, hole + 2);
}

static void put_chunks(struct tp_buf *text, const struct tp_buf *body)
{
	static const char *const sizes[] = {"ffffffffffffffff\r\n", "-1\r\n", "0x10\r\n", "\r\n",
		"5;a=b\r\n", "g\r\n", "0\r\n"};
	size_t at = 0;
	char size[32];

	put(text, "Transfer-Encoding: chunked\r\n\r\n");
	while (at < body->len && pick(10)) {
		size_t some = 1 + pick(70000);
		size_t len = TP_MIN(body->len - at, some);
		snprintf(size, sizeof(size), "%zx\r\n", len);
		put(text, pick(12) ? size : PICK(sizes));
		tp_buf_put(text, body->data + at, len);
		put(text, pick(20) ? "\r\n" : "");
		at += len;
	}
	put(text, pick(6) ? "0\r\n\r\n" : "");
}

/* One that handlers see. */
static void put_sound_request(struct tp_buf *text)
{
	const char *target = PICK(targets);
	TP_BUF struct tp_buf body = {0};
	char head[256];

	put_sound_body(&body, target);
	put_target(text, target);
	snprintf(head, sizeof(head),
		" HTTP/1.1\r\nHost: h\r\nTorpor-Timeout: 2\r\nContent-Type: application/json\r\n"
		"%s\r\nContent-Length: %zu\r\n\r\n",
		pick(6) ? "X-Nothing: 0" : PICK(headers), body.len);
	put(text, head);
	tp_buf_put(text, body.data, body.len);
}

static void put_request(struct tp_buf *text)
{
	TP_BUF struct tp_buf body = {0};
	char length[64];

	if (pick(2)) {
		put_sound_request(text);
		return;
	}
	put_target(text, PICK(targets));
	put(text, pick(30) ? " HTTP/1.1\r\n" : " HTTP/9.9\r\n");
	for (uint32_t n = 1 + pick(4); n > 0; n--) {
		put(text, pick(3) ? headers[0] : PICK(headers));
		put(text, "\r\n");
	}
	if (pick(60) == 0) {
		put(text, "X-Long: ");
		repeat(text, "0123456789abcdef", pick(4000));
		put(text, "\r\n");
	}
	put_body(&body);
	put(text, pick(12) ? "Content-Type: application/json\r\n" : "");
	if (pick(5) == 0) {
		put_chunks(text, &body);
		return;
	}
	long wrong = pick(12) ? 0 : (long)pick(2000) - 1000;
	snprintf(length, sizeof(length), "Content-Length: %ld\r\n\r\n", (long)body.len + wrong);
	put(text, length);
	tp_buf_put(text, body.data, body.len);
}

static void spoil(struct tp_buf *text)
{
	for (uint32_t n = 1 + pick(5); n > 0 && text->len > 0; n--) {
		uint32_t at = pick((uint32_t)text->len);
		if (pick(8) == 0)
			text->len = at;
		else
			text->data[at] = (uint8_t)pick(256);
	}
}

/* --- sending --- */

static int connected(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	TP_FD int dir = open(world_dir(), O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* Its own path may be longer than an address. */
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/socket", dir);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		world_complain("nobody listens: %m");
	return fd;
}

/* As much as is taken within a moment. */
static void send_all(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len > 0) {
		struct pollfd ready = {.fd = fd, .events = POLLOUT};
		if (poll(&ready, 1, 200) <= 0)
			return;
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n <= 0)
			return;
		at += n;
		len -= (size_t)n;
	}
}

static void look_at_answer(int fd, const struct tp_buf *request)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	char answer[2048];
	int status;

	if (poll(&ready, 1, (int)pick(200)) <= 0)
		return;
	ssize_t n = recv(fd, answer, sizeof(answer) - 1, 0);
	if (n <= 0)
		return;
	answer[n] = '\0';
	if (sscanf(answer, "HTTP/1.%*d %d", &status) != 1 || status < 100 || status > 599) {
		world_complain("an answer begins with \"%.40s\"", answer);
		return;
	}
	statuses[status]++;
	if (status == 500)
		world_complain("%.400s\nis answered by\n%s", (const char *)request->data, answer);
}

/* Some are left open, to be gone on with later, or never. */
static int slow[SLOW_MAX];

static void go_on_slowly(void)
{
	int *fd = &PICK(slow);
	TP_BUF struct tp_buf text = {0};

	if (*fd >= 0 && pick(4)) {
		send_all(*fd, &"a\r\n{\"[0 "[pick(8)], 1);
		return;
	}
	tp_close(*fd);
	*fd = connected();
	put_request(&text);
	send_all(*fd, text.data, pick((uint32_t)text.len + 1));
}

static void one_round(void)
{
	TP_BUF struct tp_buf text = {0};
	TP_FD int fd = connected();

	for (uint32_t n = 1 + (pick(4) ? 0 : pick(5)); n > 0; n--)
		put_request(&text);
	if (pick(4) == 0)
		spoil(&text);
	tp_buf_put(&text, "", 1);
	send_all(fd, text.data, text.len - 1);
	if (pick(5) == 0)
		shutdown(fd, SHUT_WR);
	if (pick(3))
		look_at_answer(fd, &text);
	if (pick(4) == 0)
		go_on_slowly();
	sent++;
}

/* --- all of it --- */

/* Sound requests in between. Garbage may have made sessions and changed limits. */
static void look_after(void)
{
	world_do("GET", "/healthz", NULL);
	world_do("PATCH", "/v1/tenants/default", "{\"limits\": {\"sessions\": 5}}");
	world_do("PATCH", "/v1/tenants/alice", "{\"limits\": {\"sessions\": 2}}");
	if (atoi(world_ask("SELECT count(*) FROM sessions WHERE tenant = 'default'")) == 0)
		world_do("POST", "/v1/sessions", "{\"template\": \"minimal\"}");
}

static void read_log(void)
{
	TP_FREE char *path = tp_asprintf("%s/log", world_dir());
	FILE *f = fopen(path, "re");
	char line[1024];

	while (f && fgets(line, sizeof(line), f)) {
		if (strstr(line, "runtime error:") || strstr(line, "Sanitizer"))
			world_complain("%s", line);
	}
	if (f)
		fclose(f);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: it_garbage SECONDS SEED\n");
		return 2;
	}
	struct tp_call call = tp_call_within(strtoull(argv[1], NULL, 10) * TP_NSEC_PER_SEC);
	state = strtoull(argv[2], NULL, 10) * 2 + 1;
	for (size_t i = 0; i < SLOW_MAX; i++)
		slow[i] = -1;
	world_open("garbage", 0);
	world_label("seed %s", argv[2]);
	world_start(NULL);
	world_do("POST", "/v1/tenants", "{\"name\": \"alice\"}");
	while (tp_now_ns() < call.deadline_ns && world_lives()) {
		if (sent % 50 == 0)
			look_after();
		one_round();
	}
	for (size_t i = 0; i < SLOW_MAX; i++)
		tp_close(slow[i]);
	if (!world_lives())
		world_complain("torpord is dead");
	else
		look_after();
	world_check();
	world_close();
	read_log();
	printf("%lu connections, %u complaints; answers:", sent, world_complaints());
	for (unsigned int status = 0; status < TP_ARRAY_LEN(statuses); status++) {
		if (statuses[status] > 0)
			printf(" %u: %lu", status, statuses[status]);
	}
	printf("\n");
	return world_complaints() > 0;
}
