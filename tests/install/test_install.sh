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

for file in bin/torpor libexec/torpor/torpor-exec include/torpor/{call,error,torpor}.h \
  lib/libtorpor.{a,so} lib/pkgconfig/torpor.pc; do
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

# --- what the library shows: what the headers declare, and nothing else ---

declared=$(sed -nE 's/^[a-z].*\b(torpor_[a-z_]+)\(.*/\1/p' "$prefix"/include/torpor/*.h |
  grep -v '_fn$' | sort)
exported=$(nm -D --defined-only "$prefix/lib/libtorpor.so" |
  awk '$2 != "A" { sub("@.*", "", $3); print $3 }' | sort)
[ -n "$declared" ] || fail "the headers declare nothing"
diff <(echo "$declared") <(echo "$exported") || fail "declared (<) is not what is exported (>)"
foreign=$(nm -g --defined-only "$prefix/lib/libtorpor.a" | awk 'NF == 3 { print $3 }' |
  grep -vE '^(torpor|tp)_' || true)
[ -z "$foreign" ] || fail "libtorpor.a has names that aren't its own: $foreign"

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

# --- a program from outside ---

export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
pkg-config --exists torpor || fail "pkg-config doesn't find torpor"
cp "$here/outside.c" "$work"
cd "$work"
# shellcheck disable=SC2046 # flags are words
quietly "${CC:-cc}" -Wall -Wextra -Werror -o shared outside.c $(pkg-config --cflags --libs torpor)
# shellcheck disable=SC2046
quietly "${CC:-cc}" -Wall -Wextra -Werror -o static outside.c $(pkg-config --cflags --static \
  --libs torpor | sed 's/-ltorpor/-l:libtorpor.a/')
LD_LIBRARY_PATH=$prefix/lib quietly ./shared "$work/outside"
quietly ./static "$work/outside"
ldd ./static | grep -q libtorpor && fail "the static program needs the shared library"
exit 0
