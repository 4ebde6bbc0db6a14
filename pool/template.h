/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Templates in use, and their stock.
 *
 * One struct torpor_template for each template that a process uses, counted: public handles and
 * sessions hold it. It holds the base and what waits: shells and warm guests.
 */
#ifndef TP_POOL_TEMPLATE_H
#define TP_POOL_TEMPLATE_H

#include "engine/helper.h"
#include "pool/engine.h"
#include "pool/machine.h"
#include "snapshot/memory.h"

/* A clone without state, or a warm guest. Belongs to whoever has it. */
struct tp_shell {
	struct tp_guest *guest;
	struct tp_memory memory;
	struct tp_helper *helper; /* of a warm guest that has one, else NULL */
	enum tp_path loaded_by;	  /* of a warm guest */
	/* By the engine's lock, while it waits. */
	struct tp_shell *next;
	uint64_t watch_id;
	uint64_t asked_ns; /* CLOCK_MONOTONIC: of the last question (tp_stock_ask); 0: none yet */
};

/* Those of one kind that wait, newest first. By the engine's lock. */
struct tp_stock {
	struct tp_shell *first;
	unsigned int count;
};

struct torpor_template {
	/* Constant. */
	struct torpor_engine *engine;
	char *name; /* that it was opened by */
	struct tp_base *base;
	uint64_t image_bytes;
	uint64_t created_ns; /* CLOCK_REALTIME */
	dev_t dev;	     /* of the file that it is stored in; both 0 if there was none */
	ino_t inode;

	/* Set once by tp_template_find_qemu, constant then; read by whoever has called it. */
	atomic_bool has_qemu;
	struct tp_qemu_use qemu;

	/* By the engine's lock. */
	struct torpor_template *next;
	unsigned int refs;
	struct tp_stock shells;
	struct tp_stock warm;
	unsigned int deaf; /* of those that waited, since somebody last asked how many */
};

struct torpor_template *tp_template_ref(struct torpor_template *tmpl);

/* The template of that identity, opened by whatever name it is stored under. NOT_FOUND. */
struct torpor_error *tp_template_open_id(struct torpor_engine *engine,
	const uint8_t id[TP_IDENTITY_LEN], const char *name_hint, const struct tp_call *call,
	struct torpor_template **template_out) TP_MUST_USE;

/*
 * The same, but its base is taken back from a guest of process PID that has it, where nobody here
 * uses it yet. DENIED where that process can't be looked into.
 */
struct torpor_error *tp_template_take_back(struct torpor_engine *engine,
	const uint8_t id[TP_IDENTITY_LEN], const char *name_hint, pid_t pid,
	const struct tp_call *call, struct torpor_template **template_out) TP_MUST_USE;

/* The name under which guests without a template, which were imported, have one all the same. */
#define TP_NO_TEMPLATE "imported"

/* Whether that is all it is. Its guests have RAM of their own, and can't boot anew. */
bool tp_template_is_none(const struct torpor_template *tmpl);

/* Whether an image, or session, of that template identity has none. */
bool tp_template_id_is_none(const uint8_t id[TP_IDENTITY_LEN]);

/* As tp_template_open_id; what stands in for it where the session of RECORD has none. */
struct torpor_error *tp_template_open_for(struct torpor_engine *engine,
	const uint8_t id[TP_IDENTITY_LEN], const struct tp_record *record,
	const struct tp_call *call, struct torpor_template **template_out) TP_MUST_USE;

/*
 * Finds the QEMU that runs its guests, unless that was done. MISMATCH, with the reason, if this
 * host has none: another machine type, CPU or accelerator than it can offer.
 */
struct torpor_error *tp_template_find_qemu(
	struct torpor_template *tmpl, const struct tp_call *call) TP_MUST_USE;

/* Whether one of that identity is in use or stored; its name, the caller's, or NULL. */
struct torpor_error *tp_template_where(struct torpor_engine *engine,
	const uint8_t id[TP_IDENTITY_LEN], const struct tp_call *call, char **name_out) TP_MUST_USE;

/* Removes templates that were not finished. */
struct torpor_error *tp_template_sweep(struct torpor_engine *engine) TP_MUST_USE;

