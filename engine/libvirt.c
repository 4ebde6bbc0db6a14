/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU as a transient domain of libvirt's.
 *
 * A guest has its directory under the run directory as with the direct launcher: its lock says who
 * owns it, its record which process it is, and the helper's socket is there (libvirtd makes it).
 * What differs is who starts QEMU, and that its monitor is spoken to through libvirtd
 * (libvirt_relay.c). Its memory is read and written as ever, by pid.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/direct.h"
#include "engine/kept.h"
#include "engine/libvirt_domain.h"
#include "engine/libvirt_priv.h"
#include "engine/rundir.h"

/* What QEMU gets to end by itself, so that libvirt doesn't take it for crashed. */
#define QUIT_PATIENCE_NS (TP_NSEC_PER_SEC)

static struct libvirt_launcher *libvirt_of(struct tp_launcher *launcher)
{
	return (struct libvirt_launcher *)launcher;
}

struct libvirt_guest *tp_libvirt_guest_new(struct libvirt_launcher *launcher, const char *name)
{
	struct libvirt_guest *guest = tp_calloc(1, sizeof(*guest));

	guest->base.launcher = &launcher->base;
	guest->base.name = tp_strdup(name);
	guest->base.bound = launcher->bound;
	guest->base.process.pidfd = -1;
	guest->base.helper_fd = -1;
	guest->base.exit_status = -1;
	guest->dir_fd = -1;
	return guest;
}

struct torpor_error *tp_libvirt_attach(
	struct libvirt_guest *guest, bool channels, const struct tp_call *call)
{
	const char *name = guest->base.name;
	TP_FD int qmp_fd = -1;
	int agent_fd = -1;

	TP_TRY(tp_relay_start(guest->relay, &qmp_fd, channels ? &agent_fd : NULL));
	if (channels) {
		guest->base.agent = tp_agent_open(agent_fd, name);
		TP_TRY(tp_rundir_connect(guest->dir_fd, "helper", name, &guest->base.helper_fd));
	}
	struct torpor_error *err = tp_qmp_open(TP_TAKE_FD(qmp_fd), name, call, &guest->base.qmp);
	return tp_guest_explain(&guest->base, err, "run", call);
}

/* ---- domains ---- */

struct torpor_error *tp_libvirt_domain_of(
	struct libvirt_guest *guest, const struct tp_call *call, virDomainPtr *domain_out)
{
	struct libvirt_launcher *launcher = libvirt_of(guest->base.launcher);
	TP_VIR_CONN virConnectPtr conn = NULL;

	TP_TRY(tp_link_get(tp_relays_link(launcher->relays), call, &conn, NULL));
	*domain_out = tp_vir.virDomainLookupByUUIDString(conn, guest->uuid);
	if (!*domain_out)
		return tp_vir_error("look up domain", guest->base.name);
	return NULL;
}

/* Whether ERR says no more than that there is no such domain, which is freed then. */
static bool is_gone(struct torpor_error *err)
{
	if (!err || torpor_error_code(err) != TORPOR_E_NOT_FOUND)
		return false;
	torpor_error_free(err);
	return true;
}

static struct torpor_error *destroy(virDomainPtr domain, const char *name)
{
	if (tp_vir.virDomainDestroyFlags(domain, 0) == 0)
		return NULL;
	/* It may have ended by itself meanwhile. */
	if (tp_vir.virGetLastErrorCode() == VIR_ERR_OPERATION_INVALID)
		return NULL;
	struct torpor_error *err = tp_vir_error("destroy domain", name);
	return is_gone(err) ? NULL : err;
}

struct torpor_error *tp_libvirt_destroy(struct libvirt_launcher *launcher, const char *uuid,
	const char *name, const struct tp_call *call)
{
	TP_VIR_CONN virConnectPtr conn = NULL;
	TP_VIR_DOMAIN virDomainPtr domain = NULL;

	TP_TRY(tp_link_get(tp_relays_link(launcher->relays), call, &conn, NULL));
	domain = tp_vir.virDomainLookupByUUIDString(conn, uuid);
	if (domain)
		return destroy(domain, name);
	struct torpor_error *err = tp_vir_error("look up domain", name);
	return is_gone(err) ? NULL : err;
}

