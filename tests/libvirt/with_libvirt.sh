#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command beside a private libvirtd that is set up as Debian's package has it: QEMU runs as a
# user of its own, in a mount namespace of its own.
#   with_libvirt.sh SCRIPT COMMAND...      SCRIPT is scripts/bench-libvirt
# COMMAND finds TORPOR_LAUNCHER and TORPOR_CONNECT set, and in TORPOR_TEST_LIBVIRTD_RESTART what
# starts the daemon anew.
set -euo pipefail

script=$1
shift
place=$(mktemp -d /tmp/torpor-lv-XXXXXX)
trap '"$script" stop "$place/d"; rm -rf "$place"' EXIT
chmod 0755 "$place"

skip() {
  echo "NOT RUN: $1"
  exit 77
}

[ "$(id -u)" -eq 0 ] || skip "libvirt's system mode needs root"
[ -x /usr/sbin/libvirtd ] || skip "the package libvirt-daemon isn't installed"
/usr/bin/python3 -c 'import libvirt' 2>/dev/null || skip "the package python3-libvirt isn't installed"
unshare --mount --net true 2>/dev/null || skip "namespaces can't be made here"

"$script" start "$place/d" host
export TORPOR_LAUNCHER=libvirt
export TORPOR_CONNECT="qemu:///system?socket=$place/d/host/libvirt-sock"
export TORPOR_TEST_LIBVIRTD_RESTART="$script restart $place/d host"
"$@"
