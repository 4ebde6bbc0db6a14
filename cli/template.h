/* SPDX-License-Identifier: Apache-2.0 */
/* What torpor template does here, and through torpord. */
#ifndef TP_CLI_TEMPLATE_H
#define TP_CLI_TEMPLATE_H

#include "cli/cli.h"

struct cli_template_build {
	struct cli *cli;
	struct torpor_template_spec spec;
	bool quiet;
};

struct cli_template_named {
	struct cli *cli;
	const char *name; /* NULL: none was given */
	bool needed;
	bool force;
};

/* Whether --socket or --url was given: only then templates are torpord's business. */
bool cli_template_is_remote(const struct cli *cli);

/* The commands through torpord; the exit status. */
int cli_template_build_remote(struct cli *cli, const struct cli_template_build *spec);
int cli_template_list_remote(struct cli *cli, struct cli_template_named *named);
int cli_template_inspect_remote(struct cli *cli, struct cli_template_named *named);
int cli_template_remove_remote(struct cli *cli, struct cli_template_named *named);

#endif
