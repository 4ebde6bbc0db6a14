/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's log: lines on standard error. On a terminal for people, else with the priority in
 * front ("<4>"), as journald takes it (sd-daemon(3)).
 */
#ifndef TP_DAEMON_LOG_H
#define TP_DAEMON_LOG_H

#include "base/log.h"

/* From now on tp_log writes there. Any time. */
void tp_daemon_log_start(enum tp_log_level least);
/* What is below LEAST isn't written. */
void tp_daemon_log_level(enum tp_log_level least);

/* For struct torpor_engine_options. */
void tp_daemon_log_line(void *data, int level, const char *line);

#endif
