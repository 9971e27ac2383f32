"""Runs a timing module in a separate process without other work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from tvmkd.base.errors import InputError


def run_alone(module: str, arguments: Sequence[object], threads: int, subject: object) -> Any:
    """Runs ``python -m MODULE ARGUMENTS`` and returns the JSON value that it prints.

    Args:
        module: prints one JSON value on standard output and nothing else.
        threads: number of TVM's threads.
        subject: name of the timed thing, for the error message.

    Raises:
        InputError: the process failed; the message ends with its last line.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "TVM_NUM_THREADS": str(threads)},
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{subject}: could not be timed: {last[:300]}")
    return json.loads(done.stdout)
