/* SPDX-License-Identifier: Apache-2.0 */
/* Errors that keep their step, object and cause up to the user. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

struct torpor_error {
	enum torpor_errc code;
	int errnum;
	char *message;
	char *hint;
	const char *reason; /* static */
	unsigned int retry_after_s;
};

static const char *const errc_names[] = {
	[TORPOR_E_INVALID] = "invalid",
	[TORPOR_E_NOT_FOUND] = "not-found",
	[TORPOR_E_EXISTS] = "exists",
	[TORPOR_E_BUSY] = "busy",
	[TORPOR_E_TIMEOUT] = "timeout",
	[TORPOR_E_CANCELLED] = "cancelled",
	[TORPOR_E_NOMEM] = "no-memory",
	[TORPOR_E_NOSPACE] = "no-space",
	[TORPOR_E_IO] = "io",
	[TORPOR_E_CORRUPT] = "corrupt",
	[TORPOR_E_MISMATCH] = "mismatch",
	[TORPOR_E_UNSUPPORTED] = "unsupported",
	[TORPOR_E_DENIED] = "denied",
	[TORPOR_E_QEMU] = "qemu",
	[TORPOR_E_GUEST] = "guest",
	[TORPOR_E_LIMIT] = "limit",
	[TORPOR_E_INTERNAL] = "internal",
};

static_assert(TP_ARRAY_LEN(errc_names) == TORPOR_E_INTERNAL + 1, "every code has a name");

const char *torpor_errc_name(enum torpor_errc code)
{
	if (code < TORPOR_E_INVALID || code > TORPOR_E_INTERNAL)
		return "unknown";
	return errc_names[code];
}

static enum torpor_errc errc_of_errno(int errnum)
{
	switch (errnum) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return TORPOR_E_NOSPACE;
	case EPERM:
	case EACCES:
	case EROFS:
		return TORPOR_E_DENIED;
	case ENOMEM:
		return TORPOR_E_NOMEM;
	case ENOENT:
		return TORPOR_E_NOT_FOUND;
	case EEXIST:
		return TORPOR_E_EXISTS;
	case ETIMEDOUT:
		return TORPOR_E_TIMEOUT;
	case EINVAL:
	case ENAMETOOLONG:
		return TORPOR_E_INVALID;
	case ENOSYS:
	case EOPNOTSUPP:
		return TORPOR_E_UNSUPPORTED;
	case EMFILE:
	case ENFILE:
		return TORPOR_E_LIMIT;
	default:
		return TORPOR_E_IO;
	}
}

static struct torpor_error *error_new(enum torpor_errc code, int errnum, char *message)
{
	struct torpor_error *err = tp_calloc(1, sizeof(*err));

	err->code = code;
	err->errnum = errnum;
	err->message = message;
	return err;
}

static char *with_step(const char *step, const char *object, const char *rest)
{
	if (object)
		return tp_asprintf("%s %s: %s", step, object, rest);
	return tp_asprintf("%s: %s", step, rest);
}

struct torpor_error *tp_error(
	enum torpor_errc code, const char *step, const char *object, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	TP_FREE char *why = tp_vasprintf(fmt, ap);
	va_end(ap);
	return error_new(code, 0, with_step(step, object, why));
}

struct torpor_error *tp_error_errno(int errnum, const char *step, const char *object)
{
	return error_new(
		errc_of_errno(errnum), errnum, with_step(step, object, strerrordesc_np(errnum)));
}

struct torpor_error *tp_error_in(struct torpor_error *err, const char *step, const char *object)
{
	if (!err)
		return NULL;

	TP_FREE char *inner = TP_TAKE(err->message);
	err->message = with_step(step, object, inner);
	return err;
}

struct torpor_error *tp_error_hint(struct torpor_error *err, const char *fmt, ...)
{
	va_list ap;

	if (!err || err->hint)
		return err;
	va_start(ap, fmt);
	err->hint = tp_vasprintf(fmt, ap);
	va_end(ap);
	return err;
}

struct torpor_error *tp_error_refusal(
	struct torpor_error *err, const char *reason, unsigned int retry_after_s)
{
	if (err) {
		err->reason = reason;
		err->retry_after_s = retry_after_s;
	}
	return err;
}

struct torpor_error *tp_error_recode(struct torpor_error *err, enum torpor_errc code)
{
	if (err)
		err->code = code;
	return err;
}

struct torpor_error *tp_error_first(struct torpor_error *first, struct torpor_error *later)
{
	if (!first)
		return later;
	tp_error_log(later);
	return first;
}

void tp_error_log(struct torpor_error *err)
{
	if (!err)
		return;
	tp_log(TP_LOG_WARNING, "%s", err->message);
	torpor_error_free(err);
}

struct torpor_error *torpor_error_free(struct torpor_error *err)
{
	if (err) {
		free(err->message);
		free(err->hint);
		free(err);
	}
	return NULL;
}

enum torpor_errc torpor_error_code(const struct torpor_error *err)
{
	return err->code;
}

const char *torpor_error_message(const struct torpor_error *err)
{
	return err->message;
}

const char *torpor_error_hint(const struct torpor_error *err)
{
	return err->hint;
}

const char *torpor_error_reason(const struct torpor_error *err)
{
	return err->reason;
}

unsigned int torpor_error_retry_after(const struct torpor_error *err)
{
	return err->retry_after_s;
}

int torpor_error_errno(const struct torpor_error *err)
{
	return err->errnum;
}
