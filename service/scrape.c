/* SPDX-License-Identifier: Apache-2.0 */
/* The text for Prometheus: what was counted, and what is so at this moment. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "service/events.h"
#include "service/keeper.h"
#include "service/metrics.h"
#include "service/pool_view.h"
#include "service/templates.h"

static void single(struct tp_buf *out, enum tp_family family, double value)
{
	tp_metric_head(out, family);
	tp_metric_sample(out, family, NULL, NULL, value);
}

static void write_sessions(struct tp_service *service, struct tp_buf *out)
{
	uint64_t counts[TP_STATE_COUNT];
	struct tp_usage usage;

	struct torpor_error *err = tp_count_states(service, counts);
	if (!err)
		err = tp_records_usage(service->records, NULL, &usage);
	if (err) {
		tp_error_log(tp_error_in(err, "scrape", "sessions"));
		return;
	}
	tp_metric_head(out, TP_FAMILY_SESSIONS);
	for (unsigned int i = 0; i < TP_STATE_COUNT; i++) {
		if (i != TP_STATE_DESTROYED)
			tp_metric_sample(out, TP_FAMILY_SESSIONS, tp_state_name((enum tp_state)i),
				NULL, (double)counts[i]);
	}
	single(out, TP_FAMILY_IMAGE_BYTES, (double)usage.image_bytes);
}

/* --- stock --- */

struct stock {
	struct tp_buf *out;
	enum tp_family family;
};

static void stock_sample(void *data, struct tp_service *service, const char *name)
{
	const struct stock *stock = data;
	struct tp_supply_view view;
	struct tp_buf *out = stock->out;
	enum tp_family family = stock->family;

	if (!tp_supply_view(service->supply, name, &view))
		return;
	if (family == TP_FAMILY_STOCK) {
		tp_metric_sample(out, family, name, "warm", view.stock.warm);
		tp_metric_sample(out, family, name, "shell", view.stock.shells);
	} else if (family == TP_FAMILY_TARGET) {
		tp_metric_sample(out, family, name, "warm", view.warm_target);
		tp_metric_sample(out, family, name, "shell", view.shell_target);
	} else if (family == TP_FAMILY_STARTING) {
		tp_metric_sample(out, family, name, NULL,
			view.stock.starting_warm + view.stock.starting_shells);
	} else if (family == TP_FAMILY_SERVED) {
		for (unsigned int i = 0; i < TP_ARRAY_LEN(view.served); i++)
			tp_metric_sample(out, family, name,
				torpor_source_name((enum torpor_source)i), (double)view.served[i]);
	} else if (family == TP_FAMILY_START_FAILURES) {
		tp_metric_sample(out, family, name, NULL, (double)view.failures);
	} else if (family == TP_FAMILY_DEAF) {
		tp_metric_sample(out, family, name, NULL, (double)view.deaf);
	} else {
		tp_metric_sample(out, family, name, NULL, view.degraded);
	}
}

/* Samples of a family stand together in the text. */
static void write_stock(struct tp_service *service, struct tp_buf *out)
{
	for (enum tp_family family = TP_FAMILY_STOCK; family <= TP_FAMILY_DEGRADED; family++) {
		struct stock stock = {.out = out, .family = family};
		tp_metric_head(out, family);
		tp_templates_each(service, stock_sample, &stock);
	}
	single(out, TP_FAMILY_QUEUE, tp_supply_waiting(service->supply));
}

/* --- memory, and the process itself --- */

static void write_memory(struct tp_service *service, struct tp_buf *out)
{
	struct tp_admission_view admission;
	struct tp_pressure_view pressure;

	tp_admission_view(service->admission, &admission);
	tp_keeper_pressure(service->keeper, &pressure);
	tp_metric_head(out, TP_FAMILY_MEMORY);
	tp_metric_sample(out, TP_FAMILY_MEMORY, "budget", NULL, (double)admission.host_memory);
	tp_metric_sample(out, TP_FAMILY_MEMORY, "charged", NULL, (double)admission.charged);
	tp_metric_sample(out, TP_FAMILY_MEMORY, "bases", NULL, (double)admission.bases);
	single(out, TP_FAMILY_MEMORY_AVAILABLE, (double)pressure.available);
	single(out, TP_FAMILY_PRESSURE, (double)pressure.level);
}

/* Pages, from /proc/self/statm; 0 if that can't be read. */
static double resident_bytes(void)
{
	TP_FREE char *text = NULL;
	size_t len;
	unsigned long size;
	unsigned long resident = 0;

	struct torpor_error *err = tp_read_file(AT_FDCWD, "/proc/self/statm", 256, &text, &len);
	if (err) {
		torpor_error_free(err);
		return 0;
	}
	return sscanf(text, "%lu %lu", &size, &resident) == 2
		       ? (double)resident * (double)sysconf(_SC_PAGESIZE)
		       : 0;
}

static double open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	/* Without "." and "..", and what this reads through. */
	return n > 3 ? n - 3 : 0;
}

static void write_records(struct tp_service *service, struct tp_buf *out)
{
	struct tp_records_stats records = tp_records_stats(service->records);
	struct tp_audit_stats audit = tp_audit_stats(service->audit);

	single(out, TP_FAMILY_CHANGES, (double)records.changes);
	single(out, TP_FAMILY_COMMITS, (double)records.commits);
	single(out, TP_FAMILY_AUDITED, (double)audit.entries);
	single(out, TP_FAMILY_AUDIT_LOST, (double)audit.lost);
}

char *tp_service_metrics(struct tp_service *service)
{
	TP_BUF struct tp_buf out = {0};

	tp_metrics_write(service->metrics, &out);
	write_sessions(service, &out);
	write_stock(service, &out);
	write_memory(service, &out);
	single(&out, TP_FAMILY_EVENTS, (double)tp_events_last(service->events));
	write_records(service, &out);
	single(&out, TP_FAMILY_RESIDENT, resident_bytes());
	single(&out, TP_FAMILY_FDS, open_fds());
	single(&out, TP_FAMILY_STARTED,
		(double)tp_metrics_since(service->metrics) / (double)TP_NSEC_PER_SEC);
	tp_buf_put_u8(&out, '\0');
	return (char *)TP_TAKE(out.data);
}
