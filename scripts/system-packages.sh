#!/usr/bin/env bash
# Prints which system packages the tests want, and installs the missing ones where it may (as root,
# with apt). Nothing here is needed to use tvmkd: without Chromium the report's browser test skips.
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

want chromium chromium "opens the HTML report in a test"
want gcc gcc "links tuned kernels (zig stands in without it)"

[ "${#missing[@]}" -gt 0 ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing: ${missing[*]}"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y \
    --no-install-recommends "${missing[@]}" >/dev/null; } ||
    echo "apt could not install them: the tests that want them will skip"
else
  echo "install them with: sudo apt-get install ${missing[*]}"
fi
