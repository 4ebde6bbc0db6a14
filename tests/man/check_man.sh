#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Each option and command that --help tells is in the manual, and the other way round; so is each
# function of the public headers. A command below another may have a page of its own.
#   check_man.sh TORPOR SOURCE-ROOT
set -euo pipefail
torpor=$1
man=$2/man
wrong=0

# Two lists, one word a line: what only one of them has is an error.
compare() { # WHAT HELP MANUAL
  local only
  only=$(comm -23 <(sort -u <<<"$2") <(sort -u <<<"$3") | paste -sd' ')
  [ -z "$only" ] || { echo "$1: not in the manual: $only"; wrong=1; }
  only=$(comm -13 <(sort -u <<<"$2") <(sort -u <<<"$3") | paste -sd' ')
  [ -z "$only" ] || { echo "$1: only in the manual: $only"; wrong=1; }
}

# Options of a --help on standard input: "-v", "--state=DIR" ...
help_options() {
  sed -nE 's/^ {1,6}((-[a-zA-Z?], )?--[a-z-]+(=[A-Z]+)?) *.*/\1/p; s/^ {2}(-[a-zA-Z?]( [A-Z]+)?) .*/\1/p' |
    sed 's/, /\n/'
}

# The same of the section OPTIONS of a page: "*-v*, *--verbose*", "*--state*=_DIR_".
man_options() { # PAGE
  sed -n '/^# OPTIONS/,/^# [A-NP-Z]/p' "$man/$1.scd" | grep -E '^\*-' |
    sed 's/\[,\.\.\.\]//' | tr -d '*_' | sed 's/, /\n/'
}

help_commands() {
  sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'
}

common=$("$torpor" --help | help_options)
[ -n "$common" ] || { echo "torpor --help tells no options"; exit 1; }
compare "torpor" "$common" "$(man_options torpor.1)"

commands=$("$torpor" --help | help_commands)
# COMMANDS has a paragraph for each, and each has a page.
compare "torpor's commands" "$commands" \
  "$(sed -n '/^# COMMANDS/,/^# OPTIONS/s/^\*\([a-z]*\)\*$/\1/p' "$man/torpor.1.scd")"
compare "torpor's pages" "$commands" \
  "$(cd "$man" && for page in torpor-*.1.scd; do page=${page#torpor-}; echo "${page%.1.scd}"; done | grep -v -e -)"

for command in $commands; do
  [ -f "$man/torpor-$command.1.scd" ] || continue
  below=$("$torpor" "$command" --help | help_commands)
  own=
  for one in ${below:-''}; do
    if [ -f "$man/torpor-$command-$one.1.scd" ]; then
      compare "torpor $command $one" "$("$torpor" "$command" "$one" --help | help_options | grep -vxF -e "$common")" \
        "$(man_options "torpor-$command-$one.1")"
      continue
    fi
    own+=$("$torpor" "$command" ${one:+"$one"} --help | help_options | grep -vxF -e "$common" || true)$'\n'
  done
  compare "torpor $command" "$(sed '/^$/d' <<<"$own")" "$(man_options "torpor-$command.1")"
  compare "torpor $command's scenarios" \
    "$("$torpor" "$command" --help | sed -n '/^Scenarios:/,/^$/s/^  \([a-z0-9_]*\) .*/\1/p')" \
    "$(sed -n '/^# SCENARIOS/,/^# SEE/s/^\*\([a-z0-9_]*\)\*$/\1/p' "$man/torpor-$command.1.scd")"
  [ -z "$below" ] || compare "torpor $command's commands" "$below" \
    "$(sed -n "s/^\*torpor $command \([a-z]*\)\*.*/\1/p" "$man/torpor-$command.1.scd")"
done

# Types end in _fn, and what isn't followed by a parenthesis is no function.
compare "libtorpor" \
  "$(sed -nE 's/^[a-z].*\b(torpor_[a-z_]+)\(.*/\1/p' "$2"/include/torpor/*.h | grep -v '_fn$')" \
  "$(grep -oE '\*torpor_[a-z_]+\*\(\)' "$man/libtorpor.3.scd" | tr -d '*()')"
exit $wrong
