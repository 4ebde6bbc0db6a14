#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The report as a program: of a small run whose names and reasons are as odd as they can be, it makes a
# table and pictures that a parser of XML takes; it draws nothing that wasn't measured, and refuses odd lines.
#   check_report.sh BENCH-REPORT RUN
set -euo pipefail

report=$1
run=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
  echo "$1"
  exit 1
}

has() { # FILE TEXT
  grep -qF -- "$2" "$dir/$1" || fail "$1 has no \"$2\""
}

command -v xmllint >/dev/null || fail "xmllint is missing (Debian: libxml2-utils)"

# --- a whole run ---

cp "$run"/*.jsonl "$dir"
"$report" "$dir" || fail "the report failed"
pictures=(resume-running resume-answer park-durable by-payload by-ram sizes)
for picture in "${pictures[@]}"; do
  svg=$dir/$picture.svg
  xmllint --noout --nonet "$svg" || fail "$picture.svg is no XML"
  has table.md "]($picture.svg)"
  has "$picture.svg" 'role="img"'
  has "$picture.svg" 'viewBox="0 0 960 '
  has "$picture.svg" '@media (prefers-color-scheme:dark)'
  has "$picture.svg" 'This run was noisy: see table.md.'
  for element in title desc; do
    text=$(xmllint --nonet --xpath "string(/*/*[local-name()='$element'])" "$svg")
    [ ${#text} -gt 20 ] || fail "$picture.svg has no $element to speak of"
  done
  # All that it needs is in it.
  ! grep -qE 'href|url\(|@import|@font-face|<script|<image' "$svg" || fail "$picture.svg loads something"
done
names=$(find "$dir" -name '*.svg' -exec xmllint --nonet --xpath "//*[local-name()='title']/@id" {} \;)
[ -z "$(sort <<<"$names" | uniq -d)" ] || fail "two pictures have the same ids"
has resume-running.svg 'torpor-direct: median'
has resume-running.svg 'odd&lt;&amp;&gt;|"peer"'
has by-ram.svg '1 GiB</text>'
has by-payload.svg '20 MiB</text>'

has table.md '**This run was noisy: '
has table.md '| qemu10-mapped | 6 | **1** |'
has table.md '| 5 | qemu10-mapped | 256.00 MiB | 0.0 KiB | save | migrate: &lt;No space> left & gone \| really |'
has table.md '| crosvm | crosvm suspend and resume | it needs /dev/kvm \| which is &lt;not> here |'
has table.md '## 1 GiB of RAM, idle'
has table.md '## 256 MiB of RAM, 20 MiB written'
has table.md '| torpor bench: resume idle, against the floor | ratio_resume_idle | 1.20 | 100 | 0 | at most 1.3 | met |'
has table.md '| 10 clones, running | 23.00 MiB | 230.00 MiB | 246.00 MiB | 3.91 MiB | 260.00 MiB |'
has table.md '| 10 clones, paused | 23.00 MiB | – | – | – | – |'
has table.md '| left alone for a while | 23.00 MiB | 1.00 MiB | – | 4.50 MiB | – | – | – |'
has table.md '| 100001 | 40.00 ms | – | – | – | – | 30.00 ms | – | 16.0 KiB | – |'
has table.md 'https://github.com/kvcache-ai/AgentENV/issues/125'
# Rows have as many cells as the heads above them.
awk -F'|' '/\\\|/ { next } /^\|/ { if (last && NF != last) exit 1; last = NF; next } { last = 0 }' \
  "$dir/table.md" || fail "a row of a table is longer or shorter than its head"

# --- less of a run: what was drawn before goes ---

rm "$dir/torpor.jsonl" "$dir/daemon.jsonl"
grep -vE '"ram":1073741824|"payload":20971520' "$run/samples.jsonl" >"$dir/samples.jsonl"
"$report" "$dir" || fail "a run without torpor bench is refused"
for picture in by-payload by-ram; do
  [ ! -e "$dir/$picture.svg" ] || fail "$picture.svg is drawn of one column"
  ! grep -qF "$picture.svg" "$dir/table.md" || fail "the table shows $picture.svg"
done
for heading in 'Many guests at once' 'own process' 'Many parked sessions'; do
  ! grep -qF "$heading" "$dir/table.md" || fail "the table has \"$heading\", of nothing"
done
has table.md '| torpor bench: resume idle, against the floor | ratio_resume_idle | – | 0 | 0 | at most 1.3 | not measured (0 of the 7 needed) |'

# --- what is refused ---

echo '{"round":1' >>"$dir/samples.jsonl"
line=$(wc -l <"$dir/samples.jsonl")
cp "$dir/table.md" "$dir/before.md"
! "$report" "$dir" 2>"$dir/why" || fail "half a line is fine?"
has why "samples.jsonl:$line: it is no JSON"
cmp -s "$dir/table.md" "$dir/before.md" || fail "a refused run changed the table"
! "$report" "$dir/nowhere" 2>"$dir/why" || fail "no run is fine?"
has why 'nowhere/samples.jsonl: No such file or directory'
! "$report" 2>"$dir/why" || fail "no arguments are fine?"
has why 'usage: bench-report DIR'
cp "$run"/*.jsonl "$dir"
rm "$dir/table.md"
mkdir "$dir/table.md"
! "$report" "$dir" 2>"$dir/why" || fail "a table that can't be written is fine?"
has why 'table.md: Is a directory'
