/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an image can be resumed, and whether here.
 *
 * What decides is what QEMU says that it can do. The one thing that is taken from version numbers
 * is that a state doesn't go from a newer QEMU to an older one, which QEMU itself finds out too
 * late: in the middle of a load.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/mem.h"
#include "engine/kept.h"
#include "pool/machine.h"
#include "pool/template.h"
#include "pool/where.h"
#include "storage/image_reader.h"

struct look {
	struct torpor_engine *engine;
	const struct tp_image *image;
	const struct tp_record *record;
	const struct tp_call *call;
	struct torpor_where *where;
	/* What was found out on the way. */
	struct tp_qemu_info info;
	const char *program; /* of it; NULL: the engine's own */
	char *no_accel; /* why the accelerator doesn't work; NULL: as far as is known it does */
	char *template_name; /* as it is stored here, or NULL */
};

void torpor_where_deinit(struct torpor_where *where)
{
	for (size_t i = 0; i < where->n_needs; i++) {
		free(where->needs[i].needed);
		free(where->needs[i].why_not);
	}
	*where = (struct torpor_where){0};
}

/* Takes both texts. */
static void add_need(struct look *l, const char *subject, char *needed, char *why_not)
{
	struct torpor_where *where = l->where;

	assert(where->n_needs < TORPOR_NEEDS);
	where->needs[where->n_needs++] = (struct torpor_need){
		.subject = subject, .needed = needed, .met = !why_not, .why_not = why_not};
	where->here = where->here && !why_not;
}

/* --- The template --- */

static bool needs_template(const struct look *l)
{
	const struct tp_image_meta *meta = tp_image_meta(l->image);

	return meta->kind != TP_IMAGE_TEMPLATE && !tp_template_id_is_none(meta->template_id);
}

static struct torpor_error *look_for_template(struct look *l)
{
	struct torpor_where *where = l->where;
	char *why_not = NULL;

	if (!needs_template(l))
		return NULL;
	snprintf(
		where->template_name, sizeof(where->template_name), "%s", l->record->template_name);
	tp_hex(tp_image_meta(l->image)->template_id, TP_IDENTITY_LEN, where->template_id);
	TP_TRY(tp_template_where(
		l->engine, tp_image_meta(l->image)->template_id, l->call, &l->template_name));
	if (!l->template_name)
		why_not = tp_strdup("none with that identity is stored here: copy it from a host "
				    "that has it; one built anew is another");
	add_need(l, "template",
		tp_asprintf("template %s (%.12s)", where->template_name, where->template_id),
		why_not);
	return NULL;
}

/* --- QEMU --- */

/* Whether ERR only says that this accelerator, or this QEMU, doesn't work. */
static bool is_answer(const struct torpor_error *err)
{
	enum torpor_errc code = torpor_error_code(err);

	return code == TORPOR_E_QEMU || code == TORPOR_E_NOT_FOUND || code == TORPOR_E_DENIED;
}

/* What is left to be told where the accelerator doesn't work. NOT_FOUND: no QEMU at all. */
static struct torpor_error *ask_without(struct look *l, struct torpor_error *err)
{
	TP_ERROR struct torpor_error *first = err;

	if (!is_answer(first))
		return TP_TAKE(first);
	l->no_accel = tp_strdup(torpor_error_message(first));
	if (l->record->guest.accel == TP_ACCEL_TCG)
		return NULL;
	struct torpor_error *none =
		tp_machine_ask(l->engine, NULL, TP_ACCEL_TCG, l->call, &l->info);
	if (none && !is_answer(none))
		return none;
	torpor_error_free(none);
	return NULL;
}

static bool fits(const struct look *l)
{
	TP_MACHINE_FIT struct tp_machine_fit fit = {0};

	tp_machine_look(&l->record->guest, &l->info, &fit);
	return !fit.qemu && !fit.machine && !fit.cpu;
}

