"""Times artifacts in turns, in a process that holds nothing else.

`tvmkd.bench.compare` holds engines against one model; here are several models, each with its own
artifact, as they come out of one another.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tvmkd import artifact
from tvmkd.base.errors import InputError

ROUNDS = 10
WARM_UP = 0.3  # seconds


def in_turns(
    artifacts: Sequence[Path], inputs: Path, threads: int, seconds: float = 1.0
) -> list[list[list[float]]]:
    """One call each in turns, numpy arrays in and out.

    Args:
        artifacts: folders; each takes the same one input.
        inputs: an ``.npy`` of that input.
        threads: of TVM.
        seconds: for each artifact.

    Returns:
        for each artifact `ROUNDS` rounds of times, ms; every other round runs in reverse order.

    Raises:
        InputError: an artifact cannot be loaded or run.
    """
    command = [sys.executable, "-m", __name__, str(inputs), str(seconds), *map(str, artifacts)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "TVM_NUM_THREADS": str(threads)},
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{artifacts[0]}: could not be timed: {last[:300]}")
    found: list[list[list[float]]] = json.loads(done.stdout)
    return found


def _run_for(program: artifact.Artifact, array: np.ndarray, seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        program.run([array])
        times.append((time.perf_counter() - start) * 1e3)
    return times


def _main(inputs: str, seconds: str, *folders: str) -> None:
    array = np.load(inputs)
    programs = [artifact.load(folder) for folder in folders]
    rounds: list[list[list[float]]] = [[] for _ in programs]
    for program in programs:
        _run_for(program, array, WARM_UP)
    for turn in range(ROUNDS):
        order = range(len(programs)) if turn % 2 == 0 else reversed(range(len(programs)))
        for index in order:
            rounds[index].append(_run_for(programs[index], array, float(seconds) / ROUNDS))
    print(json.dumps(rounds))


if __name__ == "__main__":
    _main(*sys.argv[1:])
