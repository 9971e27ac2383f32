"""The fastest engine, its lead, and whether the lead is more than noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tvmkd.bench.schema import Engine, Pair, Verdict
from tvmkd.timing.processes import median_over_processes, ratio_over_processes
from tvmkd.timing.stats import builds_error, ratio_ci, widened

LEVEL = 0.03
"""Differences below this are level even where they can be resolved: too small to choose by."""


def pair(ours: Engine, theirs: Engine) -> Pair:
    """The ratio of ``ours`` to ``theirs``, with the spread of their processes or builds."""
    if len(ours.process_rounds) > 1 and ours.process_rounds == theirs.process_rounds:
        ratio, interval = ratio_over_processes(ours.processes(), theirs.processes())
    else:
        ratio, interval = ratio_ci(ours.rounds(), theirs.rounds())
        errors = [builds_error([build.p50 for build in each.builds]) for each in (ours, theirs)]
        interval = widened(ratio, interval, math.hypot(*errors))
    outside = interval[0] > 1 or interval[1] < 1
    return Pair(
        name=ours.name,
        against=theirs.name,
        ratio=ratio,
        ci95=interval,
        decided=outside and abs(ratio - 1) > LEVEL,
    )


def _median(engine: Engine) -> float:
    """The median that ratios are made of: that over its processes, if there are several."""
    several = len(engine.process_rounds) > 1
    return median_over_processes(engine.processes())[0] if several else engine.p50


def decide(engines: Sequence[Engine]) -> Verdict:
    """The engine with the smallest median, and the ratio of every other engine to it."""
    if not engines:
        return Verdict(sentence="No engine could be measured.")
    first, *others = sorted(engines, key=_median)
    pairs = [pair(other, first) for other in others]
    if not pairs:
        return Verdict(
            fastest=first.name,
            sentence=f"{first.name} takes {first.p50:.3g} ms (median); nothing to compare with.",
        )
    level = [item for item in pairs if not item.decided]
    if level:
        *names, last = [first.name, *(item.name for item in level)]
        low, high = level[0].ci95
        why = "within noise" if low <= 1 <= high else "too close to choose by"
        sentence = (
            f"{', '.join(names)} and {last} are level: "
            f"{level[0].name} / {first.name} = {level[0].ratio:.3f} "
            f"(95% CI {low:.3f} to {high:.3f}{_over(level[0], engines)}), {why}."
        )
        beaten = [item for item in pairs if item.decided]
        if beaten:
            sentence += f" Next is {beaten[0].name}, at {beaten[0].ratio:.2f}× the time."
        return Verdict(fastest=first.name, pairs=pairs, sentence=sentence)
    next_one = pairs[0]
    low, high = next_one.ci95
    return Verdict(
        fastest=first.name,
        pairs=pairs,
        sentence=(
            f"{first.name} is {next_one.ratio:.2f}× as fast as {next_one.name}: "
            f"{first.p50:.3g} ms against {others[0].p50:.3g} ms "
            f"(median; 95% CI of the ratio {low:.2f} to {high:.2f}{_over(next_one, engines)})."
        ),
    )


def _over(item: Pair, engines: Sequence[Engine]) -> str:
    """A remark that the interval includes the spread of builds."""
    names = (item.name, item.against)
    most = max(len(engine.builds) for engine in engines if engine.name in names)
    return f", over {most} builds" if most > 1 else ""
