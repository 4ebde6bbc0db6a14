#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The demo, as a program sees it: one JSON object whose checks all hold, and nothing left behind.
#   check_demo.sh TORPOR    (TORPOR_TEST_STATE is where the template is)
set -euo pipefail

out=$("$1" --state "$TORPOR_TEST_STATE" --json demo --files 4) || { echo "$out"; exit 1; }
[ "$(wc -l <<<"$out")" -eq 1 ] || { echo "more than one line: $out"; exit 1; }
grep -q '"verified":true' <<<"$out" || { echo "not verified: $out"; exit 1; }
! grep -q '"checks":{[^}]*false' <<<"$out" || { echo "a check is false: $out"; exit 1; }
if ls "$TORPOR_TEST_STATE"/images/demo-* 2>/dev/null; then
  echo "the demo left images behind"
  exit 1
fi
