/* SPDX-License-Identifier: Apache-2.0 */
/* What makes the run worth less, and what that means. */
#include <string.h>

#include "benchmarks/report/report.h"

static const struct report_flag known[] = {
	{"quick", "it shows that everything works, and is no measurement"},
	{"noisy", "somebody else used the cores: absolute times say nothing; ratios of pairs are "
		  "better, but one disturbed half spoils its pair"},
	{"loaded", "the load average was at least the number of cores when it started: what was "
		   "measured had to wait for a core"},
	{"throttled",
		"a core was slowed down meanwhile: times from before and after don't compare"},
	{"swapping", "memory went to the disk or came back from there: times are that disk's"},
};

static const char *meaning(const char *name)
{
	for (size_t i = 0; i < TP_ARRAY_LEN(known); i++) {
		if (strcmp(known[i].name, name) == 0)
			return known[i].means;
	}
	return "the harness says so";
}

struct list {
	struct report_flag *flags;
	size_t n;
};

static void raise_flag(struct list *list, bool it_is_so, const char *name)
{
	if (!it_is_so || list->n == REPORT_FLAGS_MAX)
		return;
	for (size_t i = 0; i < list->n; i++) {
		if (strcmp(list->flags[i].name, name) == 0)
			return;
	}
	list->flags[list->n++] = (struct report_flag){name, meaning(name)};
}

static double fact(const json_t *context, const char *name)
{
	return json_number_value(json_object_get(context, name));
}

static void raise_all(struct list *list, const json_t *context)
{
	const json_t *noise = json_object_get(context, "noise");
	const json_t *flag;
	size_t i;

	raise_flag(list, json_is_true(json_object_get(context, "quick")), "quick");
	raise_flag(list, json_is_true(json_object_get(noise, "noisy")), "noisy");
	raise_flag(list,
		fact(context, "cores") > 0 && fact(context, "load_start") >= fact(context, "cores"),
		"loaded");
	raise_flag(list, fact(context, "throttled") > 0, "throttled");
	raise_flag(list, fact(context, "swapped_pages") > 0, "swapping");
	json_array_foreach (json_object_get(context, "flags"), i, flag) {
		if (json_is_string(flag))
			raise_flag(list, true, json_string_value(flag));
	}
}

size_t report_flags(const struct report *r, struct report_flag flags[REPORT_FLAGS_MAX])
{
	struct list list = {.flags = flags};

	raise_all(&list, r->context);
	raise_all(&list, r->bench.context);
	raise_all(&list, r->daemon.context);
	return list.n;
}
