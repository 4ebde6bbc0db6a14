#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds and installs as a packager would, into a staging directory that then becomes the prefix,
# and uses what is there: torpor itself, and a program from outside against either library.
#   test_install.sh SOURCE-ROOT
set -euo pipefail
source=$1
here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d "${TMPDIR:-/tmp}/torpor-install.XXXXXX")
trap 'rm -rf "$work"' EXIT
prefix=$work/usr
unset TORPOR_EXEC DESTDIR

fail() {
  echo "test_install: $*" >&2
  exit 1
}

quietly() { # COMMAND...
  "$@" >"$work/log" 2>&1 || { cat "$work/log"; fail "failed: $*"; }
}

# --- install ---

quietly meson setup "$work/build" "$source" --prefix="$prefix" -Dtests=false \
  -Doptimization=0
quietly ninja -C "$work/build"
DESTDIR=$work/stage quietly meson install -C "$work/build" --no-rebuild
[ ! -e "$prefix" ] || fail "something went past DESTDIR"
mv "$work/stage$prefix" "$prefix"

for file in bin/torpor libexec/torpor/torpor-exec include/torpor/{call,client,error,torpor}.h \
  lib/libtorpor{,-client}.{a,so} lib/pkgconfig/torpor{,-client}.pc \
  share/bash-completion/completions/torpor share/torpor/torpor-breakdown.bt; do
  [ -s "$prefix/$file" ] || fail "$file is not installed"
done
if command -v scdoc >/dev/null; then
  for page in "$source"/man/*.scd; do
    page=$(basename "$page" .scd)
    [ -s "$prefix/share/man/man${page##*.}/$page" ] || fail "$page is not installed"
  done
else
  echo "scdoc is not installed, so man pages are NOT CHECKED"
fi

# --- what the libraries show: what their headers declare, and nothing else ---

check_exports() { # LIBRARY HEADER...
  local library=$1 declared exported foreign
  shift
  declared=$(cd "$prefix/include/torpor" &&
    sed -nE 's/^[a-z].*\b(torpor_[a-z_]+)\(.*/\1/p' "$@" | grep -v '_fn$' | sort)
  exported=$(nm -D --defined-only "$prefix/lib/$library.so" |
    awk '$2 != "A" { sub("@.*", "", $3); print $3 }' | sort)
  [ -n "$declared" ] || fail "the headers of $library declare nothing"
  diff <(echo "$declared") <(echo "$exported") ||
    fail "$library: declared (<) is not what is exported (>)"
  # _.stapsdt.base is weak, hidden, and the same in all that has probes (sys/sdt.h).
  foreign=$(nm -g --defined-only "$prefix/lib/$library.a" | awk 'NF == 3 { print $3 }' |
    grep -vE '^((torpor|tp)_|_\.stapsdt\.base$)' || true)
  [ -z "$foreign" ] || fail "$library.a has names that aren't its own: $foreign"
}
check_exports libtorpor call.h error.h torpor.h
check_exports libtorpor-client call.h error.h client.h

# --- torpor, where it is installed now ---

"$prefix/bin/torpor" --version | grep -q '^torpor [0-9]' || fail "torpor has no version"
# The doctor starts a QEMU, and that takes torpor-exec.
doctor() {
  "$prefix/bin/torpor" --state "$work/state" --json doctor || true
}
doctor | grep -qE '"subject":"qemu","health":"(good|less)"' ||
  { doctor; fail "the installed torpor starts no QEMU"; }
mv "$prefix/libexec" "$prefix/elsewhere"
doctor | grep -qF "find torpor-exec at $prefix/libexec/torpor/torpor-exec" ||
  { doctor; fail "torpor used another torpor-exec than the installed one"; }
mv "$prefix/elsewhere" "$prefix/libexec"

# --- programs from outside, against either kind of either library ---

export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
cp "$here"/outside*.c "$work"
cd "$work"

use() { # PACKAGE SOURCE ARGUMENT...
  local package=$1 source=$2
  shift 2
  pkg-config --exists "$package" || fail "pkg-config doesn't find $package"
  # shellcheck disable=SC2046 # flags are words
  quietly "${CC:-cc}" -Wall -Wextra -Werror -o shared "$source" \
    $(pkg-config --cflags --libs "$package")
  # Ours from the archive, what it needs as usual: not all of that can be had as archives.
  # shellcheck disable=SC2046
  quietly "${CC:-cc}" -Wall -Wextra -Werror -o static "$source" \
    $(pkg-config --cflags --libs "$package" | sed -E 's/-l(torpor(-client)?)( |$)/-l:lib\1.a\3/') \
    $(pkg-config --libs $(pkg-config --print-requires-private "$package" | cut -d' ' -f1)) -pthread
  LD_LIBRARY_PATH=$prefix/lib quietly ./shared "$@"
  quietly ./static "$@"
  ldd ./static | grep -q libtorpor && fail "the static program needs the shared library"
  return 0
}
use torpor outside.c "$work/outside"
use torpor-client outside_client.c "$work/nobody.sock"
ldd ./shared | grep -qE 'libsqlite|liburing|libtorpor\.so' &&
  fail "the client library needs what only the engine uses"
exit 0