/* Where the engine's own QEMU doesn't do, the one for microvm alone may. */
static struct torpor_error *ask_small(struct look *l)
{
	const struct tp_guest_config *guest = &l->record->guest;
	const char *program = tp_machine_small_qemu(l->engine, guest->machine);
	TP_QEMU_INFO struct tp_qemu_info info = {0};

	if (!program || guest->accel != TP_ACCEL_KVM || l->no_accel || fits(l))
		return NULL;
	TP_ERROR struct torpor_error *err =
		tp_machine_ask(l->engine, program, guest->accel, l->call, &info);
	if (err)
		return is_answer(err) ? NULL : TP_TAKE(err);
	struct tp_qemu_info own = l->info;
	l->info = info;
	info = own;
	l->program = program;
	return NULL;
}

static struct torpor_error *ask_qemu(struct look *l)
{
	struct torpor_error *err =
		tp_machine_ask(l->engine, NULL, l->record->guest.accel, l->call, &l->info);

	return err ? ask_without(l, err) : ask_small(l);
}

static void tell_qemu(struct look *l)
{
	const struct tp_guest_config *guest = &l->record->guest;
	TP_MACHINE_FIT struct tp_machine_fit fit = {0};
	bool versions = guest->machine != TP_MACHINE_MICROVM;

	if (l->info.version) {
		tp_machine_look(guest, &l->info, &fit);
	} else {
		fit.qemu = tp_strdup(l->no_accel);
		fit.machine = tp_strdup("there is no QEMU to ask");
		fit.cpu = tp_strdup("there is no QEMU to ask");
	}
	if (l->no_accel && !fit.cpu)
		fit.cpu = tp_asprintf(
			"what the host has under %s can't be told", tp_accel_name(guest->accel));
	add_need(l, "qemu",
		tp_asprintf("QEMU %s%s", guest->qemu_version,
			versions ? " or newer"
				 : " or one with the same first two numbers (microvm has no "
				   "versions)"),
		TP_TAKE(fit.qemu));
	add_need(l, "machine", tp_asprintf("machine type %s", guest->machine_type),
		TP_TAKE(fit.machine));
	add_need(l, "cpu", tp_asprintf("CPU model %s", guest->cpu_model), TP_TAKE(fit.cpu));
}

/* --- The accelerator --- */

/* Under KVM the template's kernel must be seen to boot. Without one there is nothing to try. */
static struct torpor_error *try_accel(struct look *l)
{
	const struct tp_guest_config *guest = &l->record->guest;

	if (guest->accel != TP_ACCEL_KVM || !l->where->here || !l->template_name)
		return NULL;
	const char *dir = l->engine->state_dir;
	TP_FREE char *kernel =
		tp_asprintf("%s/templates/%s/" TEMPLATE_KERNEL, dir, l->template_name);
	TP_FREE char *initrd =
		tp_asprintf("%s/templates/%s/" TEMPLATE_INITRD, dir, l->template_name);
	struct tp_boot_files files = {
		.kernel = kernel,
		.initrd = access(initrd, F_OK) == 0 ? initrd : NULL,
		.append = l->record->append,
	};
	if (access(kernel, F_OK) < 0)
		return NULL;
	return tp_machine_prove(
		l->engine, l->program, l->info.traits, guest, &files, l->call, &l->no_accel);
}

static struct torpor_error *look_at_accel(struct look *l)
{
	const char *accel = tp_accel_name(l->record->guest.accel);

	if (!l->no_accel)
		TP_TRY(try_accel(l));
	add_need(l, "accelerator",
		tp_asprintf("accelerator %s (kvm and tcg don't take each other's images)", accel),
		TP_TAKE(l->no_accel));
	return NULL;
}

/* --- All of it --- */

static void describe(struct look *l)
{
	const struct tp_guest_config *guest = &l->record->guest;
	struct torpor_where *where = l->where;

	snprintf(where->qemu_version, sizeof(where->qemu_version), "%s", guest->qemu_version);
	snprintf(where->machine_type, sizeof(where->machine_type), "%s", guest->machine_type);
	snprintf(where->accel, sizeof(where->accel), "%s", tp_accel_name(guest->accel));
	snprintf(where->cpu, sizeof(where->cpu), "%s", guest->cpu_model);
	where->portable = tp_qemu_cpu_portable(&l->info, guest->cpu_model);
	where->here = true;
}

