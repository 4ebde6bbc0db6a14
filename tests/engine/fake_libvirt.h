/* SPDX-License-Identifier: Apache-2.0 */
/* libvirt's client library with this test behind it: connections that are lost when it wants. */
#ifndef TP_TESTS_ENGINE_FAKE_LIBVIRT_H
#define TP_TESTS_ENGINE_FAKE_LIBVIRT_H

#include <stdbool.h>

#include "engine/libvirt_lib.h"

/* Connections from number FROM (0 is the first) to before END are lost as soon as they are made. */
void fake_libvirt(unsigned int from, unsigned int end);

/* The Nth that was made. */
virConnectPtr fake_connection(unsigned int n);

/* libvirtd closes it, and libvirt tells so, once. */
void fake_close(virConnectPtr conn);

#endif
