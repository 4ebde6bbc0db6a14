/* SPDX-License-Identifier: Apache-2.0 */
/* Shells: clones started ahead. */
#include "base/fd.h"
#include "base/mem.h"
#include "engine/control.h"
#include "pool/template.h"

struct tp_shell *tp_shell_free(struct tp_shell *shell)
{
	if (shell) {
		tp_helper_free(shell->helper);
		tp_guest_free(shell->guest);
		tp_memory_deinit(&shell->memory);
		free(shell);
	}
	return NULL;
}

struct torpor_error *tp_shell_start_bare(
	struct torpor_template *tmpl, const struct tp_call *call, struct tp_shell **shell_out)
{
	struct torpor_engine *engine = tmpl->engine;
	TP_TRY(tp_template_find_qemu(tmpl, call));
	TP_FREE char *name = tp_engine_guest_name(engine, "shell");
	TP_CLEANUP(tp_shell_free) struct tp_shell *shell = tp_calloc(1, sizeof(*shell));
	struct tp_guest_spec spec = {
		.config = &tmpl->base->record.guest,
		.name = name,
		.role = TP_ROLE_INCOMING,
		.program = tmpl->qemu.program,
		.traits = tmpl->qemu.traits,
		.ram_fd = tmpl->base->fd,
		.ram_shared = false,
		.console_fd = -1,
	};

	shell->memory = TP_MEMORY_NONE;
	TP_TRY(tp_launcher_start(engine->launcher, &spec, call, &shell->guest));
	TP_TRY(tp_memory_init_clone(&shell->memory, shell->guest, tmpl->base));
	*shell_out = TP_TAKE(shell);
	return NULL;
}

struct torpor_error *tp_shell_start(
	struct torpor_template *tmpl, const struct tp_call *call, struct tp_shell **shell_out)
{
	TP_CLEANUP(tp_shell_free) struct tp_shell *shell = NULL;

	TP_TRY(tp_shell_start_bare(tmpl, call, &shell));
	TP_TRY(tp_memory_begin_load(&shell->memory, shell->guest, call));
	*shell_out = TP_TAKE(shell);
	return NULL;
}

struct torpor_error *tp_shell_start_ahead(
	struct torpor_template *tmpl, const struct tp_call *call, struct tp_shell **shell_out)
{
	TP_TRY(tp_shell_start(tmpl, call, shell_out));
	tp_capture_prepare_ahead(
		(*shell_out)->guest, &(*shell_out)->memory, &tmpl->engine->capture, call);
	return NULL;
}

struct torpor_error *tp_shell_take(struct torpor_template *tmpl, const struct tp_call *call,
	bool *waited_out, struct tp_shell **shell_out)
{
	struct tp_shell *shell = tp_stock_take(tmpl, &tmpl->shells);

	*waited_out = shell;
	if (!shell)
		return tp_shell_start(tmpl, call, shell_out);
	*shell_out = shell;
	return NULL;
}

void tp_shell_put(struct torpor_template *tmpl, struct tp_shell *shell)
{
	tp_stock_put(tmpl, &tmpl->shells, shell);
}

struct torpor_error *tp_shell_start_own(struct torpor_template *tmpl,
	const struct tp_guest_config *config, const struct tp_call *call,
	struct tp_shell **shell_out)
{
	TP_TRY(tp_template_find_qemu(tmpl, call));
	TP_FREE char *name = tp_engine_guest_name(tmpl->engine, "own");
	TP_CLEANUP(tp_shell_free) struct tp_shell *shell = tp_calloc(1, sizeof(*shell));
	TP_FD int ram_fd = -1;

	shell->memory = TP_MEMORY_NONE;
	TP_TRY(tp_memfd(TP_MEMORY_MEMFD, config->memory_bytes, &ram_fd));
	struct tp_guest_spec spec = {
		.config = config,
		.name = name,
		.role = TP_ROLE_INCOMING,
		.program = tmpl->qemu.program,
		.traits = tmpl->qemu.traits,
		.ram_fd = ram_fd,
		.ram_shared = true,
		.console_fd = -1,
	};
	TP_TRY(tp_launcher_start(tmpl->engine->launcher, &spec, call, &shell->guest));
	tp_memory_init_own(&shell->memory, TP_TAKE_FD(ram_fd), config->memory_bytes);
	TP_TRY(tp_memory_begin_load(&shell->memory, shell->guest, call));
	*shell_out = TP_TAKE(shell);
	return NULL;
}
