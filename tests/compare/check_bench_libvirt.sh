#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# scripts/bench-libvirt: four daemons that can be reached from here and have their own format, the
# host's directories as they were, and nothing left, of processes neither.
#   check_bench_libvirt.sh SCRIPT
set -euo pipefail

script=$1
place=$(mktemp -d /tmp/torpor-check-XXXXXX)
dir=$place/lv
trap '"$script" stop "$dir"; rm -rf "$place"' EXIT

fail() {
  echo "$1"
  exit 1
}

skip() {
  echo "$1"
  exit 77
}

[ "$(id -u)" -eq 0 ] || skip "libvirt's system mode needs root"
[ -x /usr/sbin/libvirtd ] || skip "the package libvirt-daemon isn't installed"
unshare --mount --net true 2>/dev/null || skip "namespaces can't be made here"

# What there is of libvirt on this host, and what is mounted here.
host() {
  find /etc/libvirt /run/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt 2>/dev/null |
    sort
  cat /proc/self/mounts
}

before=$(host)
"$script" start "$dir"
pids=()
for format in raw lzop gzip xz; do
  [ -S "$dir/$format/libvirt-sock" ] || fail "$format: no socket"
  grep -q "^save_image_format = \"$format\"" "$dir/$format/etc/qemu.conf" || fail "$format: not set"
  for name in libvirtd virtlogd reaper; do
    pid=$(cat "$dir/$format/$name.pid")
    [ -d "/proc/$pid" ] || fail "$format: no $name"
    pids+=("$pid")
  done
  # Its own namespaces, and the directories in them.
  [ "$(readlink "/proc/$pid/ns/mnt")" != "$(readlink /proc/self/ns/mnt)" ] || fail "$format: mounts"
  [ "$(stat -c %d:%i "/proc/$pid/root/etc/libvirt")" = "$(stat -c %d:%i "$dir/$format/etc")" ] ||
    fail "$format: /etc/libvirt isn't private"
done
! "$script" start "$dir" 2>/dev/null || fail "started twice in one place"
[ -S "$dir/raw/libvirt-sock" ] || fail "a second start took the first one's place away"

"$script" stop "$dir"
for pid in "${pids[@]}"; do
  [ ! -d "/proc/$pid" ] || [ "$(awk '/^State/ {print $2}' "/proc/$pid/status")" = Z ] ||
    fail "process $pid is left"
done
[ ! -e "$dir" ] || fail "$dir is left"
[ "$(host)" = "$before" ] || fail "the host isn't as it was: $(diff <(echo "$before") <(host))"
"$script" stop "$dir" || fail "a second stop fails"
