/* SPDX-License-Identifier: Apache-2.0 */
/* Stored templates: opening, listing, removing. Building is in build.c. */
#include "pool/template.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hex.h"
#include "base/lock.h"
#include "base/mem.h"
#include "pool/build.h"
#include "pool/turn.h"
#include "storage/image_reader.h"

static struct torpor_error *not_found(const char *name)
{
	return tp_error_hint(
		tp_error(TORPOR_E_NOT_FOUND, "open template", name, "there is none of that name"),
		"See `torpor template ls`, or make it with `torpor template build %s`.", name);
}

/* Opens the image of the stored template NAME. */
static struct torpor_error *open_image(struct torpor_engine *engine, const char *name,
	const struct tp_call *call, struct tp_image **image_out)
{
	TP_FREE char *path = tp_asprintf("%s/" TEMPLATE_IMAGE, name);

	if (!tp_guest_name_ok(name))
		return tp_error(TORPOR_E_INVALID, "open template", name, "this can't be a name");
	struct torpor_error *err = tp_image_open(engine->templates_fd, path, call, image_out);
	if (err && torpor_error_errno(err) == ENOENT) {
		torpor_error_free(err);
		return not_found(name);
	}
	return err;
}

/* --- In use --- */

struct torpor_template *tp_template_ref(struct torpor_template *tmpl)
{
	pthread_mutex_lock(&tmpl->engine->lock);
	tmpl->refs++;
	pthread_mutex_unlock(&tmpl->engine->lock);
	return tmpl;
}

static void free_template(struct torpor_template *tmpl)
{
	tp_stock_shrink(tmpl, 0, 0);
	tp_base_unref(tmpl->base);
	tp_qemu_use_deinit(&tmpl->qemu);
	free(tmpl->name);
	free(tmpl);
}

struct torpor_template *torpor_template_close(struct torpor_template *tmpl)
{
	if (!tmpl)
		return NULL;

	struct torpor_engine *engine = tmpl->engine;
	pthread_mutex_lock(&engine->lock);
	bool last = --tmpl->refs == 0;
	if (last) {
		struct torpor_template **at = &engine->templates;
		while (*at != tmpl)
			at = &(*at)->next;
		*at = tmpl->next;
	}
	pthread_mutex_unlock(&engine->lock);
	if (last)
		free_template(tmpl);
	return NULL;
}

/* The one in use with that identity, counted up, or NULL. */
static struct torpor_template *in_use(struct torpor_engine *engine, const uint8_t *id)
{
	struct torpor_template *tmpl;

	pthread_mutex_lock(&engine->lock);
	for (tmpl = engine->templates; tmpl; tmpl = tmpl->next) {
		if (memcmp(tmpl->base->id, id, TP_IDENTITY_LEN) == 0)
			break;
	}
	if (tmpl)
		tmpl->refs++;
	pthread_mutex_unlock(&engine->lock);
	return tmpl;
}

struct torpor_template *tp_template_adopt(struct torpor_engine *engine, const char *name,
	struct tp_base *base, const struct tp_qemu_use *qemu, uint64_t image_bytes,
	uint64_t created_ns)
{
	struct torpor_template *tmpl = tp_calloc(1, sizeof(*tmpl));

	tmpl->engine = engine;
	tmpl->name = tp_strdup(name);
	tmpl->base = base;
	tmpl->image_bytes = image_bytes;
	tmpl->created_ns = created_ns;
	tmpl->refs = 1;
	if (qemu) {
		tmpl->qemu = *qemu;
		atomic_init(&tmpl->has_qemu, true);
	}
	TP_FREE char *path = tp_asprintf("%s/" TEMPLATE_IMAGE, name);
	struct stat st;
	if (fstatat(engine->templates_fd, path, &st, 0) == 0) {
		tmpl->dev = st.st_dev;
		tmpl->inode = st.st_ino;
	}
	pthread_mutex_lock(&engine->lock);
	tmpl->next = engine->templates;
	engine->templates = tmpl;
	pthread_mutex_unlock(&engine->lock);
	return tmpl;
}

/* In use already, or filled now; by whoever has the turn to fill. */
static struct torpor_error *get_template(struct torpor_engine *engine, const char *name,
	const struct tp_call *call, struct torpor_template **template_out)
{
	TP_CLEANUP(tp_image_close) struct tp_image *image = NULL;
	TP_FREE char *path = tp_asprintf("%s/" TEMPLATE_IMAGE, name);
	struct tp_base *base;

	TP_TRY(open_image(engine, name, call, &image));
	struct torpor_template *tmpl = in_use(engine, tp_image_meta(image)->template_id);
	if (!tmpl) {
		TP_TRY(tp_base_fill(engine->templates_fd, path, engine->workers, call, &base));
		tmpl = tp_template_adopt(engine, name, base, NULL, tp_image_file_bytes(image),
			tp_image_created_ns(image));
	}
	*template_out = tmpl;
	return NULL;
}

