/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fault points: places where a test has the process die, as by `kill -9`, or an operation fail.
 *
 * The environment variable TORPOR_FAULT names one: "NAME" dies there, "NAME:N" the Nth time it is
 * reached, "NAME:N:fail" makes that one fail instead (where the place can). Without it a point
 * costs a load and a branch. Nothing reads the variable before tp_fault_init is called.
 */
#ifndef TP_BASE_FAULT_H
#define TP_BASE_FAULT_H

#include <stdbool.h>

#include "base/error.h"

/* Reads TORPOR_FAULT, also anew; while no other thread can pass a point. */
void tp_fault_init(void);

/* Dies here if NAME is named. */
void tp_fault(const char *name);

/* The same; or IO if NAME is to fail. */
struct torpor_error *tp_fault_check(const char *name) TP_MUST_USE;

#endif
