/* SPDX-License-Identifier: Apache-2.0 */
/* Random operations, and what must come of them. */
#include "crash_model.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "crash_world.h"

#define SLOTS 3

enum state {
	NONE,
	RUNNING,
	PAUSED,
	PARKED,
};
static const char *const state_names[] = {"", "running", "paused", "parked"};

struct known {
	enum state state;
	unsigned int mark; /* in the guest's memory; 0: nothing was written yet */
};

struct slot {
	char name[32];
	char id[17];
	struct known now;
	struct known then; /* when the step that is under way is done; otherwise the same */
	unsigned int checkpoints;
};

struct model {
	unsigned int who;
	char *tenant;
	uint64_t random;
	unsigned int next_mark;
	struct torpor_client *client;
	struct slot slots[SLOTS];
};

/* xorshift64*: the same everywhere for a seed. */
static uint32_t pick(struct model *model, uint32_t below)
{
	model->random ^= model->random >> 12;
	model->random ^= model->random << 25;
	model->random ^= model->random >> 27;
	return (uint32_t)((model->random * UINT64_C(2685821657736338717)) >> 33) % below;
}

struct model *model_new(unsigned int who, const char *tenant, uint64_t seed)
{
	struct model *model = tp_calloc(1, sizeof(*model));

	model->who = who;
	model->tenant = tenant ? tp_strdup(tenant) : NULL;
	model->random = seed * 2 + 1;
	for (unsigned int i = 0; i < SLOTS; i++)
		snprintf(model->slots[i].name, sizeof(model->slots[i].name), "c%u-%u", who, i);
	return model;
}

void model_free(struct model *model)
{
	model_disconnect(model);
	free(model->tenant);
	free(model);
}

void model_connect(struct model *model)
{
	struct torpor_client_options options = {.socket_path = world_socket(),
		.tenant = model->tenant,
		.timeout_ns = UINT64_C(120000000000)};

	torpor_error_free(torpor_client_open(&options, &model->client));
}

void model_disconnect(struct model *model)
{
	model->client = torpor_client_close(model->client);
}

/* --- steps --- */

static struct torpor_error *create(struct model *model, struct slot *slot)
{
	struct torpor_client_spec spec = {.template_name = "minimal", .name = slot->name};
	struct torpor_remote_session session = {0};

	slot->then = (struct known){.state = RUNNING};
	TP_TRY(torpor_client_create(model->client, &spec, NULL, &session));
	memcpy(slot->id, session.id, sizeof(slot->id));
	slot->checkpoints = 0;
	torpor_remote_session_deinit(&session);
	return NULL;
}

/* SLOT becomes a fork of another one, if there is one. */
static struct torpor_error *fork_into(struct model *model, struct slot *slot)
{
	const struct slot *source = &model->slots[pick(model, SLOTS)];
	TP_FREE char *path = tp_asprintf("/v1/sessions/%s/fork", source->id);
	TP_FREE char *body = tp_asprintf("{\"names\": [\"%s\"]}", slot->name);

	if (source->now.state == NONE)
		return create(model, slot);
	slot->then = (struct known){.state = RUNNING, .mark = source->now.mark};
	TP_TRY(torpor_client_request(model->client, "POST", path, body, NULL, NULL, NULL));
	struct torpor_remote_session session = {0};
	TP_TRY(torpor_client_find(model->client, slot->name, NULL, &session));
	memcpy(slot->id, session.id, sizeof(slot->id));
	slot->checkpoints = 0;
	torpor_remote_session_deinit(&session);
	return NULL;
}

static struct torpor_error *destroy(struct model *model, struct slot *slot)
{
	slot->then = (struct known){.state = NONE};
	return torpor_client_destroy(model->client, slot->id, NULL);
}

struct output {
	char text[32];
	size_t len;
};

static void gather(void *data, int stream, const void *bytes, size_t len)
{
	struct output *output = data;

	(void)stream;
	len = TP_MIN(len, sizeof(output->text) - 1 - output->len);
	memcpy(output->text + output->len, bytes, len);
	output->len += len;
}

static struct torpor_error *run(
	struct model *model, const struct slot *slot, const char *script, struct output *output)
{
	const char *const argv[] = {"sh", "-c", script, NULL};
	struct torpor_call call = {.timeout_ns = UINT64_C(120000000000)};
	struct torpor_client_exec exec = {.argv = argv, .output = gather, .output_data = output};
	struct torpor_client_exec_result result;

	TP_TRY(torpor_client_exec(model->client, slot->id, &exec, &call, &result));
	if (!result.exited || result.status != 0)
		world_complain("\"%s\" in %s gives status %d", script, slot->name, result.status);
	return NULL;
}

static struct torpor_error *write_mark(struct model *model, struct slot *slot)
{
	struct output output = {0};
	unsigned int mark = ++model->next_mark;
	/* At once or not at all, whenever the guest is stopped. */
	TP_FREE char *script = tp_asprintf("echo %u >/tmp/new && mv /tmp/new /tmp/mark", mark);

	slot->then.mark = mark;
	return run(model, slot, script, &output);
}