static struct torpor_error *open_template(struct torpor_engine *engine, const char *name,
	const struct tp_call *call, struct torpor_template **template_out)
{
	TP_TRY(tp_turn_take(engine->fill_turn, call, name));
	struct torpor_error *err = get_template(engine, name, call, template_out);
	tp_turn_give(engine->fill_turn);
	return err;
}

struct torpor_error *torpor_template_open(struct torpor_engine *engine, const char *name,
	const struct torpor_call *public_call, struct torpor_template **template_out)
{
	struct tp_call call = tp_call_from(public_call, OPEN_TIMEOUT_NS);
	struct torpor_template *tmpl;

	TP_TRY(open_template(engine, name, &call, &tmpl));
	struct torpor_error *err = tp_template_find_qemu(tmpl, &call);
	if (err) {
		torpor_template_close(tmpl);
		return tp_error_in(err, "open template", name);
	}
	*template_out = tmpl;
	return NULL;
}

char *tp_template_path(const struct torpor_template *tmpl, const char *file)
{
	return tp_asprintf("%s/templates/%s/%s", tmpl->engine->state_dir, tmpl->name, file);
}

/* --- Stored --- */

typedef struct torpor_error *each_fn(void *data, const char *name, const struct tp_image *image);

/* Calls FN for each stored template that can be read; an error of FN ends it. */
static struct torpor_error *for_each_stored(
	struct torpor_engine *engine, const struct tp_call *call, each_fn *fn, void *data)
{
	int fd = openat(engine->templates_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct torpor_error *err = NULL;
	struct dirent *entry;

	if (!dir) {
		err = tp_error_errno(errno, "list", "templates");
		tp_close(fd);
		return err;
	}
	while (!err && (entry = readdir(dir))) {
		struct tp_image *image;
		if (!tp_guest_name_ok(entry->d_name))
			continue;
		struct torpor_error *bad = open_image(engine, entry->d_name, call, &image);
		if (bad) {
			tp_error_log(bad);
			continue;
		}
		err = fn(data, entry->d_name, image);
		tp_image_close(image);
	}
	closedir(dir);
	return err;
}

struct find {
	const uint8_t *id;
	char *name; /* owned; the one found */
};

static struct torpor_error *match_id(void *data, const char *name, const struct tp_image *image)
{
	struct find *find = data;

	if (!find->name &&
		memcmp(tp_image_meta(image)->template_id, find->id, TP_IDENTITY_LEN) == 0)
		find->name = tp_strdup(name);
	return NULL;
}

/* The name under which the template of that identity is stored, the caller's to free. */
static struct torpor_error *find_name(struct torpor_engine *engine, const uint8_t *id,
	const char *name_hint, const struct tp_call *call, char **name_out)
{
	struct find find = {.id = id};

	TP_TRY(for_each_stored(engine, call, match_id, &find));
	if (!find.name) {
		char hex[2 * TP_IDENTITY_LEN + 1];
		tp_hex(id, TP_IDENTITY_LEN, hex);
		return tp_error_hint(tp_error(TORPOR_E_NOT_FOUND, "find template", name_hint,
					     "none with identity %.12s is stored", hex),
			"Copy that template into the state directory; one built anew is another.");
	}
	*name_out = find.name;
	return NULL;
}

struct torpor_error *tp_template_where(struct torpor_engine *engine,
	const uint8_t id[TP_IDENTITY_LEN], const struct tp_call *call, char **name_out)
{
	struct find find = {.id = id};
	struct torpor_template *tmpl = in_use(engine, id);

	if (tmpl) {
		*name_out = tp_strdup(tmpl->name);
		torpor_template_close(tmpl);
		return NULL;
	}
	TP_TRY(for_each_stored(engine, call, match_id, &find));
	*name_out = find.name;
	return NULL;
}

struct torpor_error *tp_template_open_id(struct torpor_engine *engine,
	const uint8_t id[TP_IDENTITY_LEN], const char *name_hint, const struct tp_call *call,
	struct torpor_template **template_out)
{
	struct torpor_template *tmpl = in_use(engine, id);
	TP_FREE char *name = NULL;

