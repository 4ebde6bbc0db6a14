/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the tests' world share; tests use fake.h. */
#ifndef TP_TESTS_SERVICE_FAKE_PRIV_H
#define TP_TESTS_SERVICE_FAKE_PRIV_H

#include "fake.h"

/* Images are in its directory "images", under the names that records have for them. */
extern char fake_dir[64];
/* A pipe: a held park goes on when there is a byte. */
extern int fake_gate[2];

/* The records, as the last commit left them. */
extern struct tp_session_row fake_sessions[2048];
extern size_t fake_n_sessions;
extern struct tp_image_row fake_images[256];
extern size_t fake_n_images;

struct tp_session_row *fake_find_session(const char *id);
/* Copies the row, over the one of its id if there is one. */
void fake_put_session(const struct tp_session_row *row);
/* With the rows of its images. */
void fake_drop_session(const char *id);

extern struct torpor_template fake_template;

/* The session has no process any more. */
void fake_take_guest(struct torpor_session *core);
/* The caller's to free. */
char *fake_file_of(const char *name);

#endif
