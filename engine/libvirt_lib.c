/* SPDX-License-Identifier: Apache-2.0 */
/* Loading libvirt. */
#include "engine/libvirt_lib.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

#define LIBRARY	     "libvirt.so.0"
#define QEMU_LIBRARY "libvirt-qemu.so.0"

struct tp_vir tp_vir;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char *why_not; /* NULL: it is loaded */
static pthread_once_t events_once = PTHREAD_ONCE_INIT;
static char *why_no_events;

/* What goes wrong comes back from each call; nothing is printed. */
static void say_nothing(void *data, virErrorPtr err)
{
	(void)data;
	(void)err;
}

static void *run_events(void *data)
{
	(void)data;
	for (;;) {
		if (tp_vir.virEventRunDefaultImpl() < 0)
			tp_log(TP_LOG_WARNING, "libvirt's event loop: %s",
				tp_vir.virGetLastErrorMessage());
	}
	return NULL;
}

static bool find(void *library, const char *name, void **function_out)
{
	*function_out = dlsym(library, name);
	if (!*function_out)
		why_not = tp_asprintf("it has no %s: libvirt 9.0 or later is needed", name);
	return *function_out;
}

static bool find_all(void *library, void *qemu_library)
{
#define FIND(name)                                                                                 \
	if (!find(library, #name, (void **)&tp_vir.name))                                          \
		return false;
#define FIND_QEMU(name)                                                                            \
	if (!find(qemu_library, #name, (void **)&tp_vir.name))                                     \
		return false;
	TP_VIR_FUNCTIONS(FIND)
	TP_VIR_QEMU_FUNCTIONS(FIND_QEMU)
#undef FIND
#undef FIND_QEMU
	return true;
}

static void load(void)
{
	/* Never closed: a thread may run in it. */
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	void *qemu_library = library ? dlopen(QEMU_LIBRARY, RTLD_NOW | RTLD_LOCAL) : NULL;

	if (!qemu_library) {
		why_not = tp_strdup(dlerror());
		return;
	}
	if (!find_all(library, qemu_library))
		return;
	tp_vir.virSetErrorFunc(NULL, say_nothing);
}

struct torpor_error *tp_vir_load(void)
{
	pthread_once(&once, load);
	if (!why_not)
		return NULL;
	return tp_error_hint(tp_error(TORPOR_E_UNSUPPORTED, "load", "libvirt", "%s", why_not),
		"Install libvirt's client library (Debian: libvirt0), or use the launcher "
		"\"direct\", which needs none.");
}

static void start_events(void)
{
	pthread_t thread;

	if (tp_vir.virEventRegisterDefaultImpl() < 0) {
		why_no_events = tp_strdup(tp_vir.virGetLastErrorMessage());
		return;
	}
	int errnum = pthread_create(&thread, NULL, run_events, NULL);
	if (errnum)
		why_no_events = tp_asprintf("no thread for its events: %s", strerror(errnum));
	else
		pthread_detach(thread);
}

struct torpor_error *tp_vir_load_with_events(void)
{
	TP_TRY(tp_vir_load());
	pthread_once(&events_once, start_events);
	if (why_no_events)
		return tp_error(TORPOR_E_UNSUPPORTED, "listen to", "libvirt", "%s", why_no_events);
	return NULL;
}

static enum torpor_errc code_of(int code)
{
	switch (code) {
	case VIR_ERR_NO_DOMAIN:
		return TORPOR_E_NOT_FOUND;
	case VIR_ERR_AUTH_FAILED:
	case VIR_ERR_AUTH_CANCELLED:
	case VIR_ERR_AUTH_UNAVAILABLE:
	case VIR_ERR_ACCESS_DENIED:
	case VIR_ERR_OPERATION_DENIED:
		return TORPOR_E_DENIED;
	case VIR_ERR_OPERATION_INVALID:
		return TORPOR_E_BUSY;
	case VIR_ERR_NO_SUPPORT:
	case VIR_ERR_OPERATION_UNSUPPORTED:
	case VIR_ERR_CONFIG_UNSUPPORTED:
		return TORPOR_E_UNSUPPORTED;
	default:
		return TORPOR_E_QEMU;
	}
}

struct torpor_error *tp_vir_error(const char *step, const char *object)
{
	return tp_error(code_of(tp_vir.virGetLastErrorCode()), step, object, "libvirt: %s",
		tp_vir.virGetLastErrorMessage());
}
