/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors: what failed, on which object, why, and what to do.
 *
 * The contract, for the public interface and for everything inside:
 *   - A function that can fail returns NULL on success, else an error that the caller owns.
 *   - On failure outputs are untouched, unless the function's comment says otherwise.
 *   - Whoever receives an error hands it on (perhaps with a step of its own around it),
 *     handles it and frees it, or both reports and frees it. No error is dropped silently.
 *   - Small allocations don't fail: running out of them aborts. Large ones (guest-sized
 *     buffers) return TORPOR_E_NOMEM.
 */
#ifndef TORPOR_ERROR_H
#define TORPOR_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

enum torpor_errc {
	TORPOR_E_INVALID = 1, /* the request itself makes no sense */
	TORPOR_E_NOT_FOUND,   /* the object named doesn't exist */
	TORPOR_E_EXISTS,      /* the object named exists already */
	TORPOR_E_BUSY,	      /* the object can't do this in its present state */
	TORPOR_E_TIMEOUT,     /* the deadline passed */
	TORPOR_E_CANCELLED,   /* the caller cancelled */
	TORPOR_E_NOMEM,	      /* not enough memory */
	TORPOR_E_NOSPACE,     /* not enough room on the disk */
	TORPOR_E_IO,	      /* the system failed to read or write */
	TORPOR_E_CORRUPT,     /* stored data is damaged */
	TORPOR_E_MISMATCH,    /* sound data, but not for this template, machine or QEMU */
	TORPOR_E_UNSUPPORTED, /* this host or this QEMU can't do it */
	TORPOR_E_DENIED,      /* rights are missing */
	TORPOR_E_QEMU,	      /* QEMU refused, or ended when it shouldn't have */
	TORPOR_E_GUEST,	      /* the guest did not answer, or answered nonsense */
	TORPOR_E_LIMIT,	      /* a configured bound was reached */
	TORPOR_E_INTERNAL,    /* a defect in Torpor */
};

/* An error. Opaque; owned by whoever received it; not shared between threads. */
struct torpor_error;

/* Frees ERR. Takes NULL. Returns NULL. */
struct torpor_error *torpor_error_free(struct torpor_error *err);

/* The kind of failure, for programs. */
enum torpor_errc torpor_error_code(const struct torpor_error *err);

/* The name of CODE in lower case, such as "not-found"; static storage. */
const char *torpor_errc_name(enum torpor_errc code);

/*
 * One line for people: "STEP OBJECT: ... : why". Without the hint. Valid as long as ERR.
 * Steps are given from the outermost to the innermost.
 */
const char *torpor_error_message(const struct torpor_error *err);

/* What the user can do about it, or NULL where nothing useful can be said. Valid as long as ERR. */
const char *torpor_error_hint(const struct torpor_error *err);

/*
 * Of a refusal: why, as a short word ("tenant-sessions"; static storage), and after how many
 * seconds it may be worth asking again. NULL and 0 for all others.
 */
const char *torpor_error_reason(const struct torpor_error *err);
unsigned int torpor_error_retry_after(const struct torpor_error *err);

/* The system's errno behind the failure, or 0. */
int torpor_error_errno(const struct torpor_error *err);

#ifdef __cplusplus
}
#endif

#endif