static struct torpor_error *read_mark(
	struct model *model, const struct slot *slot, unsigned int *mark_out)
{
	struct output output = {0};

	TP_TRY(run(model, slot, "cat /tmp/mark 2>/dev/null || echo 0", &output));
	*mark_out = (unsigned int)atoi(output.text);
	return NULL;
}

static struct torpor_error *check_mark(struct model *model, struct slot *slot)
{
	unsigned int mark;

	TP_TRY(read_mark(model, slot, &mark));
	if (mark != slot->now.mark)
		world_complain("%s has %u in memory and not %u", slot->name, mark, slot->now.mark);
	return NULL;
}

static struct torpor_error *checkpoint(struct model *model, struct slot *slot)
{
	struct torpor_remote_session session = {0};

	/* Few, and the last one away again. */
	if (slot->checkpoints >= 2)
		return check_mark(model, slot);
	TP_TRY(torpor_client_checkpoint(model->client, slot->id, NULL, NULL, &session));
	slot->checkpoints++;
	if (pick(model, 2)) {
		TP_FREE char *path =
			tp_asprintf("/v1/sessions/%s/images/%s", slot->id, session.checkpoint);
		torpor_remote_session_deinit(&session);
		TP_TRY(torpor_client_request(
			model->client, "DELETE", path, NULL, NULL, NULL, NULL));
		slot->checkpoints--;
		return NULL;
	}
	torpor_remote_session_deinit(&session);
	return NULL;
}

static struct torpor_error *turn(struct model *model, struct slot *slot, enum state state)
{
	slot->then.state = state;
	if (state == PARKED)
		return torpor_client_park(model->client, slot->id, NULL, NULL);
	if (state == PAUSED)
		return torpor_client_pause(model->client, slot->id, NULL, NULL);
	if (slot->now.state == PAUSED)
		return torpor_client_unpause(model->client, slot->id, NULL, NULL);
	return torpor_client_resume(model->client, slot->id, NULL, NULL);
}

static struct torpor_error *step_running(struct model *model, struct slot *slot)
{
	switch (pick(model, 12)) {
	case 0:
		return destroy(model, slot);
	case 1:
	case 2:
	case 3:
		return turn(model, slot, PARKED);
	case 4:
	case 5:
		return turn(model, slot, PAUSED);
	case 6:
		return checkpoint(model, slot);
	case 7:
	case 8:
		return check_mark(model, slot);
	default:
		return write_mark(model, slot);
	}
}

static struct torpor_error *step(struct model *model, struct slot *slot)
{
	switch (slot->now.state) {
	case NONE:
		return pick(model, 2) ? create(model, slot) : fork_into(model, slot);
	case RUNNING:
		return step_running(model, slot);
	default:
		return pick(model, 8) ? turn(model, slot, RUNNING) : destroy(model, slot);
	}
}

struct torpor_error *model_step(struct model *model)
{
	struct slot *slot = &model->slots[pick(model, SLOTS)];

	slot->then = slot->now;
	TP_TRY(step(model, slot));
	slot->now = slot->then;
	return NULL;
}

/* --- looking again --- */

static void reconcile(struct model *model, struct slot *slot)
{
	const char *state = world_ask("SELECT state FROM sessions WHERE name = '%s'", slot->name);
	const char *now = state_names[slot->now.state];
	const char *then = state_names[slot->then.state];
	unsigned int mark = 0;

	if (strcmp(state, now) != 0 && strcmp(state, then) != 0)
		world_complain("%s is \"%s\", and neither \"%s\" nor \"%s\"", slot->name, state,
			now, then);
	bool happened = strcmp(state, now) != 0;
	snprintf(slot->id, sizeof(slot->id), "%s",
		world_ask("SELECT id FROM sessions WHERE name = '%s'", slot->name));
	slot->checkpoints = (unsigned int)atoi(world_ask(
		"SELECT count(*) FROM images WHERE kind = 'checkpoint' AND session = '%s'",
		slot->id));
	if (happened)
		slot->now.state = slot->then.state;
	if (happened && slot->now.state == RUNNING && slot->then.mark != slot->now.mark)
		slot->now.mark = slot->then.mark;
	if (slot->now.state == RUNNING) {
		struct torpor_error *err = read_mark(model, slot, &mark);
		if (err)
			world_complain("%s: %s", slot->name, torpor_error_message(err));
		else if (mark != slot->now.mark && mark != slot->then.mark)
			world_complain("%s has %u in memory, and neither %u nor %u", slot->name,
				mark, slot->now.mark, slot->then.mark);
		torpor_error_free(err);
		slot->now.mark = mark;
	}
	slot->then = slot->now;
}

void model_reconcile(struct model *model)
{
	for (size_t i = 0; i < SLOTS; i++)
		reconcile(model, &model->slots[i]);
}

void model_clear(struct model *model)
{
	for (size_t i = 0; i < SLOTS; i++) {
		struct slot *slot = &model->slots[i];
		if (slot->now.state == NONE)
			continue;
		struct torpor_error *err = destroy(model, slot);
		if (err)
			world_complain("destroy %s: %s", slot->name, torpor_error_message(err));
		torpor_error_free(err);
		slot->now = slot->then;
	}
}
