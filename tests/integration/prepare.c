/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the template anew that the tests with real guests share. */
#include "support.h"

Test(prepare, template, .timeout = 300)
{
	struct torpor_engine *engine;
	struct torpor_engine_options options = {.state_dir = getenv("TORPOR_TEST_STATE")};

	it_ok(torpor_engine_open(&options, &engine));
	torpor_error_free(torpor_template_remove(engine, IT_TEMPLATE));
	torpor_engine_close(engine);
	torpor_engine_close(it_open());
}
