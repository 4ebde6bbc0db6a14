#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The probes that the manual lists, with as many arguments, are those that were built in, and the
# other way round; the example watches only what there is. Built without, there are none.
#   check_probes.sh with|without SOURCE-ROOT TORPORD TORPOR LIBTORPOR
set -euo pipefail
manual=$2/man/torpor-probes.7.scd
example=$2/dist/trace/torpor-breakdown.bt
torpord=$3
wrong=0

# "NAME ARGUMENTS", a line each, of a file's notes. A probe that is in several places is one.
built() { # FILE
  LC_ALL=C readelf -n "$1" | awk '
    /^ *Provider: / { ours = $2 == "torpor" }
    ours && /^ *Name: / { name = $2 }
    ours && /^ *Arguments: / { print name, NF - 1 }' | sort -u
}

# The same of the manual: "*park\_\_end*(_session_, _failed_)". Arguments are separated by commas.
listed() { # all|library
  awk -v what="$1" '
    /^# / { torpord = /^# ONLY IN TORPORD/ }
    /^\*[a-z]+\\_\\_[a-z]+\*\(/ && !(torpord && what == "library") {
      name = $0
      sub(/^\*/, "", name)
      sub(/\*.*/, "", name)
      gsub(/\\/, "", name)
      print name, gsub(/,/, ",") + 1
    }' "$manual" | sort -u
}

compare() { # FILE LISTED
  diff <(echo "$2") <(built "$1") && return
  echo "$1: what the manual lists (<) is not what is built in (>)"
  wrong=1
}

if [ "$1" = without ]; then
  for file in "${@:3}"; do
    [ -z "$(built "$file")" ] || { echo "$file has probes, though built without"; wrong=1; }
  done
  exit $wrong
fi

[ -n "$(listed all)" ] || { echo "$manual lists no probes"; exit 1; }
compare "$torpord" "$(listed all)"
for file in "${@:4}"; do
  compare "$file" "$(listed library)"
done

# Each probe of the example is one that there is.
watched=$(sed -nE 's/^usdt:[$]1:torpor:([a-z_]+),?$/\1/p' "$example" | sort -u)
[ -n "$watched" ] || { echo "$example watches nothing"; exit 1; }
unknown=$(comm -23 <(echo "$watched") <(listed all | cut -d' ' -f1) | paste -sd' ')
[ -z "$unknown" ] || { echo "$example watches what there isn't: $unknown"; wrong=1; }
exit $wrong
