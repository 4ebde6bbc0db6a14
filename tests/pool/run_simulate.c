/* SPDX-License-Identifier: Apache-2.0 */
/* `torpor pool simulate` alone, for check_simulate.sh. */
#include "cli/cli.h"

int main(int argc, char **argv)
{
	struct cli cli = {0};

	return cli_pool_simulate(&cli, argc, argv);
}
