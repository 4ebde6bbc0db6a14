/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire between the engine and the helper in the guest, byte for byte in docs/GUEST.md.
 *
 * A frame is COBS-encoded and ended by one zero byte, the only zero on the wire, so a side that
 * lost its place (a park can cut a frame in half) finds it again there. Everything here is pure:
 * no input or output, no allocation, no dependency on the rest of the house. Integers are little
 * endian. What is decoded points into the bytes that were given; it is checked, and what it means
 * is the caller's to judge.
 */
#ifndef TP_GUEST_WIRE_H
#define TP_GUEST_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TP_WIRE_VERSION	    1u
#define TP_WIRE_HEADER	    8u /* version, type, flags, stream */
#define TP_WIRE_CHECK	    4u /* XXH32, seed 0, of all before */
#define TP_WIRE_MAX_PAYLOAD 16384u
#define TP_WIRE_MAX_FRAME   (TP_WIRE_HEADER + TP_WIRE_MAX_PAYLOAD + TP_WIRE_CHECK)

/* On the wire a frame of LEN bytes takes at most this many, the zero at its end included. */
#define TP_WIRE_ENCODED(len) ((len) + (len) / 254u + 2u)
#define TP_WIRE_MAX_ENCODED  TP_WIRE_ENCODED(TP_WIRE_MAX_FRAME)

#define TP_WIRE_MAX_COMMANDS 32u   /* that run at a time, those that are detached aside */
#define TP_WIRE_MAX_STRINGS  512u  /* argv and env of a command together */
#define TP_WIRE_MAX_CWD	     1024u /* bytes, without the NUL */
#define TP_WIRE_MAX_TEXT     128u  /* of a FAILED */
#define TP_WIRE_MAX_HOSTNAME 64u   /* as Linux has it */
#define TP_WIRE_MIN_SEED     32u
#define TP_WIRE_MAX_SEED     64u
#define TP_WIRE_ID_SIZE	     16u /* boot id, machine id */
#define TP_WIRE_MAX_BUILD    32u

/* Bytes of standard input that may be on the way to a command before the guest grants more. */
#define TP_WIRE_STDIN_WINDOW 32768u

enum tp_wire_type {
	/* host to guest */
	TP_WIRE_PING = 0x01,	  /* nonce, flags */
	TP_WIRE_FRESH = 0x02,	  /* make this clone one of its own */
	TP_WIRE_EXEC = 0x03,	  /* start a command as a new stream */
	TP_WIRE_STDIN = 0x04,	  /* bytes */
	TP_WIRE_STDIN_EOF = 0x05, /* nothing */
	TP_WIRE_SIGNAL = 0x06,	  /* u32: to the command's process group */
	TP_WIRE_DETACH = 0x07,	  /* nothing: the host reads this stream no more */
	/* both ways */
	TP_WIRE_CREDIT = 0x20, /* u32: so many bytes more may be sent (output or input) */
	/* guest to host */
	TP_WIRE_HELLO = 0x41, /* the helper has opened the port */
	TP_WIRE_PONG = 0x42,
	TP_WIRE_FRESH_DONE = 0x43,
	TP_WIRE_STARTED = 0x44, /* u32 pid */
	TP_WIRE_STDOUT = 0x45,	/* bytes */
	TP_WIRE_STDERR = 0x46,	/* bytes */
	TP_WIRE_EXIT = 0x47,	/* u8 kind, i32 value; the stream is over */
	TP_WIRE_FAILED = 0x48,	/* i32 errno, text: could not be started; the stream is over */
};

/* A decoded frame. PAYLOAD belongs to the decoder, until it is fed again. */
struct tp_wire_frame {
	uint8_t type; /* any value: the other side may be newer */
	uint32_t stream;
	const uint8_t *payload;
	uint32_t len;
};

/*
 * One frame being made: the payload is written in place, the rest around it. 16 KiB: on the
 * stack of the host, static in the guest.
 */
struct tp_wire_out {
	uint8_t bytes[TP_WIRE_MAX_FRAME];
	uint32_t len; /* of the payload */
	bool full;    /* something didn't fit */
};

void tp_wire_begin(struct tp_wire_out *out, enum tp_wire_type type, uint32_t stream);
static inline uint8_t *tp_wire_payload(struct tp_wire_out *out)
{
	return out->bytes + TP_WIRE_HEADER;
}
void tp_wire_put(struct tp_wire_out *out, const void *bytes, size_t len);
void tp_wire_put_u8(struct tp_wire_out *out, uint8_t v);
void tp_wire_put_u16(struct tp_wire_out *out, uint16_t v);
void tp_wire_put_u32(struct tp_wire_out *out, uint32_t v);
void tp_wire_put_u64(struct tp_wire_out *out, uint64_t v);

/*
 * Completes the frame and writes it encoded to TO, which has room for
 * TP_WIRE_ENCODED(TP_WIRE_HEADER + out->len + TP_WIRE_CHECK). Returns how many bytes it took.
 * Not to be called when out->full.
 */
size_t tp_wire_encode(struct tp_wire_out *out, uint8_t *to);

struct tp_wire_decoder {
	uint32_t len;	/* bytes of the frame so far */
	uint8_t left;	/* bytes of the present COBS block still to come */
	bool zero;	/* a zero belongs behind this block if another follows */
	bool bad;	/* skipping up to the next zero */
	uint64_t drops; /* frames that were damaged, cut, too long or of another version */
	uint8_t bytes[TP_WIRE_MAX_FRAME];
};

void tp_wire_decoder_init(struct tp_wire_decoder *dec);

/*
 * Feeds bytes up to the end of the next sound frame, or all of them. Returns how many were used;
 * *FOUND says whether *FRAME is there. Damaged frames are counted and passed over.
 */
