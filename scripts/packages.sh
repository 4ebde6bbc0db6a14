# shellcheck shell=bash disable=SC2034 # the lists are for those who source this
# SPDX-License-Identifier: Apache-2.0
# What has to be installed on Debian 12, and how. Sourced by the other scripts.

packages_build=(gcc libc6-dev meson ninja-build pkg-config libcurl4-openssl-dev libinih-dev
  libjansson-dev libjose-dev libmicrohttpd-dev libsqlite3-dev libssl-dev liburing-dev
  libxxhash-dev libzstd-dev systemtap-sdt-dev)
packages_run=(qemu-system-x86)
packages_guest=(cpio xz-utils zstd)
# What the dashboard is built with, and what it is tested in.
# One that is there already, from elsewhere, brings npm along, and Debian's wouldn't go with it.
packages_dashboard=()
{ command -v node && command -v npm; } >/dev/null || packages_dashboard=(nodejs npm)
packages_browser=(chromium fonts-dejavu-core)
packages_test=(binutils bsdutils libcriterion-dev libxml2-utils git openssl scdoc)
packages_check=(clang libclang-rt-dev llvm shellcheck)
packages_long=(clang-tidy)
# libvirt-daemon and not libvirt-daemon-system, which would start a libvirtd of the host's own.
packages_bench=(libvirt-daemon libvirt-dev lzop)
# A client of libvirt's for the tests of guests under it.
packages_libvirt=(python3-libvirt)
packages_trace=(bpftrace binutils python3)

# Installs those of the packages given that are missing; asks sudo where it must.
install_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
      missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "Installing: ${missing[*]}"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
      echo "These packages are missing, and there is no sudo to install them with. As root, run:" >&2
      echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
      return 1
    }
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
