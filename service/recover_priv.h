/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery's parts: recover_guests.c takes guests over, recover_images.c compares files. */
#ifndef TP_SERVICE_RECOVER_PRIV_H
#define TP_SERVICE_RECOVER_PRIV_H

#include "service/recover.h"
#include "service/service_priv.h"

/* What is found where a session's park image should be. */
struct tp_found_image {
	bool there;
	bool newer; /* than the record: a park that was not committed any more */
	char uuid[37];
	uint64_t bytes;
	uint64_t created_ns;
	char *damage; /* why it can't be read; NULL: it can, or isn't there. Owned */
};

/* A session that is recorded as having a process. */
struct tp_found {
	struct tp_session_row row;
	struct torpor_session *core; /* its guest, taken over; NULL: it is gone */
	char *gone;		     /* why; owned */
	struct tp_found_image image;
};

struct tp_recovery {
	struct tp_service *service;
	struct tp_found *found; /* in the order of their ids */
	size_t n_found;
	struct tp_change *change; /* what is to be committed; NULL once it is */
	bool changed;		  /* there is something in it */
	/* Files under images/ that no record needs; owned. */
	char **strays;
	size_t n_strays;
	/* For the log. */
	unsigned int adopted, parked, failed, images_lost;
};

/* Fills in `found`, and takes over their guests, several at a time. */
struct torpor_error *tp_recover_guests(struct tp_recovery *recovery) TP_MUST_USE;
struct tp_found *tp_recovery_find(struct tp_recovery *recovery, const char *id);

/* Looks at the session's park image. On any thread. */
void tp_recover_look(const struct tp_service *service, const char *id, const char *uuid,
	struct tp_found_image *image_out);
/* Compares all names: fills in `strays`, and puts what lacks its file right. */
struct torpor_error *tp_recover_images(struct tp_recovery *recovery) TP_MUST_USE;

#endif
