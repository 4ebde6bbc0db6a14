/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/report/pictures.h"

const struct report_picture report_pictures[] = {
	{"resume-running.svg", "Having a guest back: until it runs", report_draw_running},
	{"resume-answer.svg", "Having a guest back: until it answers", report_draw_answer},
	{"park-durable.svg", "Putting a guest aside: until it is durable", report_draw_durable},
	{"by-payload.svg", "What changed memory costs", report_draw_by_payload},
	{"by-ram.svg", "What the guest's size costs", report_draw_by_ram},
	{"sizes.svg", "What a guest put aside takes on the disk", report_draw_sizes},
};
const size_t report_n_pictures = TP_ARRAY_LEN(report_pictures);
