"""Intervals over processes: one engine that is started twice differs from itself.

Where the memory of a process lies decides on its caches and its TLB, for as long as it lives: the
same artifact came out up to 1.2 times as fast as itself. What differs between two processes is in
no sample of one of them. So every engine is started several times, in an environment of another
size, and intervals come from a hierarchical bootstrap: processes are resampled first, and the
rounds of each process second.

Mytkowicz, Diwan, Hauswirth and Sweeney: Producing wrong data without doing anything obviously
wrong, ASPLOS 2009. Curtsinger and Berger: Stabilizer, ASPLOS 2013. Kalibera and Jones: Rigorous
benchmarking in reasonable time, ISMM 2013.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tvmkd.timing.stats import REPLICATES, Rounds, student_t

WIDER = 1.2
"""What differs between processes is not normal: often it has two values. Of 1,500 simulated
comparisons without a difference, with 3 to 10 processes, plain intervals held 1 in 94 to 99 of 100
(effects of 3%, normal, or of 17% in half of the processes), and these ones in 96 or more."""

Processes = Sequence[Rounds]
"""The samples of each round of each process, in the order in which they ran."""


def median_over_processes(processes: Processes, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """The median of an engine over its processes, and its 95% interval.

    Args:
        processes: two or more, with samples above zero.

    Returns:
        the geometric mean of the medians of the rounds, each process with the same weight, and the
        interval.
    """
    return _over([_logs(rounds) for rounds in processes], seed)


def ratio_over_processes(
    ours: Processes, theirs: Processes, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """The ratio of the medians of two engines over their processes, and its 95% interval.

    Args:
        ours: two processes or more, with samples above zero, any unit.
        theirs: processes that ran at the same time, with the same number of rounds; same unit.

    Raises:
        ValueError: the processes or their rounds do not pair up.
    """
    if [len(rounds) for rounds in ours] != [len(rounds) for rounds in theirs]:
        raise ValueError("the processes or their rounds do not pair up")
    pairs = zip(ours, theirs, strict=True)
    return _over([_logs(first) - _logs(second) for first, second in pairs], seed)


def _logs(rounds: Rounds) -> np.ndarray:
    """The logarithm of each round's median."""
    return np.log([float(np.median(np.asarray(one, dtype=np.float64))) for one in rounds])


def _over(values: Sequence[np.ndarray], seed: int) -> tuple[float, tuple[float, float]]:
    """The mean of the processes' means and its interval, from logarithms.

    A bootstrap over few processes is too sure of itself, and its percentiles are few different
    values. So the interval is that of Student, with the standard error of the replicates, and
    somewhat wider.
    """
    count = len(values)
    if count < 2:
        raise ValueError("one process says nothing of another one")
    centre = float(np.mean([each.mean() for each in values]))
    rng = np.random.default_rng(seed)
    # For each replicate and each process that is drawn: the mean of its rounds, drawn anew.
    means = np.stack(
        [
            each[rng.integers(len(each), size=(REPLICATES, count, len(each)))].mean(axis=-1)
            for each in values
        ],
        axis=-1,
    )
    picks = rng.integers(count, size=(REPLICATES, count, 1))
    replicates = np.take_along_axis(means, picks, axis=-1).mean(axis=(1, 2))
    error = float(np.std(replicates)) * np.sqrt(count / (count - 1))
    half = WIDER * student_t(count - 1) * error
    return float(np.exp(centre)), (float(np.exp(centre - half)), float(np.exp(centre + half)))
