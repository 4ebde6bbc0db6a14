/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Probes: places by name where a tracer can look at a program that runs (USDT; torpor-probes(7)).
 *
 * A probe is one nop, and a note in the file that says where it is and where its arguments are;
 * nothing else happens until a tracer puts a breakpoint there. So arguments are what is at hand: no
 * work, and nothing with an effect, since without sys/sdt.h (option `probes`) they aren't evaluated
 * at all.
 *
 * Provider is "torpor", `family__step` shows as "family__step". The first argument is what the step
 * belongs to, so that the steps of one operation can be put together whatever thread they are on.
 * Names and arguments are public: man/torpor-probes.7.scd lists them all, and a test compares.
 */
#ifndef TP_BASE_PROBE_H
#define TP_BASE_PROBE_H

#ifdef TP_WITH_PROBES

#include <sys/sdt.h>

#define TP_PROBE1(name, a)	 STAP_PROBE1(torpor, name, a)
#define TP_PROBE2(name, a, b)	 STAP_PROBE2(torpor, name, a, b)
#define TP_PROBE3(name, a, b, c) STAP_PROBE3(torpor, name, a, b, c)

#else

/* Looked at by the compiler, for warnings' sake, and thrown away. */
#define TP_PROBE1(name, a)	 ((void)sizeof((a)))
#define TP_PROBE2(name, a, b)	 ((void)sizeof((a)), (void)sizeof((b)))
#define TP_PROBE3(name, a, b, c) ((void)sizeof((a)), (void)sizeof((b)), (void)sizeof((c)))

#endif

#endif
