/* SPDX-License-Identifier: Apache-2.0 */
/* A program outside the tree, with nothing but what is installed: outside STATE-DIRECTORY. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <torpor/torpor.h>

static void must(struct torpor_error *err)
{
	if (!err)
		return;
	fprintf(stderr, "%s\n", torpor_error_message(err));
	exit(1);
}

int main(int argc, char **argv)
{
	struct torpor_engine_options options = {.state_dir = argc > 1 ? argv[1] : NULL};
	struct torpor_template_info *infos;
	struct torpor_template *tmpl;
	struct torpor_engine *engine;
	size_t n;

	must(torpor_engine_open(&options, &engine));
	if (argc > 1 && strcmp(torpor_engine_state_dir(engine), argv[1]) != 0)
		return 2;
	must(torpor_template_list(engine, &infos, &n));
	free(infos);
	struct torpor_error *err = torpor_template_open(engine, "none-such", NULL, &tmpl);
	if (!err || torpor_error_code(err) != TORPOR_E_NOT_FOUND)
		return 3;
	torpor_error_free(err);
	torpor_engine_close(engine);
	return n == 0 ? 0 : 4;
}
