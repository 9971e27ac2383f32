#!/bin/sh
# Sets a power mode of the board, and puts back what was there before: power.sh MODE | restore
# What was there is stored once, by the first MODE after a restore: the mode of nvpmodel, which
# outlives a reboot, on the disk; clocks, which do not, below /run.
set -u
system=${TVMKD_BOARD_ROOT:-} # tests plant a board's files there
here=$(cd "$(dirname "$0")" && pwd -P)
case $here in
  */versions/*) home=${here%/versions/*} ;;
  *) home=$here ;;
esac
stored=$home/.power-before
boot=$system/run/tvmkd-power-$(basename "$home")

has() { command -v "$1" >/dev/null 2>&1; }
warn() { echo "power.sh: $*" >&2; }

change() {
  if ! has "$1"; then
    warn "$1 is not on this board: skipped"
  elif ! "$@" </dev/null; then
    warn "$* failed"
    failed=1
  fi
}

clocks() { # prints "FILE VALUE" of each CPU's governor and limits
  for file in "$system"/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor \
    "$system"/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_max_freq \
    "$system"/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_min_freq; do
    [ -r "$file" ] && echo "$file $(cat "$file")"
  done
}

save() {
  if has nvpmodel && [ ! -e "$stored" ]; then
    mode=$(nvpmodel -q </dev/null 2>/dev/null | grep -E '^[0-9]+$' | tail -n 1)
    if [ -n "$mode" ]; then
      echo "$mode" >"$stored.new" && mv -f "$stored.new" "$stored" && sync
    fi
  fi
  [ -e "$boot/saved" ] && return
  mkdir -p "$boot" || return
  clocks >"$boot/clocks"
  if has jetson_clocks; then
    rm -f "$boot/jetson" # it asks before it replaces a file
    jetson_clocks --store "$boot/jetson" </dev/null >/dev/null 2>&1 || warn "jetson_clocks --store failed"
  fi
  : >"$boot/saved"
}

restore() { # in the opposite order of a mode's commands: clocks, then nvpmodel
  if [ -e "$boot/saved" ]; then
    if [ -e "$boot/jetson" ]; then
      change jetson_clocks --restore "$boot/jetson"
    fi
    # A limit is refused while it lies beyond the other one: two rounds set both.
    for round in 1 2; do
      while read -r file value; do
        [ "$(cat "$file" 2>/dev/null)" = "$value" ] && continue
        echo "$value" >"$file" 2>/dev/null || [ "$round" = 1 ] || warn "$file: cannot be set to $value"
      done <"$boot/clocks"
    done
    rm -rf "$boot"
  fi
  if [ -e "$stored" ]; then
    change nvpmodel -m "$(cat "$stored")"
    [ "$failed" = 1 ] || rm -f "$stored"
  fi
}

failed=0
case ${1:-} in
  restore) restore ;;
# @MODES@
  *)
    echo "usage: power.sh MODE | restore; the modes: $(sed -n 's/^  \([a-z_0-9]*\))$/\1/p' "$0" | tr '\n' ' ')" >&2
    exit 2
    ;;
esac
exit "$failed"
