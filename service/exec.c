/* SPDX-License-Identifier: Apache-2.0 */
/* Commands in guests. */
#include <string.h>

#include "base/mem.h"
#include "service/op.h"

/* Of a session that is parked again and again while a command waits for it. */
#define WAKES_MAX 3

/* What every command has, unless the session or the call say otherwise. */
static const struct {
	const char *name;
	const char *value;
} defaults[] = {
	{"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	{"HOME", "/root"},
	{"TERM", "dumb"},
};

/* NAME=value, ended by NULL. Owned. */
struct env {
	char **list;
	size_t count;
};

static void env_deinit(struct env *env)
{
	for (size_t i = 0; i < env->count; i++)
		free(env->list[i]);
	free(env->list);
}

/* The defaults, under the session's, under the call's. */
static struct env make_env(const json_t *of_session, const json_t *of_call)
{
	TP_JSON json_t *all = json_object();
	const char *name;
	json_t *value;

	for (size_t i = 0; i < TP_ARRAY_LEN(defaults); i++)
		json_object_set_new(all, defaults[i].name, json_string(defaults[i].value));
	json_object_update(all, (json_t *)of_session);
	if (of_call)
		json_object_update(all, (json_t *)of_call);
	struct env env = {.list = tp_calloc(json_object_size(all) + 1, sizeof(char *))};
	json_object_foreach (all, name, value)
		env.list[env.count++] = tp_asprintf("%s=%s", name, json_string_value(value));
	return env;
}

/* What SPEC asks for, in the session's environment, which is put into *ENV. */
static struct torpor_exec describe(struct tp_service *service, struct tp_live *live,
	const struct torpor_session *core, const struct tp_exec_spec *spec, struct env *env)
{
	TP_ROW struct tp_session_row row = {0};

	tp_live_copy_row(service, live, &row);
	TP_JSON json_t *own = tp_row_json(row.env);
	*env = make_env(own, spec->env);
	/* A guest without Torpor's helper takes no environment, so the defaults aren't forced on
	 * it. */
	bool wanted = core->record.helper || json_object_size(own) > 0 ||
		      (spec->env && json_object_size(spec->env) > 0);
	return (struct torpor_exec){
		.argv = spec->argv,
		.env = wanted ? (const char *const *)env->list : NULL,
		.cwd = spec->cwd,
		.stdin_fd = spec->stdin_fd,
		.has_stdin = spec->stdin_fd >= 0,
		.kill_on_cancel = spec->kill_on_cancel,
		.output = spec->output,
		.output_data = spec->data,
	};
}

static void count(struct tp_service *service, struct tp_live *live, bool begins)
{
	pthread_mutex_lock(&service->lock);
	live->execs += begins ? 1 : -1u;
	live->execs_total += begins;
	pthread_mutex_unlock(&service->lock);
	tp_live_touch(service, live);
}

static enum tp_state state_of(struct tp_service *service, struct tp_live *live)
{
	pthread_mutex_lock(&service->lock);
	enum tp_state state = live->state;
	pthread_mutex_unlock(&service->lock);
	return state;
}

/* Resumes it, for ACTOR, whose key is the command's alone. */
static struct torpor_error *wake(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_call *call)
{
	struct tp_actor resumer = *actor;
	json_t *view = NULL;

	resumer.key[0] = '\0';
	TP_TRY(tp_service_resume(service, &resumer, id, call, &view));
	json_decref(view);
	return NULL;
}

/* A handle to run it with, of a session that is woken if that is asked for. */
static struct torpor_error *get_core(struct tp_service *service, const struct tp_actor *actor,
	struct tp_live *live, bool may_wake, const struct tp_call *call,
	struct torpor_session **core_out)
{
	for (unsigned int wakes = 0;; wakes++) {
		struct torpor_error *err = tp_live_use(
			service, live, TP_LIVE_IN(RUNNING), "run a command in", call, core_out);
		/* Another one that wakes it may have been faster. */
		enum tp_state state = state_of(service, live);
		bool awake = state == TP_STATE_RESUMING || state == TP_STATE_RUNNING;
		if (!err || torpor_error_code(err) != TORPOR_E_BUSY || !may_wake ||
			wakes == WAKES_MAX || (!awake && state != TP_STATE_PARKED))
			return tp_error_hint(err, "Resume it first.");
		torpor_error_free(err);
		if (!awake)
			TP_TRY(wake(service, actor, live->id, call));
	}
}

static struct torpor_error *exec_live(struct tp_service *service, const struct tp_actor *actor,
	struct tp_live *live, const struct tp_exec_spec *spec, const struct tp_call *call,
	struct torpor_exec_result *result_out)
{
	TP_CLEANUP(tp_session_command_free) struct tp_session_command *command = NULL;
	struct torpor_session *core;
	struct env env;

	TP_TRY(get_core(service, actor, live, spec->wake, call, &core));
	count(service, live, true);
	struct torpor_exec exec = describe(service, live, core, spec, &env);
	struct torpor_error *err = tp_session_command_new(core, &exec, call, &command);
	/* From here on it is followed beside whatever is done to the session. */
	tp_live_unuse(service, live);
	if (!err)
		err = tp_session_command_follow(command, call, result_out);
	command = tp_session_command_free(command);
	env_deinit(&env);
	count(service, live, false);
	return err;
}

static struct torpor_error *exec(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_exec_spec *spec, const struct tp_call *call,
	struct torpor_exec_result *result_out)
{
	struct tp_live *live;

	TP_TRY(tp_check_env(spec->env));
	TP_TRY(tp_op_get(service, actor, TP_PERM_EXEC, id, &live));
	struct torpor_error *err = spec->wake ? tp_actor_may(actor, TP_PERM_OPERATE, id) : NULL;
	if (!err)
		err = exec_live(service, actor, live, spec, call, result_out);
	tp_live_put(service, live);
	return err;
}

struct torpor_error *tp_service_exec(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_exec_spec *spec, const struct tp_call *call,
	struct torpor_exec_result *result_out)
{
	struct tp_op op = tp_op_on(actor, "exec", id, 0, NULL);
	struct tp_settling settling;

	struct torpor_error *err = exec(service, actor, id, spec, call, result_out);
	if (err)
		return tp_refuse(service, &op, err);
	/* No change of the session's: the entry is written, but its sync isn't waited for. */
	tp_settle_begin(service, &op, NULL, NULL, &settling);
	return NULL;
}