	if (tmpl) {
		*template_out = tmpl;
		return NULL;
	}
	TP_TRY(find_name(engine, id, name_hint, call, &name));
	return open_template(engine, name, call, template_out);
}

/* By whoever has the turn to fill. */
static struct torpor_error *take_back(struct torpor_engine *engine, const char *name, pid_t pid,
	const struct tp_call *call, struct torpor_template **template_out)
{
	TP_CLEANUP(tp_image_close) struct tp_image *image = NULL;
	TP_FREE char *path = tp_asprintf("%s/" TEMPLATE_IMAGE, name);
	struct tp_base *base;

	TP_TRY(open_image(engine, name, call, &image));
	struct torpor_template *tmpl = in_use(engine, tp_image_meta(image)->template_id);
	if (!tmpl) {
		TP_TRY(tp_base_take_back(
			engine->templates_fd, path, pid, engine->workers, call, &base));
		tmpl = tp_template_adopt(engine, name, base, NULL, tp_image_file_bytes(image),
			tp_image_created_ns(image));
	}
	*template_out = tmpl;
	return NULL;
}

struct torpor_error *tp_template_take_back(struct torpor_engine *engine,
	const uint8_t id[TP_IDENTITY_LEN], const char *name_hint, pid_t pid,
	const struct tp_call *call, struct torpor_template **template_out)
{
	struct torpor_template *tmpl = in_use(engine, id);
	TP_FREE char *name = NULL;

	if (tmpl) {
		*template_out = tmpl;
		return NULL;
	}
	TP_TRY(find_name(engine, id, name_hint, call, &name));
	TP_TRY(tp_turn_take(engine->fill_turn, call, name));
	struct torpor_error *err = take_back(engine, name, pid, call, template_out);
	tp_turn_give(engine->fill_turn);
	return err;
}

/* Bounded copy into a public array, cut if it must be. */
static void put_text(char *to, size_t room, const char *text)
{
	snprintf(to, room, "%s", text ? text : "");
}

static void fill_info(struct torpor_template_info *info, const char *name, const uint8_t *id,
	const struct tp_record *record)
{
	*info = (struct torpor_template_info){
		.memory = record->guest.memory_bytes,
		.vcpus = record->guest.vcpus,
		.helper = record->helper,
		.agent = record->agent,
		.boot_ns = record->boot_ns,
	};
	put_text(info->name, sizeof(info->name), name);
	tp_hex(id, TP_IDENTITY_LEN, info->id);
	put_text(info->machine_type, sizeof(info->machine_type), record->guest.machine_type);
	put_text(info->accel, sizeof(info->accel), tp_accel_name(record->guest.accel));
	put_text(info->cpu, sizeof(info->cpu), record->guest.cpu_model);
	put_text(info->qemu_version, sizeof(info->qemu_version), record->guest.qemu_version);
}

struct torpor_error *torpor_template_info(
	const struct torpor_template *tmpl, struct torpor_template_info *info_out)
{
	fill_info(info_out, tmpl->name, tmpl->base->id, &tmpl->base->record);
	info_out->image_bytes = tmpl->image_bytes;
	info_out->created_unix_ns = tmpl->created_ns;
	info_out->fill_ns = tmpl->base->fill_ns;
	return NULL;
}

static struct torpor_error *info_of_image(
	const char *name, const struct tp_image *image, struct torpor_template_info *info_out)
{
	TP_RECORD struct tp_record record = {0};
	const struct tp_image_meta *meta = tp_image_meta(image);

	TP_TRY(tp_record_parse(meta->config, name, &record));
	fill_info(info_out, name, meta->template_id, &record);
	info_out->image_bytes = tp_image_file_bytes(image);
	info_out->created_unix_ns = tp_image_created_ns(image);
	return NULL;
}

struct torpor_error *torpor_template_lookup(
	struct torpor_engine *engine, const char *name, struct torpor_template_info *info_out)
{
	struct tp_call call = tp_call_within(OPEN_TIMEOUT_NS);
	TP_CLEANUP(tp_image_close) struct tp_image *image = NULL;

	TP_TRY(open_image(engine, name, &call, &image));
	return info_of_image(name, image, info_out);
}

struct list {
	struct torpor_template_info *infos;
	size_t n;
};

static struct torpor_error *add_info(void *data, const char *name, const struct tp_image *image)
{
	struct list *list = data;
	struct torpor_template_info info;
	struct torpor_error *err = info_of_image(name, image, &info);

