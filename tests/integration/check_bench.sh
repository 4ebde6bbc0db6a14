#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The benchmark, as a program sees it: JSON lines of the right shape for every scenario, honest
# failures, and nothing left behind, also after an interrupt. What the figures are isn't looked at.
#   check_bench.sh TORPOR    (TORPOR_TEST_STATE is where the template is)
set -euo pipefail

torpor=("$1" --state "$TORPOR_TEST_STATE")
template=minimal
out=$(mktemp)
trap 'rm -f "$out"' EXIT

fail() {
  echo "$1"
  cat "$out"
  exit 1
}

nothing_left() {
  # Parts of images are ".NAME...": others that park here meanwhile have theirs.
  if ls "$TORPOR_TEST_STATE"/images/{bench-,.bench}* 2>/dev/null; then
    fail "$1 left images behind"
  fi
  # Run directories carry the pid of who made them.
  if ls -d "$TORPOR_TEST_STATE"/run/*-"$2"-* 2>/dev/null; then
    fail "$1 left a guest's directory behind"
  fi
}

# --- all scenarios but scale_ram, quickly ---

"${torpor[@]}" bench --template "$template" --quick --n 1 --quiet 100 --out "$out" &
pid=$!
wait "$pid" || fail "the benchmark failed"
nothing_left "the benchmark" "$pid"

time='"unit":"ns","n":1,"failures":0,"min":[0-9]+,"p50":[0-9]+,"p90":null,"p99":null,"max":[0-9]+}$'
verdict='"unit":"ratio","n":1,"value_p50":[0-9.e+-]+,"limit'

for fact in torpor date host kernel cores qemu accel template_id scan io_uring n quiet_ms \
  load_start load_end; do
  grep -qE "^\{\"context\":\"$fact\",\"value\":[^n]" "$out" || fail "no context $fact"
done
grep -qE '^\{"context":"noise",.*"noisy":(true|false)' "$out" || fail "no noise figure"

for name in fill_base spawn_shell claim_clone.{running,ready,agent} \
  {park_idle,park_dirty}.{captured,durable,gone} {resume_idle,resume_dirty}.{running,ready,agent} \
  floor_park_idle.captured floor_park_dirty.{captured,durable} \
  floor_resume_{idle,dirty}.running checkpoint_idle.{captured,pause,durable} fork_8.{running,ready}; do
  grep -qE "^\{\"name\":\"$name\",$time" "$out" || fail "no sound line for $name"
done
grep -qE '^\{"name":"image_idle","unit":"bytes","n":1,' "$out" || fail "no image size"
for name in process_{claimed,idle}.{private,guest_ram,heap,program,page_tables} \
  clones_{1,2}_{running,paused}.{private_sum,proportional_sum} booted_1_running.private_sum; do
  grep -qE "^\{\"name\":\"$name\",\"unit\":\"bytes\",\"n\":1," "$out" || fail "no sound line for $name"
done
for name in ratio_{park_idle,resume_idle,resume_dirty,park_dirty,park_dirty_durable,fork_8}; do
  grep -qE "^\{\"name\":\"$name\",$verdict\":[0-9.]+,\"met\":(true|false)}$" "$out" ||
    fail "no verdict $name"
done
grep -qE '^\{"name":"limit_image_idle","unit":"bytes","n":1,"value_p50":[0-9]+,"limit":20480,"met":(true|false)}$' \
  "$out" || fail "no verdict on the image's size"
! grep -vE '^\{"(name|context)":.*\}$' "$out" || fail "a line is neither figure nor context"

# --- a table, of one scenario ---

"${torpor[@]}" bench --template "$template" --quick --n 1 --scenario spawn_shell --table >"$out" ||
  fail "no table"
grep -qE '^claim_clone.running +1 +0 ' "$out" || fail "the table has no figure"
! grep -q park_idle "$out" || fail "more was measured than asked for"

# --- what can't be measured is said ---

! "${torpor[@]}" bench --template no-such-template >"$out" 2>&1 || fail "a missing template is fine?"
grep -q 'no-such-template: there is none of that name' "$out" || fail "the error doesn't say why"
! "${torpor[@]}" bench --template "$template" --scenario no_such >"$out" 2>&1 || fail "no_such ran"
grep -q 'no_such: there is no such scenario' "$out" || fail "the error doesn't say why"

# --- an interrupt while guests are quiet: it ends soon, prints what it has, and cleans up ---

mkfifo "$out.progress"
"${torpor[@]}" bench --template "$template" --scenario spawn_shell,park_idle --n 1 --quiet 3600000 \
  >"$out" 2>"$out.progress" &
pid=$!
exec 3<"$out.progress"
rm "$out.progress"
while read -r line <&3; do
  [[ $line == *park_idle* ]] && break
done
kill -INT "$pid"
! wait "$pid" || fail "an interrupted run claims success"
grep -q '"name":"claim_clone.running"' "$out" || fail "what was measured before it is lost"
nothing_left "the interrupted benchmark" "$pid"
