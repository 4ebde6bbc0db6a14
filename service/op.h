/* SPDX-License-Identifier: Apache-2.0 */
/* What operations on a session have in common. */
#ifndef TP_SERVICE_OP_H
#define TP_SERVICE_OP_H

#include "service/service_priv.h"

/* {"session": id}: what a repeated request's answer is made of. A new reference. */
json_t *tp_op_result(const char *id);

/* The entry of an operation NAME on session ID, which may be nonsense. RESULT is borrowed. */
struct tp_op tp_op_on(const struct tp_actor *actor, const char *name, const char *id, int status,
	const json_t *result);

/* The session, if ACTOR has PERM on it; its tenant has asked for something, unless that is torpord
 * itself. To be put. */
struct torpor_error *tp_op_get(struct tp_service *service, const struct tp_actor *actor,
	enum tp_perm perm, const char *id, struct tp_live **live_out) TP_MUST_USE;

/* Nothing was to be done: that is an outcome too. */
struct torpor_error *tp_op_done_already(struct tp_service *service, const struct tp_op *op,
	struct tp_live *live, json_t **view_out) TP_MUST_USE;

/* images/NAME as a path, the caller's to free. */
char *tp_image_file(struct tp_service *service, const char *name) TP_MUST_USE;
/* Removes images/NAME; what isn't there is fine, what can't be removed is logged. */
void tp_image_unlink(struct tp_service *service, const char *name);

/* Ends the guest that LIVE (an operation's) has, and detaches it. */
void tp_op_end_guest(struct tp_service *service, struct tp_live *live);

/* Gives back what a session with a process has: its group, and its place. */
void tp_op_give_place(struct tp_service *service, const struct tp_live *live);

/* LIMIT "draining" once the service is about to end. */
struct torpor_error *tp_op_check_accepting(struct tp_service *service) TP_MUST_USE;

/* A name made up from another one; a host name made of a session's. The caller's to free. */
char *tp_op_make_name(const char *from) TP_MUST_USE;
char *tp_op_hostname(const char *name) TP_MUST_USE;

/* INFO's number under KEY goes up by BY. */
void tp_info_add(json_t *info, const char *key, uint64_t by);
/* Puts TIMING (taken) under "last", KEY. */
void tp_info_last(json_t *info, const char *key, json_t *timing);

#endif
