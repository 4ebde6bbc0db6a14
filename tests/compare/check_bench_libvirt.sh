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

# What there is of libvirt on this host, and what is mounted here.
host() {
  ls -d /etc/libvirt /run/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt 2>/dev/null ||
    true
  cat /proc/self/mounts
}

is_running() { # PID
  [ -d "/proc/$1" ] && [ "$(awk '/^State/ {print $2}' "/proc/$1/status")" != Z ]
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
"$script" stop "$dir"
for pid in "${pids[@]}"; do
  ! is_running "$pid" || fail "process $pid is left"
done
[ ! -e "$dir" ] || fail "$dir is left"
for format in raw lzop gzip xz; do
  is_private "$other" "$format" || fail "$format: others' directories went with ours"
done
"$script" stop "$other"
[ "$(host)" = "$before" ] || fail "the host isn't as it was: $(diff <(echo "$before") <(host))"
"$script" stop "$dir" || fail "a second stop fails"