static struct torpor_error *look(struct look *l)
{
	TP_TRY(ask_qemu(l));
	describe(l);
	TP_TRY(look_for_template(l));
	tell_qemu(l);
	return look_at_accel(l);
}

/* A file, or what is called so under images/. */
static struct torpor_error *open_image(struct torpor_engine *engine, const char *path,
	const struct tp_call *call, struct tp_image **image_out)
{
	bool name = !strchr(path, '/') && access(path, F_OK) < 0;

	return tp_image_open(name ? engine->images_fd : AT_FDCWD, path, call, image_out);
}

struct torpor_error *torpor_image_where(struct torpor_engine *engine, const char *path,
	const struct torpor_call *public_call, struct torpor_where *where_out)
{
	struct tp_call call = tp_call_from(public_call, OPEN_TIMEOUT_NS);
	TP_CLEANUP(tp_image_close) struct tp_image *image = NULL;
	TP_RECORD struct tp_record record = {0};
	struct torpor_where where = {0};
	struct look l = {.engine = engine, .record = &record, .call = &call, .where = &where};

	TP_TRY(open_image(engine, path, &call, &image));
	TP_TRY(tp_record_parse(tp_image_meta(image)->config, path, &record));
	l.image = image;
	struct torpor_error *err = look(&l);
	tp_qemu_info_deinit(&l.info);
	free(l.no_accel);
	free(l.template_name);
	if (err) {
		torpor_where_deinit(&where);
		return tp_error_in(err, "look where to resume", path);
	}
	*where_out = where;
	return NULL;
}

/* --- Before a park --- */

/* The file that the template was opened from is there no more, or is another's. */
static bool is_stored(const struct torpor_template *tmpl)
{
	TP_FREE char *path = tp_asprintf("%s/" TEMPLATE_IMAGE, tmpl->name);
	struct stat st;

	return fstatat(tmpl->engine->templates_fd, path, &st, 0) == 0 && st.st_ino == tmpl->inode &&
	       st.st_dev == tmpl->dev;
}

/* QEMU's file may have been exchanged under a guest that runs: an upgrade, or the reverse. */
static char *doubt_qemu(const struct torpor_template *tmpl, const struct tp_call *call)
{
	const struct tp_qemu_use *use = &tmpl->qemu;
	const struct tp_guest_config *guest = &tmpl->base->record.guest;
	TP_FREE char *identity = NULL;
	TP_QEMU_INFO struct tp_qemu_info info = {0};
	TP_MACHINE_FIT struct tp_machine_fit fit = {0};
	TP_ERROR struct torpor_error *err =
		tp_program_identity(use->program ? use->program : tmpl->engine->qemu, &identity);

	if (!err && strcmp(identity, use->identity) == 0)
		return NULL;
	if (!err)
		err = tp_machine_ask(tmpl->engine, use->program, guest->accel, call, &info);
	if (err)
		return tp_asprintf(
			"this host's QEMU doesn't work any more: %s", torpor_error_message(err));
	tp_machine_look(guest, &info, &fit);
	return tp_machine_fit_text(&fit, guest);
}

char *tp_template_doubt(const struct torpor_template *tmpl, const struct tp_call *call)
{
	if (!tp_template_is_none(tmpl) && !is_stored(tmpl))
		return tp_asprintf("template %s isn't stored any more, or is another one now: the "
				   "image can be resumed only as long as this process has it",
			tmpl->name);
	if (!atomic_load(&tmpl->has_qemu))
		return NULL;
	if (!tmpl->qemu.portable)
		return tp_asprintf("CPU model %s is another CPU on every host: no other can resume "
				   "the image",
			tmpl->base->record.guest.cpu_model);
	return doubt_qemu(tmpl, call);
}
