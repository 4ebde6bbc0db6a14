#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes the golden streams from the QEMU that is installed (those here: 7.2.22). The guest never runs,
# and its firmware is a pattern (page N of 64 KiB is filled with byte N+1), so that nothing in them
# is anybody's work. `loader` puts one value at 0x3000, so that main RAM has a page with content.
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || :; rm -rf "$work"' EXIT

for page in $(seq 16); do
  head -c 4096 /dev/zero | tr '\0' "\\$(printf %03o "$page")"
done >"$work/firmware"

# record NAME CAPABILITY COMMAND QEMU-ARGUMENTS...: runs COMMAND, which writes to $work/stream, a pipe
# whose end shows that all of it has come.
mkfifo "$work/stream"
record() {
  local name=$1 capability=$2 command=$3 line
  shift 3
  coproc QEMU { exec qemu-system-x86_64 -accel tcg,tb-size=32 -nodefaults -display none -S \
    -m 2 -bios "$work/firmware" -device loader,addr=0x3000,data=0x1122334455667788,data-len=8 \
    -qmp stdio "$@"; }
  local pid=$QEMU_PID packer
  zstd -q -19 -f -o "$name.zst" <"$work/stream" &
  packer=$!
  {
    echo '{"execute": "qmp_capabilities"}'
    echo '{"execute": "migrate-set-capabilities", "arguments": {"capabilities": [
      {"capability": "events", "state": true}, {"capability": "x-ignore-shared", "state": '"$capability"'}]}}'
    echo "$command"
  } >&"${QEMU[1]}"
  while read -r line <&"${QEMU[0]}"; do
    [[ $line == *'"error"'* || $line == *'"failed"'* ]] && { echo "$line" >&2; exit 1; }
    # `completed` for a migration; the third empty return for a command that is done when it returns.
    [[ $line == '{"return": {}}'* ]] && returns=$((${returns:-0} + 1))
    [[ $line == *'"completed"'* ]] && break
    [[ $command == *xen-save* && $returns == 3 ]] && break
  done
  returns=0
  echo '{"execute": "quit"}' >&"${QEMU[1]}"
  wait "$pid"
  wait "$packer"
}

migrate='{"execute": "migrate", "arguments": {"uri": "exec:cat >'"$work/stream"'"}}'
devices='{"execute": "xen-save-devices-state", "arguments": {"filename": "'"$work/stream"'", "live": false}}'
quiet=suppress-vmdesc=on

record pc-full false "$migrate" -machine "pc-i440fx-7.2,$quiet"
record pc-described false "$migrate" -machine pc-i440fx-7.2
record pc-ignore-shared true "$migrate" -machine "pc-i440fx-7.2,$quiet,memory-backend=ram" \
  -object memory-backend-memfd,id=ram,size=2M,share=on
record pc-devices false "$devices" -machine "pc-i440fx-7.2,$quiet"
record microvm-full false "$migrate" -machine "microvm,$quiet"
