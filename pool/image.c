/* SPDX-License-Identifier: Apache-2.0 */
/* Looking into image files. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"
#include "pool/template.h"
#include "storage/image_reader.h"

static void format_uuid(const uint8_t uuid[16], char text[37])
{
	char hex[33];

	tp_hex(uuid, 16, hex);
	snprintf(text, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

struct torpor_error *torpor_image_inspect(
	const char *path, const struct torpor_call *public_call, struct torpor_image_info *info_out)
{
	struct tp_call call = tp_call_from(public_call, OPEN_TIMEOUT_NS);
	TP_CLEANUP(tp_image_close) struct tp_image *image = NULL;

	TP_TRY(tp_image_open(AT_FDCWD, path, &call, &image));
	const struct tp_image_meta *meta = tp_image_meta(image);
	struct torpor_image_info info = {
		.config = tp_strdup(meta->config),
		.file_bytes = tp_image_file_bytes(image),
		.device_bytes = meta->device_len,
		.memory_bytes = tp_image_space_size(image) * TP_PAGE_SIZE,
		.pages = tp_image_page_count(image),
		.blocks = tp_image_block_count(image),
	};
	snprintf(info.kind, sizeof(info.kind), "%s", tp_image_kind_name(meta->kind));
	tp_hex(meta->template_id, TP_IDENTITY_LEN, info.template_id);
	format_uuid(tp_image_uuid(image), info.uuid);
	*info_out = info;
	return NULL;
}

void torpor_image_info_deinit(struct torpor_image_info *info)
{
	free(info->config);
	info->config = NULL;
}

/* The template that the image needs to be decoded, if it is stored; no failure if it isn't. */
static struct torpor_template *find_template(struct torpor_engine *engine,
	const struct tp_image *image, const char *path, const struct tp_call *call)
{
	struct torpor_template *tmpl = NULL;

	if (!engine || !tp_image_needs_base(image))
		return NULL;
	struct torpor_error *err =
		tp_template_open_id(engine, tp_image_meta(image)->template_id, path, call, &tmpl);
	torpor_error_free(err);
	return tmpl;
}

struct torpor_error *torpor_image_verify(struct torpor_engine *engine, const char *path,
	const struct torpor_call *public_call, bool *decoded_out)
{
	struct tp_call call = tp_call_from(public_call, TP_NO_DEADLINE);
	TP_CLEANUP(tp_image_close) struct tp_image *image = NULL;

	TP_TRY(tp_image_open(AT_FDCWD, path, &call, &image));
	struct torpor_template *tmpl = find_template(engine, image, path, &call);
	struct torpor_error *err =
		tp_image_verify(image, tmpl ? tmpl->base->fd : -1, NULL, NULL, &call);
	bool decoded = tmpl || !tp_image_needs_base(image);
	torpor_template_close(tmpl);
	if (err)
		return tp_error_in(err, "verify", path);
	*decoded_out = decoded;
	return NULL;
}
