"""Which pruning steps are kept, and how many channels the next one removes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

LARGEST_SHARE = 0.9
"""The largest share of the channels that one step removes."""

NetworkT = TypeVar("NetworkT")


@dataclass(frozen=True)
class Step:
    """One pruning step.

    Attributes:
        share: of the channels of the network before it, 0 to 1.
        kept: whether later steps start from its network.
        why: the reason, for people.
        channels: output channels of all convolutions.
        macs: of one image.
        parameters: of the network.
        val_score, test_score: by the metric of the task.
        ms: median latency of one image.
        ratio: latency divided by that of the network before it.
        ratio_ci: the 95% interval of ``ratio``.
    """

    share: float
    kept: bool
    why: str
    channels: int
    macs: int
    parameters: int
    val_score: float
    test_score: float
    ms: float
    ratio: float
    ratio_ci: tuple[float, float]


def prune_stepwise(
    network: NetworkT,
    first: Step,
    attempt: Callable[[int, float, NetworkT], tuple[NetworkT, Step] | None],
    *,
    steps: int,
    ratio: float,
    max_drop: float,
    lost: Callable[[float, float], float] = lambda after, before: before - after,
    on_step: Callable[[int, Step], None] = lambda _number, _step: None,
) -> tuple[NetworkT, list[Step]]:
    """Prunes step by step and keeps the steps that made the network faster.

    A step is kept if the whole 95% interval of its latency ratio is below 1. After a kept step the
    next one removes ``ratio`` again; after a rejected one it removes ``ratio`` more than the last
    from the same network. A step that loses more than ``max_drop`` is rejected and ends the loop,
    and so does a rejected step at `LARGEST_SHARE`.

    Args:
        network: the network to start from.
        first: the measurements of ``network``.
        attempt: prunes ``(step number, share, network)``; returns the new network and its
            measurements, or None if no channels can be removed.
        steps: how many steps at most.
        ratio: share of the channels that a step removes, above 0 and below 1.
        max_drop: score on the validation split that may be lost against ``first``, 0 to 1.
        lost: how much worse the first of two scores is than the second; by default a higher score
            is better. See `tvmkd.distill.task.Metric.gain`.
        on_step: called with each finished step.

    Returns:
        the last network that was kept, and all steps; the first is ``first``.
    """
    found = [replace(first, kept=True)]
    share = ratio
    for number in range(1, steps + 1):
        share = min(share, LARGEST_SHARE)
        tried = attempt(number, share, network)
        if tried is None:
            break
        pruned, step = tried
        drop = lost(step.val_score, first.val_score)
        too_much = drop > max_drop
        if too_much:
            kept, why = False, f"loses {100 * drop:.1f} points on the validation split"
        elif step.ratio_ci[1] < 1:
            kept, why = True, "faster"
        else:
            kept, why = False, "not faster beyond the noise"
        found.append(replace(step, share=share, kept=kept, why=why))
        on_step(number, found[-1])
        if kept:
            network, share = pruned, ratio
        elif too_much or share >= LARGEST_SHARE:
            break
        else:
            share += ratio
    return network, found
