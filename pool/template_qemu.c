/* SPDX-License-Identifier: Apache-2.0 */
/* What runs a template's guests; and what stands in for the template of guests that have none. */
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "pool/build.h"
#include "pool/turn.h"

/* By whoever has the turn to fill. */
static struct torpor_error *find_qemu(struct torpor_template *tmpl, const struct tp_call *call)
{
	const struct tp_record *record = &tmpl->base->record;
	TP_FREE char *kernel = tp_template_path(tmpl, TEMPLATE_KERNEL);
	TP_FREE char *initrd = tp_template_path(tmpl, TEMPLATE_INITRD);
	struct tp_boot_files files = {
		.kernel = access(kernel, F_OK) == 0 ? kernel : NULL,
		.initrd = access(initrd, F_OK) == 0 ? initrd : NULL,
		.append = record->append,
	};

	if (atomic_load(&tmpl->has_qemu))
		return NULL;
	TP_TRY(tp_machine_find_qemu(
		tmpl->engine, &record->guest, &files, tmpl->name, call, &tmpl->qemu));
	atomic_store(&tmpl->has_qemu, true);
	return NULL;
}

struct torpor_error *tp_template_find_qemu(struct torpor_template *tmpl, const struct tp_call *call)
{
	struct tp_turn *turn = tmpl->engine->fill_turn;

	if (atomic_load(&tmpl->has_qemu))
		return NULL;
	TP_TRY(tp_turn_take(turn, call, tmpl->name));
	struct torpor_error *err = find_qemu(tmpl, call);
	tp_turn_give(turn);
	return err;
}

bool tp_template_id_is_none(const uint8_t id[TP_IDENTITY_LEN])
{
	static const uint8_t none[TP_IDENTITY_LEN];

	return memcmp(id, none, TP_IDENTITY_LEN) == 0;
}

bool tp_template_is_none(const struct torpor_template *tmpl)
{
	return tp_template_id_is_none(tmpl->base->id);
}

struct torpor_error *tp_template_open_for(struct torpor_engine *engine,
	const uint8_t id[TP_IDENTITY_LEN], const struct tp_record *record,
	const struct tp_call *call, struct torpor_template **template_out)
{
	if (!tp_template_id_is_none(id))
		return tp_template_open_id(engine, id, record->template_name, call, template_out);
	/* Each session has its own: no two of them need be alike. */
	*template_out = tp_template_adopt(engine, TP_NO_TEMPLATE, tp_base_none(record), NULL, 0, 0);
	return NULL;
}