/* Whether DOMAIN says that it is a guest in this launcher's run directory. */
static bool is_ours(struct libvirt_launcher *launcher, virDomainPtr domain)
{
	TP_FREE char *metadata = tp_vir.virDomainGetMetadata(
		domain, VIR_DOMAIN_METADATA_ELEMENT, TP_RELAY_METADATA_URI, VIR_DOMAIN_AFFECT_LIVE);

	return tp_libvirt_domain_is_of(metadata, launcher->run_id);
}

static struct torpor_error *find_domain(struct libvirt_launcher *launcher, const char *name,
	const struct tp_call *call, virDomainPtr *domain_out)
{
	TP_VIR_CONN virConnectPtr conn = NULL;
	TP_VIR_DOMAIN virDomainPtr domain = NULL;

	TP_TRY(tp_link_get(tp_relays_link(launcher->relays), call, &conn, NULL));
	domain = tp_vir.virDomainLookupByName(conn, name);
	if (!domain)
		return tp_vir_error("look up domain", name);
	if (!is_ours(launcher, domain))
		return tp_error(TORPOR_E_NOT_FOUND, "look up domain", name,
			"there is one of that name, but it isn't Torpor's");
	*domain_out = TP_TAKE(domain);
	return NULL;
}

/* ---- finding ---- */

static struct torpor_error *find_in(
	struct libvirt_launcher *launcher, struct libvirt_guest *guest, const struct tp_call *call)
{
	const char *name = guest->base.name;
	TP_VIR_DOMAIN virDomainPtr domain = NULL;

	TP_TRY(tp_rundir_lock(launcher->run_dir_fd, name, &guest->dir_fd));
	TP_TRY(tp_rundir_open_process(guest->dir_fd, name, 0, 0, &guest->base.process));
	TP_TRY(find_domain(launcher, name, call, &domain));
	if (tp_vir.virDomainGetUUIDString(domain, guest->uuid) < 0)
		return tp_vir_error("look up domain", name);
	guest->relay = tp_relay_new(launcher->relays, name, guest->uuid);
	bool channels = faccessat(guest->dir_fd, "helper", F_OK, 0) == 0;
	return tp_libvirt_attach(guest, channels, call);
}

/* Closes all; the guest, if there is one, goes on. */
static void undo_find(struct libvirt_guest *guest)
{
	tp_qmp_close(guest->base.qmp);
	tp_agent_close(guest->base.agent);
	tp_close(guest->base.helper_fd);
	tp_relay_close(guest->relay);
	tp_process_deinit(&guest->base.process);
	tp_close(guest->dir_fd);
	free(guest->base.name);
	free(guest);
}

static struct torpor_error *libvirt_find(struct tp_launcher *base, const char *name,
	const struct tp_call *call, struct tp_guest **guest_out)
{
	struct libvirt_launcher *launcher = libvirt_of(base);
	struct libvirt_guest *guest = tp_libvirt_guest_new(launcher, name);

	/* Found guests were started by others, and outlive us if they are released. */
	guest->base.bound = false;
	guest->limited = TP_LIBVIRT_ALL;
	struct torpor_error *err = find_in(launcher, guest, call);
	if (err) {
		undo_find(guest);
		return tp_error_in(err, "find guest", name);
	}
	*guest_out = &guest->base;
	return NULL;
}

/* ---- ending ---- */

static struct torpor_error *end_found(struct libvirt_launcher *launcher, const char *name,
	struct tp_process *process, const struct tp_call *call)
{
	TP_VIR_DOMAIN virDomainPtr domain = NULL;
	struct torpor_error *err = find_domain(launcher, name, call, &domain);

