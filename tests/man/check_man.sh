#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Each option and command that --help tells is in the manual, and the other way round; so is each
# function of the public headers. A command below another may have a page of its own.
#   check_man.sh TORPOR SOURCE-ROOT
set -euo pipefail
torpor=$1
man=$2/man
include=$2/include/torpor
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
  sed -nE 's/^ {1,6}((-[a-zA-Z?], )?--[a-z-]+(\[?=[A-Z=]+\]?)?) *.*/\1/p; s/^ {2}(-[a-zA-Z?]( [A-Z]+)?) .*/\1/p' |
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
# The page of a command: its own, or that of those it goes with.
page_of() { # COMMAND
  case $1 in
  acquire | ls | show | park | resume | pause | unpause | checkpoint | fork | set | history | tree | rm) echo session ;;
  events | pool) echo top ;;
  tenant | token | audit) echo admin ;;
  import | export) echo libvirt ;;
  *) echo "$1" ;;
  esac
}

# COMMANDS has a paragraph for each, and each has a page.
compare "torpor's commands" "$commands" \
  "$(sed -n '/^# COMMANDS/,/^# OPTIONS/s/^\*\([a-z]*\)\*$/\1/p' "$man/torpor.1.scd")"
compare "torpor's pages" "$(for command in $commands; do page_of "$command"; done)" \
  "$(cd "$man" && for page in torpor-*.1.scd; do page=${page#torpor-}; echo "${page%.1.scd}"; done | grep -v -e -)"

for page in $(for command in $commands; do page_of "$command"; done | sort -u); do
  [ -f "$man/torpor-$page.1.scd" ] || continue
  own=
  for command in $commands; do
    [ "$(page_of "$command")" = "$page" ] || continue
    below=$("$torpor" "$command" --help | help_commands)
    for one in ${below:-''}; do
      if [ -f "$man/torpor-$command-$one.1.scd" ]; then
        compare "torpor $command $one" \
          "$("$torpor" "$command" "$one" --help | help_options | grep -vxF -e "$common")" \
          "$(man_options "torpor-$command-$one.1")"
        continue
      fi
      own+=$("$torpor" "$command" ${one:+"$one"} --help | help_options |
        grep -vxF -e "$common" || true)$'\n'
    done
    [ -z "$below" ] || compare "torpor $command's commands" "$below" \
      "$(sed -n "/^# SYNOPSIS/,/^# DESC/s/^\*torpor $command \([a-z]*\)\*.*/\1/p" "$man/torpor-$page.1.scd")"
    compare "torpor $command's scenarios" \
      "$("$torpor" "$command" --help | sed -n '/^Scenarios:/,/^$/s/^  \([a-z0-9_]*\) .*/\1/p')" \
      "$(sed -n '/^# SCENARIOS/,/^# SEE/s/^\*\([a-z0-9_]*\)\*$/\1/p' "$man/torpor-$page.1.scd")"
  done
  compare "torpor $page" "$(sed '/^$/d' <<<"$own")" "$(man_options "torpor-$page.1")"
done

# Types end in _fn, and what isn't followed by a parenthesis is no function.
declared_in() { # HEADER...
  (cd "$include" && sed -nE 's/^[a-z].*\b(torpor_[a-z_]+)\(.*/\1/p' "$@" | grep -v '_fn$')
}
named_in() { # PAGE
  grep -oE '\*torpor_[a-z_]+\*\(\)' "$man/$1.scd" | tr -d '*()'
}
compare "libtorpor" "$(declared_in call.h error.h torpor.h)" "$(named_in libtorpor.3)"
compare "libtorpor-client" "$(declared_in call.h error.h client.h)" "$(named_in libtorpor-client.3)"
exit $wrong