/* A file of the template's directory, as a path; the caller's to free. */
char *tp_template_path(const struct torpor_template *tmpl, const char *file) TP_MUST_USE;

/* --- shell.c --- */

/* A clone that hasn't begun to load. */
struct torpor_error *tp_shell_start_bare(struct torpor_template *tmpl, const struct tp_call *call,
	struct tp_shell **shell_out) TP_MUST_USE;

/* Starts a shell. */
struct torpor_error *tp_shell_start(struct torpor_template *tmpl, const struct tp_call *call,
	struct tp_shell **shell_out) TP_MUST_USE;
/* The same for one that is to wait: what its first park would have to prepare is done by then. */
struct torpor_error *tp_shell_start_ahead(struct torpor_template *tmpl, const struct tp_call *call,
	struct tp_shell **shell_out) TP_MUST_USE;

/* Ends its process, if it still has one. Takes NULL. Returns NULL. */
struct tp_shell *tp_shell_free(struct tp_shell *shell);
TP_DEFINE_CLEANUP(struct tp_shell *, tp_shell_free)

/* A shell that waits, if there is one, else a new one. *WAITED_OUT says which. */
struct torpor_error *tp_shell_take(struct torpor_template *tmpl, const struct tp_call *call,
	bool *waited_out, struct tp_shell **shell_out) TP_MUST_USE;

/* Gives an unused shell back to those that wait. It is taken. */
void tp_shell_put(struct torpor_template *tmpl, struct tp_shell *shell);

/* --- warm.c --- */

/* Starts a warm guest: loaded, run, made fresh once, stopped. */
struct torpor_error *tp_warm_start(struct torpor_template *tmpl, const struct tp_call *call,
	struct tp_shell **shell_out) TP_MUST_USE;

/* --- stock.c: what waits, shells and warm guests --- */

/* Puts SHELL, which is taken, among those of STOCK, which is one of TMPL's; watches it. */
void tp_stock_put(struct torpor_template *tmpl, struct tp_stock *stock, struct tp_shell *shell);

/* Takes one that lives, or NULL if there is none. Dead ones are freed, and told. */
struct tp_shell *tp_stock_take(struct torpor_template *tmpl, struct tp_stock *stock) TP_MUST_USE;

/*
 * Takes the one that is watched by that number out of whatever stock it is in, and names its
 * template in TMPL_NAME, for the watcher. NULL if nobody has that number any more.
 */
struct tp_shell *tp_stock_take_watched(
	struct torpor_engine *engine, uint64_t watch_id, char tmpl_name[65]) TP_MUST_USE;

/*
 * Starts one and puts it among those that wait: a warm guest or a shell. *TOOK_NS_OUT may be NULL.
 * One that dies while it waits is removed, and TORPOR_EVENT_STOCK tells.
 */
struct torpor_error *tp_stock_add_warm(struct torpor_template *tmpl, const struct tp_call *call,
	uint64_t *took_ns_out) TP_MUST_USE;
struct torpor_error *tp_stock_add_shell(struct torpor_template *tmpl, const struct tp_call *call,
	uint64_t *took_ns_out) TP_MUST_USE;
void tp_stock_count(struct torpor_template *tmpl, unsigned int *warm_out, unsigned int *shells_out);
/* Ends those beyond so many of each; how many that were. */
unsigned int tp_stock_shrink(struct torpor_template *tmpl, unsigned int warm, unsigned int shells);

/*
 * Asks all that wait whether they are well, by which nobody waits: QEMU's answer is looked for the
 * next time. One that hasn't answered for the engine's deaf_after_ns is ended and noted as deaf.
 */
void tp_stock_ask(struct torpor_template *tmpl);
/* COUNT that had waited turned out to be deaf: TORPOR_EVENT_STOCK tells. */
void tp_stock_note_deaf(struct torpor_template *tmpl, unsigned int count);
/* How many did since the last call. */
unsigned int tp_stock_take_deaf(struct torpor_template *tmpl);

/*
 * A process for a guest without base, run by TMPL's QEMU: empty RAM in a memfd of its own, mapped
 * shared.
 */
struct torpor_error *tp_shell_start_own(struct torpor_template *tmpl,
	const struct tp_guest_config *config, const struct tp_call *call,
	struct tp_shell **shell_out) TP_MUST_USE;

#endif
