"""Times artifacts interleaved, in a separate process without other work.

`tvmkd.bench.compare` measures several engines on one model; this module measures several models,
each with its own artifact, such as the steps of pruning.
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
        threads: number of TVM's threads.
        seconds: measuring time of each artifact.

    Returns:
        for each artifact its times in ms in each of `ROUNDS` rounds; every other round runs in
        reverse order.

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
    """Like `in_turns`, but in this process: warms up each program, then times them interleaved."""
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
