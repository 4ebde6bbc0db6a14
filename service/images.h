/* SPDX-License-Identifier: Apache-2.0 */
/* The images of a session, as recorded. */
#ifndef TP_SERVICE_IMAGES_H
#define TP_SERVICE_IMAGES_H

#include "service/service_priv.h"

struct tp_images {
	struct tp_image_row *rows; /* owned */
	size_t count;
	uint64_t bytes; /* of all */
};

struct torpor_error *tp_images_read(
	struct tp_service *service, const char *id, struct tp_images *images_out) TP_MUST_USE;
void tp_images_deinit(struct tp_images *images);
static inline void tp_images_deinit_cleanup_(struct tp_images *images)
{
	tp_images_deinit(images);
}
#define TP_IMAGES __attribute__((cleanup(tp_images_deinit_cleanup_)))

#define TP_PARK_LABEL "park" /* how a park shows among the images */

/* The checkpoint of that label, or NULL. */
const struct tp_image_row *tp_images_checkpoint(const struct tp_images *images, const char *label);
/* NOT_FOUND, for a label that isn't there. */
struct torpor_error *tp_no_checkpoint(const char *id, const char *label) TP_MUST_USE;

#endif
