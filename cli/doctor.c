/* SPDX-License-Identifier: Apache-2.0 */
/* torpor doctor */
#include "cli/cli.h"

struct doctor {
	struct cli *cli;
	const char *template_name;
	json_t *findings; /* with --json */
	enum torpor_health worst;
};

static const char *const health_names[] = {
	[TORPOR_HEALTH_GOOD] = "good",
	[TORPOR_HEALTH_LESS] = "less",
	[TORPOR_HEALTH_BAD] = "bad",
};

static void tell(void *data, const struct torpor_finding *finding)
{
	struct doctor *doctor = data;
	static const char *const marks[] = {
		[TORPOR_HEALTH_GOOD] = "ok ",
		[TORPOR_HEALTH_LESS] = "-- ",
		[TORPOR_HEALTH_BAD] = "!! ",
	};

	if (finding->health > doctor->worst)
		doctor->worst = finding->health;
	if (doctor->findings) {
		json_array_append_new(doctor->findings,
			json_pack("{s:s, s:s, s:s, s:s?}", "subject", finding->subject, "health",
				health_names[finding->health], "text", finding->text, "advice",
				finding->advice));
		return;
	}
	printf("%s %-13s %s\n", marks[finding->health], finding->subject, finding->text);
	if (finding->advice)
		printf("                  %s\n", finding->advice);
	fflush(stdout);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct doctor *doctor = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = doctor->cli;
		return 0;
	case 't':
		doctor->template_name = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option options[] = {
	{"template", 't', "NAME", 0,
		"Prove the accelerator with this template's kernel (default: the first stored)", 0},
	{0},
};

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.doc = "Looks what this host can do, and says what to do about the rest. Whether kvm works "
	       "is "
	       "proven by booting a template's kernel, for at most 10 s, once in each boot of the "
	       "host.",
	.children = cli_common,
};

int cli_doctor(struct cli *cli, int argc, char **argv)
{
	struct doctor doctor = {.cli = cli};
	struct torpor_engine *engine;

	argp_parse(&argp, argc, argv, 0, NULL, &doctor);
	struct torpor_error *err = cli_open(cli, &engine);
	if (err)
		return cli_finish(cli, err);
	doctor.findings = cli->json ? json_array() : NULL;
	err = torpor_doctor(engine, doctor.template_name, tell, &doctor, &cli->call);
	torpor_engine_close(engine);
	if (err) {
		json_decref(doctor.findings);
		return cli_finish(cli, err);
	}
	if (cli->json)
		cli_print_json(json_pack("{s:s, s:o}", "health", health_names[doctor.worst],
			"findings", doctor.findings));
	return doctor.worst == TORPOR_HEALTH_BAD ? CLI_FAILED : CLI_OK;
}
