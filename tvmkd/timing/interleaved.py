"""Times artifacts in turns, in a process that holds nothing else.

`tvmkd.bench.compare` measures several engines on one model; this module measures several models,
each with its own artifact, as pruning makes them one after the other.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tvmkd import artifact
from tvmkd.timing.alone import run_alone
from tvmkd.timing.loop import lead_in, time_calls
from tvmkd.timing.rounds import interleave

ROUNDS = 10
WARM_UP = 0.3  # seconds
MOST_CALLS = 20_000  # of one artifact in one round


def in_turns(
    artifacts: Sequence[Path], inputs: Path, threads: int, seconds: float = 1.0
) -> list[list[list[float]]]:
    """Times calls of the artifacts, numpy arrays in and out.

    Args:
        artifacts: folders; each model has the same single input.
        inputs: an ``.npy`` of that input.
        threads: of TVM.
        seconds: for each artifact.

    Returns:
        for each artifact `ROUNDS` rounds of times in ms; every other round runs in reverse order.

    Raises:
        InputError: an artifact cannot be loaded or run.
    """
    found: list[list[list[float]]] = run_alone(
        __name__, [inputs, seconds, *artifacts], threads, artifacts[0]
    )
    return found


def time_programs(
    programs: Sequence[artifact.Artifact], array: np.ndarray, seconds: float
) -> list[list[list[float]]]:
    """As `in_turns`, in this process: warms each program up, then times them in turns."""
    calls = [functools.partial(program.run, [array]) for program in programs]
    for call in calls:
        lead_in(call, int(WARM_UP * 1e9))
    limit = int(seconds / ROUNDS * 1e9)
    turns = [functools.partial(time_calls, call, MOST_CALLS, limit) for call in calls]
    return [
        [[nanoseconds / 1e6 for nanoseconds in one] for one in rounds]
        for rounds in interleave(turns, ROUNDS)
    ]


def _main(inputs: str, seconds: str, *folders: str) -> None:
    programs = [artifact.load(folder) for folder in folders]
    print(json.dumps(time_programs(programs, np.load(inputs), float(seconds))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
