#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What `torpor pool simulate` prints for the traces beside this, and how it fails.
#   check_simulate.sh PROGRAM TRACES
set -euo pipefail
simulate=$1
traces=$2
wrong=0

expect() { # WHAT ACTUAL EXPECTED
  [ "$2" = "$3" ] || { echo "$1: \"$2\" instead of \"$3\""; wrong=1; }
}

# The value of a key in what was found for either policy.
value() { # KEY JSON
  sed -nE "s/.*\"adaptive\":\{[^}]*\"$1\":([^,}]*).*/\1/p" <<<"$2"
}
fixed() { # KEY JSON
  sed -nE "s/.*\"fixed\":\{[^}]*\"$1\":([^,}]*).*/\1/p" <<<"$2"
}

out=$("$simulate" --json "$traces/trickle.trace")
expect "trickle's claims" "$(value claims "$out")" 60
expect "trickle's hit rate" "$(value hit_rate "$out")" 1.0
expect "nothing to compare" "$(fixed claims "$out")" ""

out=$("$simulate" --json --warm-max=64 --fixed=1 --refill-every=0 "$traces/bursts.trace")
expect "bursts' claims" "$(value claims "$out")" 320
expect "bursts' claims again" "$(fixed claims "$out")" 320
expect "bursts' peak" "$(value warm_peak "$out")" 64
# One waits, and one more was under way when the rest of the burst came.
expect "bursts, fixed" "$(fixed from_warm "$out")" 10
expect "again the same" \
  "$("$simulate" --json --warm-max=64 --fixed=1 --refill-every=0 "$traces/bursts.trace")" "$out"

# Without turns for starts ahead those of claims leave them no gap, after the first one.
out=$("$simulate" --json --refill-every=0 "$traces/steady.trace")
expect "steady's claims" "$(value claims "$out")" 715
expect "starved" "$(value from_warm "$out")" 2
longest=$(value wait_max_ms "$out")
# One has place beside two claims: as many as it takes 150 ms for, and nobody waits longer for it.
out=$("$simulate" --json "$traces/steady.trace")
expect "recovered" "$(value from_warm "$out")" 353
expect "steady's longest wait" "$(value wait_max_ms "$out")" "$longest"

out=$("$simulate" --json "$traces/swell.trace")
expect "swell is served" $(($(value from_warm "$out") + $(value from_shell "$out") + $(value from_spawn "$out"))) \
  "$(value claims "$out")"
"$simulate" --fixed=2 "$traces/swell.trace" | grep -q '^hit rate .* % .* %$' || { echo "no table"; wrong=1; }

fails() { # STATUS MESSAGE ARGUMENT...
  local status=0 said wanted=$1 message=$2
  shift 2
  said=$("$simulate" "$@" 2>&1 >/dev/null </dev/null) || status=$?
  expect "status of $*" "$status" "$wanted"
  [[ $said == *"$message"* ]] || { echo "$*: said \"$said\""; wrong=1; }
}
fails 1 "No such file" "$traces/none"
fails 1 "at least than at most" --warm-min=9 "$traces/trickle.trace"
fails 1 "line 5" --window=30 "$0"
fails 1 "window" --window=0 "$traces/trickle.trace"
exit $wrong
