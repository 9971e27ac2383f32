#!/usr/bin/env bash
# Prints which system packages the tests want, and installs the missing ones where it may (as root,
# with apt). Only the emulated boards need any of it to be used: what is missing makes its tests skip.
set -euo pipefail

missing=()
want() { # COMMAND PACKAGE WHAT-FOR
  if command -v "$1" >/dev/null 2>&1; then
    echo "$2: there ($(command -v "$1")), $3"
  else
    echo "$2: missing, $3"
    missing+=("$2")
  fi
}

want_file() { # FILE PACKAGE WHAT-FOR
  if [ -e "$1" ]; then
    echo "$2: there ($1), $3"
  else
    echo "$2: missing, $3"
    missing+=("$2")
  fi
}

want chromium chromium "opens the HTML report in a test"
want gcc gcc "links tuned kernels (zig stands in without it)"
want qemu-aarch64 qemu-user "runs the emulated boards"
for package in libc6 libstdc++6 libgcc-s1; do
  case $package in
    libc6) file=libc.so.6 ;;
    libstdc++6) file=libstdc++.so.6 ;;
    libgcc-s1) file=libgcc_s.so.1 ;;
  esac
  want_file "/usr/aarch64-linux-gnu/lib/$file" "$package-arm64-cross" "an emulated board's system"
done
want faketime faketime "makes the clock jump in a test"
want skopeo skopeo "reads the container images that tests make"
want umoci umoci "unpacks them"
want busybox busybox-static "installs bundles in a test, as a board without other tools"
want strace strace "shows in which order a test's program writes"

[ "${#missing[@]}" -gt 0 ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing: ${missing[*]}"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y \
    --no-install-recommends "${missing[@]}" >/dev/null; } ||
    echo "apt could not install them: the tests that want them will skip"
else
  echo "install them with: sudo apt-get install ${missing[*]}"
fi
