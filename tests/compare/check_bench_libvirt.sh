#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# scripts/bench-libvirt: four daemons that can be reached from here and have their own format, the
# host's directories as they were, others' daemons untouched, and nothing left, of processes neither.
#   check_bench_libvirt.sh SCRIPT
set -euo pipefail

script=$1
place=$(mktemp -d /tmp/torpor-check-XXXXXX)
dir=$place/lv
other=$place/other
trap '"$script" stop "$dir"; "$script" stop "$other"; rm -rf "$place"' EXIT

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

host_dirs=(/etc/libvirt /run/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt)
mark=.torpor-bench

# What the host has of libvirt itself, and what is mounted here. A marked directory isn't its own: the
# script has made it for others, or for a run that was broken off. The lock is the script's, for as
# long as it changes them.
host() {
  local path
  exec 9</var/lib
  flock 9
  for path in "${host_dirs[@]}"; do
    [ ! -d "$path" ] || [ -e "$path/$mark" ] || echo "$path"
  done
  exec 9<&-
  cat /proc/self/mounts
}

# Marked directories that nobody uses.
left_dirs() {
  local path
  exec 9</var/lib
  flock 9
  for path in "${host_dirs[@]}"; do
    [ ! -e "$path/$mark" ] || grep -qsF " $path " /proc/[0-9]*/mountinfo || echo "$path"
  done
  exec 9<&-
}

# Looked at once: one that has ended may be gone for good in the next moment.
is_running() { # PID
  local state
  state=$(awk '/^State/ {print $2}' "/proc/$1/status" 2>/dev/null) && [ "$state" != Z ]
}

# Whether what runs in DIR is in namespaces of its own, with the directories in them.
is_private() { # DIR FORMAT
  local pid
  pid=$(cat "$1/$2/libvirtd.pid")
  [ "$(readlink "/proc/$pid/ns/mnt")" != "$(readlink /proc/self/ns/mnt)" ] &&
    [ "$(readlink "/proc/$pid/ns/net")" != "$(readlink /proc/self/ns/net)" ] &&
    [ "$(stat -c %d:%i "/proc/$pid/root/etc/libvirt")" = "$(stat -c %d:%i "$1/$2/etc")" ] &&
    [ "$(stat -c %d:%i "/proc/$pid/root/run/libvirt")" = "$(stat -c %d:%i "$1/$2/run")" ]
}

before=$(host)
"$script" start "$dir"
pids=()
for format in raw lzop gzip xz; do
  [ -S "$dir/$format/libvirt-sock" ] || fail "$format: no socket"
  grep -q "^save_image_format = \"$format\"" "$dir/$format/etc/qemu.conf" || fail "$format: not set"
  for name in libvirtd virtlogd reaper; do
    pid=$(cat "$dir/$format/$name.pid")
    is_running "$pid" || fail "$format: no $name"
    pids+=("$pid")
  done
  is_private "$dir" "$format" || fail "$format: not private"
done

! "$script" start "$dir" 2>/dev/null || fail "started twice in one place"
is_private "$dir" raw || fail "a second start took the first one's place away"

"$script" start "$other"
# Nobody reads what it says, as behind a pager that was left.
exec 8> >(:)
wait $!
"$script" stop "$dir" >&8 || fail "stop fails where nobody reads it"
exec 8>&-
for pid in "${pids[@]}"; do
  ! is_running "$pid" || fail "process $pid is left"
done
[ ! -e "$dir" ] || fail "$dir is left"
for format in raw lzop gzip xz; do
  is_private "$other" "$format" || fail "$format: others' directories went with ours"
done
"$script" stop "$other"
[ "$(host)" = "$before" ] || fail "the host isn't as it was: $(diff <(echo "$before") <(host))"
[ -z "$(left_dirs)" ] || fail "left on the host: $(left_dirs)"
"$script" stop "$dir" || fail "a second stop fails"