	if (!err)
		err = destroy(domain, name);
	else if (is_gone(err))
		err = NULL;
	/* Whatever libvirt thinks of it: this process is to be gone. */
	return tp_error_first(err, tp_process_kill(process, call, NULL));
}

static struct torpor_error *libvirt_end(struct tp_launcher *base, const char *name, pid_t pid,
	uint64_t start_time, const struct tp_call *call)
{
	struct libvirt_launcher *launcher = libvirt_of(base);
	TP_FD int dir_fd = -1;
	struct tp_process process;

	TP_TRY(tp_rundir_lock(launcher->run_dir_fd, name, &dir_fd));
	TP_TRY(tp_rundir_open_process(dir_fd, name, pid, start_time, &process));
	struct torpor_error *err = end_found(launcher, name, &process, call);
	tp_process_deinit(&process);
	if (!err)
		tp_rundir_remove(launcher->run_dir_fd, name, dir_fd);
	return err;
}

static struct torpor_error *libvirt_quit(struct tp_guest *guest, const struct tp_call *call)
{
	struct tp_call soon = tp_call_bounded(call, QUIT_PATIENCE_NS);

	if (guest->qmp && !tp_qmp_closed(guest->qmp) && !tp_process_ended(&guest->process)) {
		struct torpor_error *err =
			tp_qmp_execute(guest->qmp, "quit", NULL, -1, &soon, NULL);
		torpor_error_free(err); /* its end is what counts */
		err = tp_wait_fd(
			guest->process.pidfd, POLLIN, &soon, "wait for the end of", guest->name);
		torpor_error_free(err);
	}
	return tp_process_kill(&guest->process, call, NULL);
}

static void libvirt_let_go(struct tp_guest *base, bool ended)
{
	struct libvirt_guest *guest = (struct libvirt_guest *)base;
	struct libvirt_launcher *launcher = libvirt_of(base->launcher);

	tp_relay_close(guest->relay);
	if (ended)
		tp_rundir_remove(launcher->run_dir_fd, base->name, guest->dir_fd);
	tp_close(guest->dir_fd);
}

static char *libvirt_output_tail(struct tp_guest *base)
{
	struct libvirt_guest *guest = (struct libvirt_guest *)base;

	return guest->relay ? tp_relay_last_words(guest->relay) : tp_strdup("");
}

/* ---- sweeping ---- */

static void sweep_domain(struct libvirt_launcher *launcher, virDomainPtr domain)
{
	const char *name = tp_vir.virDomainGetName(domain);

	if (!name || !tp_guest_name_ok(name) || !is_ours(launcher, domain))
		return;
	/* Nobody has seen its start to the end. */
	if (tp_rundir_is_abandoned(launcher->run_dir_fd, name))
		tp_error_log(destroy(domain, name));
}

static struct torpor_error *libvirt_sweep(struct tp_launcher *base, const struct tp_call *call)
{
	struct libvirt_launcher *launcher = libvirt_of(base);
	TP_VIR_CONN virConnectPtr conn = NULL;
	virDomainPtr *domains;

