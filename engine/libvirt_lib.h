/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libvirt's client library, loaded when somebody wants it: a Torpor that runs QEMU itself neither
 * needs it installed nor pays for its start.
 */
#ifndef TP_ENGINE_LIBVIRT_LIB_H
#define TP_ENGINE_LIBVIRT_LIB_H

#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "base/error.h"

#define TP_VIR_FUNCTIONS(X)                                                                        \
	X(virConnectClose)                                                                         \
	X(virConnectDomainEventDeregisterAny)                                                      \
	X(virConnectDomainEventRegisterAny)                                                        \
	X(virConnectDomainXMLToNative)                                                             \
	X(virConnectGetCapabilities)                                                               \
	X(virConnectGetType)                                                                       \
	X(virConnectListAllDomains)                                                                \
	X(virConnectOpen)                                                                          \
	X(virConnectRef)                                                                           \
	X(virConnectRegisterCloseCallback)                                                         \
	X(virConnectSetKeepAlive)                                                                  \
	X(virConnectUnregisterCloseCallback)                                                       \
	X(virDomainCreateXML)                                                                      \
	X(virDomainDestroy)                                                                        \
	X(virDomainDestroyFlags)                                                                   \
	X(virDomainFree)                                                                           \
	X(virDomainGetMetadata)                                                                    \
	X(virDomainGetName)                                                                        \
	X(virDomainGetState)                                                                       \
	X(virDomainGetUUID)                                                                        \
	X(virDomainGetUUIDString)                                                                  \
	X(virDomainGetXMLDesc)                                                                     \
	X(virDomainIsActive)                                                                       \
	X(virDomainLookupByName)                                                                   \
	X(virDomainLookupByUUIDString)                                                             \
	X(virDomainResume)                                                                         \
	X(virDomainSetBlkioParameters)                                                             \
	X(virDomainSetMemoryParameters)                                                            \
	X(virDomainSetMetadata)                                                                    \
	X(virDomainSetSchedulerParametersFlags)                                                    \
	X(virDomainSuspend)                                                                        \
	X(virEventRegisterDefaultImpl)                                                             \
	X(virEventRunDefaultImpl)                                                                  \
	X(virGetLastErrorCode)                                                                     \
	X(virGetLastErrorMessage)                                                                  \
	X(virSetErrorFunc)                                                                         \
	X(virTypedParamsAddLLong)                                                                  \
	X(virTypedParamsAddString)                                                                 \
	X(virTypedParamsAddULLong)                                                                 \
	X(virTypedParamsFree)

#define TP_VIR_QEMU_FUNCTIONS(X)                                                                   \
	X(virConnectDomainQemuMonitorEventDeregister)                                              \
	X(virConnectDomainQemuMonitorEventRegister)                                                \
	X(virDomainQemuAgentCommand)                                                               \
	X(virDomainQemuMonitorCommand)                                                             \
	X(virDomainQemuMonitorCommandWithFiles)

struct tp_vir {
#define TP_VIR_MEMBER(name) __typeof__(&(name)) name;
	TP_VIR_FUNCTIONS(TP_VIR_MEMBER)
	TP_VIR_QEMU_FUNCTIONS(TP_VIR_MEMBER)
#undef TP_VIR_MEMBER
};

/* Filled by tp_vir_load; libvirt's functions under their own names. */
extern struct tp_vir tp_vir;

/* Loads libvirt, once. UNSUPPORTED if it isn't installed. Any thread. */
struct torpor_error *tp_vir_load(void) TP_MUST_USE;

/*
 * The same, and starts the thread that runs libvirt's event loop for the rest of the process's life
 * (its default implementation: who uses libvirt beside Torpor in one process does so through the
 * same loop). Before the first connection that events are wanted of.
 */
struct torpor_error *tp_vir_load_with_events(void) TP_MUST_USE;

/* libvirt's last error on this thread, as one of Torpor's. */
struct torpor_error *tp_vir_error(const char *step, const char *object) TP_MUST_USE;

static inline void tp_vir_domain_free_(virDomainPtr *domain)
{
	if (*domain)
		tp_vir.virDomainFree(*domain);
}
#define TP_VIR_DOMAIN __attribute__((cleanup(tp_vir_domain_free_)))

static inline void tp_vir_conn_close_(virConnectPtr *conn)
{
	if (*conn)
		tp_vir.virConnectClose(*conn);
}
#define TP_VIR_CONN __attribute__((cleanup(tp_vir_conn_close_)))

#endif
