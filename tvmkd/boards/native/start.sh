#!/bin/sh
# Starts the board's RPC server: ./start.sh TRACKER_HOST[:PORT] KEY [options of tvmkd-board]
# Both may come from TVM's variables instead: TVM_TRACKER_HOST, TVM_TRACKER_PORT, TVM_TRACKER_KEY.
set -eu
cd "$(dirname "$0")"
sha256sum -c --quiet SHA256SUMS || {
  echo "start.sh: a file is damaged: copy and unpack the archive again" >&2
  exit 4
}
case "${1:-}" in
  "" | -*) tracker="${TVM_TRACKER_HOST:-}" ;;
  *)
    tracker="$1"
    shift
    ;;
esac
case "${1:-}" in
  "" | -*) key="${TVM_TRACKER_KEY:-}" ;;
  *)
    key="$1"
    shift
    ;;
esac
if [ -z "$tracker" ] || [ -z "$key" ]; then
  echo "usage: ./start.sh TRACKER_HOST[:PORT] KEY [options of tvmkd-board]" >&2
  exit 2
fi
case "$tracker" in
  *:*) ;;
  *) tracker="$tracker:${TVM_TRACKER_PORT:-9190}" ;;
esac
TVM_NUM_THREADS="${TVM_NUM_THREADS:-$(nproc)}"
export TVM_NUM_THREADS
LD_LIBRARY_PATH="$PWD${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export LD_LIBRARY_PATH
exec ./tvmkd-board --tracker "$tracker" --key "$key" "$@"