	TP_TRY(tp_link_get(tp_relays_link(launcher->relays), call, &conn, NULL));
	int n = tp_vir.virConnectListAllDomains(conn, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
	if (n < 0)
		return tp_vir_error("list domains of", launcher->connect);
	for (int i = 0; i < n; i++) {
		sweep_domain(launcher, domains[i]);
		tp_vir.virDomainFree(domains[i]);
	}
	free(domains);
	return tp_rundir_sweep(launcher->run_dir_fd, call);
}

static struct torpor_error *libvirt_list(struct tp_launcher *base, char ***names_out, size_t *n_out)
{
	return tp_rundir_list(libvirt_of(base)->run_dir_fd, names_out, n_out);
}

/* ---- the rest ---- */

static void libvirt_describe(struct tp_guest *base, const struct tp_guest_label *label)
{
	struct libvirt_guest *guest = (struct libvirt_guest *)base;
	struct libvirt_launcher *launcher = libvirt_of(base->launcher);

	tp_relay_label(guest->relay, tp_strdup(label->session),
		tp_libvirt_domain_metadata(launcher->run_id, label));
}

static void libvirt_on_stir(struct tp_launcher *base, tp_stir_fn *stir, void *data)
{
	tp_relays_on_stir(libvirt_of(base)->relays, stir, data);
}

static void libvirt_free(struct tp_launcher *base)
{
	struct libvirt_launcher *launcher = libvirt_of(base);

	tp_relays_close(launcher->relays);
	tp_spawner_free(launcher->spawner);
	tp_close(launcher->run_dir_fd);
	tp_cgroup_close(launcher->disk);
	pthread_mutex_destroy(&launcher->lock);
	free(launcher->connect);
	free(launcher->emulator);
	free(launcher->firmware_dir);
	free(launcher->run_dir);
	free(launcher->run_id);
	free(launcher);
}

static const struct tp_launcher_ops libvirt_ops = {
	.start = tp_libvirt_start,
	.find = libvirt_find,
	.end = libvirt_end,
	.list = libvirt_list,
	.sweep = libvirt_sweep,
	.on_stir = libvirt_on_stir,
	.free = libvirt_free,
	.describe = libvirt_describe,
	.limit = tp_libvirt_limit,
	.quit = libvirt_quit,
	.let_go = libvirt_let_go,
	.output_tail = libvirt_output_tail,
};

/* ---- opening ---- */

static struct torpor_error *look_up_paths(
	struct libvirt_launcher *launcher, const struct tp_libvirt_options *options)
{
	const char *qemu = options->qemu ? options->qemu : TP_DEFAULT_QEMU;
	struct stat st;

	/* libvirtd doesn't look into our PATH. One that isn't there is missed when a guest is to be
	 * started, as with the other launcher. */
	TP_ERROR struct torpor_error *none = tp_program_find(qemu, &launcher->emulator);
	if (none)
		launcher->emulator = tp_strdup(qemu);
	TP_TRY(tp_rundir_open(options->run_dir, &launcher->run_dir_fd));
	launcher->run_dir = realpath(options->run_dir, NULL);
	if (!launcher->run_dir || fstat(launcher->run_dir_fd, &st) < 0)
		return tp_error_errno(errno, "look up", options->run_dir);
	launcher->run_id =
		tp_asprintf("%x-%x-%jx", major(st.st_dev), minor(st.st_dev), (uintmax_t)st.st_ino);
	return NULL;
}

static struct torpor_error *open_parts(
	struct libvirt_launcher *launcher, const struct tp_libvirt_options *options)
{
	TP_TRY(look_up_paths(launcher, options));
	TP_TRY(tp_cgroup_look("", &launcher->disk));
	tp_cgroup_set_disk(launcher->disk, launcher->run_dir);
	TP_TRY(tp_spawner_new(options->exec_helper, &launcher->spawner));
	return tp_relays_open(launcher->connect, &launcher->relays);
}

struct torpor_error *tp_libvirt_launcher_new(
	const struct tp_libvirt_options *options, struct tp_launcher **launcher_out)
{
	struct libvirt_launcher *launcher = tp_calloc(1, sizeof(*launcher));

	launcher->base.ops = &libvirt_ops;
	launcher->connect = tp_strdup(options->connect ? options->connect : TP_DEFAULT_CONNECT);
	launcher->firmware_dir = tp_strdup(options->firmware_dir);
	launcher->bound = options->bound;
	launcher->run_dir_fd = -1;
	pthread_mutex_init(&launcher->lock, NULL);
	struct torpor_error *err = open_parts(launcher, options);
	if (err) {
		libvirt_free(&launcher->base);
		return err;
	}
	*launcher_out = &launcher->base;
	return NULL;
}
