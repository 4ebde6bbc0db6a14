/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After the process that ran the service ended, however it did: records, processes, run directory
 * and image files are brought to agree. docs/ARCHITECTURE.md has what becomes of what is found.
 */
#ifndef TP_SERVICE_RECOVER_H
#define TP_SERVICE_RECOVER_H

#include "service/service.h"

/*
 * Once, while nobody else uses the service. Sessions whose guests run are live and admitted
 * afterwards. May be killed and run again.
 */
struct torpor_error *tp_recover(struct tp_service *service) TP_MUST_USE;

#endif