	if (err) {
		tp_error_log(err);
		return NULL;
	}
	list->infos = tp_reallocarray(list->infos, list->n + 1, sizeof(*list->infos));
	list->infos[list->n++] = info;
	return NULL;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct torpor_template_info *)a)->name,
		((const struct torpor_template_info *)b)->name);
}

struct torpor_error *torpor_template_list(
	struct torpor_engine *engine, struct torpor_template_info **infos_out, size_t *count_out)
{
	struct tp_call call = tp_call_within(OPEN_TIMEOUT_NS);
	struct list list = {0};
	struct torpor_error *err = for_each_stored(engine, &call, add_info, &list);

	if (err) {
		free(list.infos);
		return err;
	}
	if (list.n > 0)
		qsort(list.infos, list.n, sizeof(*list.infos), by_name);
	*infos_out = list.infos;
	*count_out = list.n;
	return NULL;
}

/* --- Removing --- */

static struct torpor_error *remove_dir(struct torpor_engine *engine, const char *dir_name)
{
	static const char *const files[] = {TEMPLATE_IMAGE, TEMPLATE_KERNEL, TEMPLATE_INITRD};
	TP_FD int dir = openat(engine->templates_fd, dir_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned int swept;

	if (dir < 0)
		return tp_error_errno(errno, "open directory", dir_name);
	TP_TRY(tp_image_sweep(dir, NULL, NULL, &swept));
	for (size_t i = 0; i < TP_ARRAY_LEN(files); i++) {
		if (unlinkat(dir, files[i], 0) < 0 && errno != ENOENT)
			return tp_error_errno(errno, "remove", files[i]);
	}
	if (unlinkat(engine->templates_fd, dir_name, AT_REMOVEDIR) < 0)
		return tp_error_errno(errno, "remove directory", dir_name);
	return NULL;
}

static bool is_stored(struct torpor_engine *engine, const char *dir_name)
{
	return faccessat(engine->templates_fd, dir_name, F_OK, 0) == 0 || errno != ENOENT;
}

struct torpor_error *tp_template_remove_dir(struct torpor_engine *engine, const char *dir_name)
{
	struct torpor_error *err = remove_dir(engine, dir_name);

	/* Another process's sweep can be at it too, and be the first at any step. */
	if (err && !is_stored(engine, dir_name)) {
		torpor_error_free(err);
		return NULL;
	}
	return err;
}

struct torpor_error *torpor_template_remove(struct torpor_engine *engine, const char *name)
{
	if (!tp_guest_name_ok(name))
		return tp_error(TORPOR_E_INVALID, "remove template", name, "this can't be a name");
	if (!is_stored(engine, name))
		return not_found(name);

	/* Renamed first, so that nobody sees half of it; the sweep ends what a crash interrupts, or
	 * the next removal of that name does. */
	TP_FREE char *hidden = tp_asprintf("." TEMPLATE_PART_PREFIX "%s", name);
	TP_TRY(tp_error_in(tp_template_remove_dir(engine, hidden), "remove template", name));
	if (renameat(engine->templates_fd, name, engine->templates_fd, hidden) < 0)
		return errno == ENOENT ? not_found(name)
				       : tp_error_errno(errno, "remove template", name);
	return tp_error_in(tp_template_remove_dir(engine, hidden), "remove template", name);
}

/* The pid in the name of a template's directory while it is built (tp_engine_guest_name), or 0. */
static pid_t builder_of(const char *dir_name)
{
	int pid = 0;

	(void)sscanf(dir_name, "." TEMPLATE_PART_PREFIX "build-%d-", &pid);
	return pid;
}

/* Whether nobody builds in it any more: builders hold a lock on the directory. */
static bool abandoned(struct torpor_engine *engine, const char *dir_name, uint64_t until_ns)
{
	TP_FD int dir = openat(engine->templates_fd, dir_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return false;
	while (flock(dir, LOCK_EX | LOCK_NB) < 0) {
		if (!tp_pid_has_ended(builder_of(dir_name)) || !tp_lock_await(until_ns))
			return false;
	}
	return true;
}

struct torpor_error *tp_template_sweep(struct torpor_engine *engine)
{
	const uint64_t until_ns = tp_now_ns() + TP_LOCK_PATIENCE_NS;
	int fd = openat(engine->templates_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		tp_close(fd);
		return tp_error_errno(errno, "list", "templates");
	}
	while ((entry = readdir(dir))) {
		const char *prefix = "." TEMPLATE_PART_PREFIX;
		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 &&
			abandoned(engine, entry->d_name, until_ns))
			tp_error_log(tp_template_remove_dir(engine, entry->d_name));
	}
	closedir(dir);
	return NULL;
}
