#!/usr/bin/env bash
# What to do on the day there is a machine with an NVIDIA GPU: see scripts/gpu_check.py.
set -euo pipefail
exec "${PYTHON:-python3}" "$(dirname "$0")/gpu_check.py" "$@"
