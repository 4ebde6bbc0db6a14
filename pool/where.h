/* SPDX-License-Identifier: Apache-2.0 */
/* What a park should tell of where its image can be resumed. */
#ifndef TP_POOL_WHERE_H
#define TP_POOL_WHERE_H

#include "pool/template.h"

/*
 * What makes images of TMPL's sessions harder to resume than others, for people; NULL: nothing.
 * Costs a look at two files, unless QEMU's has changed: then it is asked anew. The caller's.
 */
char *tp_template_doubt(const struct torpor_template *tmpl, const struct tp_call *call) TP_MUST_USE;

#endif
