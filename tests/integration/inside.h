/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Behind the public interface: capture, restore, and looking at memory, one step at a time.
 *
 * Nothing else may use the session meanwhile. All failures end the test.
 */
#ifndef TP_TESTS_INTEGRATION_INSIDE_H
#define TP_TESTS_INTEGRATION_INSIDE_H

#include "pool/session.h"
#include "snapshot/capture.h"

/* For whatever has to wait. */
struct tp_call in_call(void);

/* Stops the session's guest, and lets it go on. */
void in_stop(struct torpor_session *session);
void in_cont(struct torpor_session *session);

/* Captures the guest into images/NAME and leaves it stopped. */
struct tp_image_stats in_save(struct torpor_session *session, enum tp_path path,
	enum tp_scan_method scan, const char *name);
void in_remove(struct torpor_engine *engine, const char *name);

/* All pages of an image, by their numbers in the page space. */
struct in_pages {
	uint64_t space; /* pages in the page space */
	bool *stored;
	uint8_t *bytes; /* of the whole page space; zero where nothing is stored */
	uint64_t count;
};
struct in_pages in_pages_load(struct torpor_session *session, const char *name);
void in_pages_deinit(struct in_pages *pages);

/* Loads images/NAME of SESSION into a fresh process, which is left stopped. */
struct tp_shell *in_restore(struct torpor_session *session, const char *name, enum tp_path path);

/* LEN bytes of the guest's physical memory, as QEMU itself tells them. The caller's to free. */
uint8_t *in_read_physical(struct tp_guest *guest, uint64_t address, uint64_t len);

/* All of a guest's RAM as QEMU shows it, and what may be put into it at a load. */
struct in_ram {
	uint8_t *bytes; /* mapped */
	uint64_t len;
	bool has_generation;
	uint8_t generation[16]; /* as the guest sees it */
	bool has_kvmclock;
};
struct in_ram in_ram_read(struct tp_guest *guest, const struct tp_guest_config *config);
void in_ram_deinit(struct in_ram *ram);

/*
 * Fails unless both are equal but for the one place where QEMU tells the guest the generation that
 * its process has, and the one where KVM tells it the time. WHAT is for the message.
 */
void in_ram_compare(const struct in_ram *before, const struct in_ram *after, const char *what);

/* Has the guest reset itself, and waits until it has booted anew. */
void in_reboot(struct torpor_session *session);

#endif
