#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Completion in bash, against a scripted torpord, without a terminal.
#   check_completion.sh TORPOR PEER COMPLETION
set -uo pipefail
torpor=$1
peer=$2
completion=$3
work=$(mktemp -d "${TMPDIR:-/tmp}/torpor-completion.XXXXXX")
trap 'rm -rf "$work"' EXIT
unset TORPOR_URL TORPOR_SOCKET TORPOR_TOKEN TORPOR_TOKEN_FILE
wrong=0

cat >"$work/script" <<'END'
route GET /v1/sessions?limit=101 {"sessions":[{"id":"k3v9q2m7x4tz0d8h","name":"demo","state":"running"},{"id":"abcd1234abcd1234","name":"other","state":"parked"}],"next":null}
route GET /v1/sessions?limit=101&state=parked {"sessions":[{"id":"abcd1234abcd1234","name":"other","state":"parked"}],"next":null}
route GET /v1/pool {"templates":[{"name":"minimal","state":"ready"},{"name":"maximal","state":"ready"}]}
route GET /v1/tenants {"tenants":[{"name":"alice"},{"name":"bob"}]}
END
cat >"$work/complete" <<'END'
# complete COMPLETION TORPOR WORD...: what the last word can become, sorted, on one line.
source "$1"
# The second after which it is given up is for people, and a busy machine is none of them.
timeout() { "${@:2}"; }
COMP_WORDS=("${@:2}")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_torpor "$2" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' ${COMPREPLY[@]+"${COMPREPLY[@]}"} | sort | paste -sd' '
END

check() { # WANTED WORD...
  local wanted=$1 got
  shift
  got=$("$peer" "$work/script" bash --norc "$work/complete" "$completion" "$torpor" "$@") ||
    { echo "torpor $*: failed"; wrong=1; }
  [ "$got" = "$wanted" ] || { echo "torpor $*: wanted $wanted, got $got"; wrong=1; }
}

check "park pause pool" p
check "acquire audit" a
check "maximal minimal" acquire m
check "abcd1234 demo k3v9q2m7 other" exec ""
check "k3v9q2m7" show k3
check "abcd1234 other" resume ""
check "add ls rm set show" tenant ""
check "alice bob" tenant show ""
check "alice" --tenant a
check "alice" ls --tenant = a
check "parked parking paused" ls --state p
check "--state=" ls --st
check "--label=" acquire --la
check "--force" rm --f
check "kvm" template build x --accel k
touch "$work/vmlinuz"
check "$work/vmlinuz" template build --kernel "$work/vm"
# Nobody listens there: no candidates, and no noise.
check "" --socket /nowhere show ""
exit $wrong