size_t tp_wire_decode(struct tp_wire_decoder *dec, const uint8_t *bytes, size_t len,
	struct tp_wire_frame *frame, bool *found);

/* --- the payloads. put_*: whole, into a begun frame. get_*: false if malformed. --- */

#define TP_WIRE_PING_ATTACH 1u /* this host is new here: every stream of before is detached */

struct tp_wire_ping {
	uint64_t nonce;
	uint32_t flags;
};
void tp_wire_put_ping(struct tp_wire_out *out, const struct tp_wire_ping *ping);
bool tp_wire_get_ping(const struct tp_wire_frame *frame, struct tp_wire_ping *ping);

enum tp_wire_step {
	TP_WIRE_STEP_SEED = 1u << 0,
	TP_WIRE_STEP_CLOCK = 1u << 1,
	TP_WIRE_STEP_HOSTNAME = 1u << 2,
	TP_WIRE_STEP_MACHINE_ID = 1u << 3,
	/* By itself: adds realtime_ns, which may be negative, to the clock, however late it comes.
	 */
	TP_WIRE_STEP_CLOCK_SHIFT = 1u << 4,
	/* With others: the machine goes on with the same host, so its commands stay attached. */
	TP_WIRE_STEP_KEEP = 1u << 5,
};
#define TP_WIRE_ALL_STEPS 15u /* what a new clone wants */

struct tp_wire_fresh {
	uint64_t nonce;
	uint32_t steps; /* wanted */
	int64_t realtime_ns;
	uint8_t machine_id[TP_WIRE_ID_SIZE];
	uint8_t seed_len; /* TP_WIRE_MIN_SEED to MAX if seeding is wanted, or 0 */
	uint8_t hostname_len;
	const uint8_t *seed;
	const char *hostname; /* no NUL, no slash, not ended */
};
void tp_wire_put_fresh(struct tp_wire_out *out, const struct tp_wire_fresh *fresh);
bool tp_wire_get_fresh(const struct tp_wire_frame *frame, struct tp_wire_fresh *fresh);
/* 1 to TP_WIRE_MAX_HOSTNAME printable characters, no blank, no slash. */
bool tp_wire_hostname_is_sound(const char *name, size_t len);

struct tp_wire_fresh_done {
	uint64_t nonce;
	uint32_t done;	     /* steps */
	uint32_t failed;     /* steps; no step is in both */
	int32_t error;	     /* errno of the first that failed, or 0 */
	uint32_t count;	     /* of FRESH since the helper was started, this one included */
	int64_t realtime_ns; /* read back afterwards */
	int64_t boottime_ns;
};
void tp_wire_put_fresh_done(struct tp_wire_out *out, const struct tp_wire_fresh_done *done);
bool tp_wire_get_fresh_done(const struct tp_wire_frame *frame, struct tp_wire_fresh_done *done);

#define TP_WIRE_EXEC_STDIN	  1u /* standard input comes from the host; else it is empty */
#define TP_WIRE_EXEC_MERGE_STDERR 2u /* standard error goes where standard output goes */
#define TP_WIRE_EXEC_FLAGS	  3u

struct tp_wire_exec {
	uint32_t flags;
	uint32_t window; /* bytes of output that may be sent before more is granted */
	uint16_t argc;	 /* at least 1 */
	uint16_t envc;	 /* 0: the helper's own environment */
	const char *cwd; /* "" for / */
};
/* ARGV and ENV aren't NULL-terminated here: EXEC has their lengths. */
void tp_wire_put_exec(struct tp_wire_out *out, const struct tp_wire_exec *exec,
	const char *const *argv, const char *const *env);
/* STRINGS gets argc + envc pointers into the payload, each to a string that ends within it. */
bool tp_wire_get_exec(const struct tp_wire_frame *frame, struct tp_wire_exec *exec,
	const char *strings[TP_WIRE_MAX_STRINGS]);

struct tp_wire_hello {
	uint32_t protocol; /* TP_WIRE_VERSION of the helper */
	uint8_t boot_id[TP_WIRE_ID_SIZE];
	char build[TP_WIRE_MAX_BUILD + 1]; /* printable */
};
void tp_wire_put_hello(struct tp_wire_out *out, const struct tp_wire_hello *hello);
bool tp_wire_get_hello(const struct tp_wire_frame *frame, struct tp_wire_hello *hello);

struct tp_wire_pong {
	uint64_t nonce;
	uint8_t boot_id[TP_WIRE_ID_SIZE];
	int64_t realtime_ns;
};
void tp_wire_put_pong(struct tp_wire_out *out, const struct tp_wire_pong *pong);
bool tp_wire_get_pong(const struct tp_wire_frame *frame, struct tp_wire_pong *pong);

enum tp_wire_exit_kind {
	TP_WIRE_EXITED = 0,   /* value: 0 to 255 */
	TP_WIRE_SIGNALED = 1, /* value: the signal */
};

struct tp_wire_exit {
	uint8_t kind;
	int32_t value;
};
void tp_wire_put_exit(struct tp_wire_out *out, const struct tp_wire_exit *ex);
bool tp_wire_get_exit(const struct tp_wire_frame *frame, struct tp_wire_exit *ex);

struct tp_wire_failed {
	int32_t error;			 /* errno, never 0 */
	char text[TP_WIRE_MAX_TEXT + 1]; /* printable; what was being done */
};
void tp_wire_put_failed(struct tp_wire_out *out, const struct tp_wire_failed *failed);
bool tp_wire_get_failed(const struct tp_wire_frame *frame, struct tp_wire_failed *failed);

/* SIGNAL, CREDIT, STARTED: one u32. */
bool tp_wire_get_u32(const struct tp_wire_frame *frame, uint32_t *value);

#endif
