"""Predictions and tables as text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tvmkd.search.latency.composition import FEW
from tvmkd.search.latency.prediction import KernelTime, Prediction, figure

if TYPE_CHECKING:
    from tvmkd.search.latency.filling import Filled


def to_json(found: Prediction, unit: str) -> dict[str, Any]:
    """A prediction as plain data; times in seconds, or as the unit says."""
    return {
        "unit": unit,
        "seconds": found.seconds,
        "low": found.low,
        "high": found.high,
        "fixed": found.fixed,
        "interpolated_share": found.interpolated,
        "kernels": [
            {
                "key": each.kernel.key,
                "name": each.kernel.name,
                "kind": each.kernel.kind,
                "calls": each.kernel.calls,
                "seconds": each.seconds,
                "source": each.source,
                "error": each.error,
            }
            for each in found.kernels
        ],
    }


def prediction_lines(name: str, found: Prediction, unit: str, top: int) -> list[str]:
    """A prediction in lines for people.

    Args:
        name: of the model.
        unit: of the table.
        top: kernels to list.
    """
    low, high = figure(found.low, unit), figure(found.high, unit)
    lines = [f"{name}: {figure(found.seconds, unit)} (9 of 10 between {low} and {high})"]
    guessed = [each for each in found.kernels if each.source == "interpolated"]
    if guessed:
        lines.append(
            f"  {len(guessed)} of {len(found.kernels)} kernels, {found.interpolated:.0%} of the "
            "time in kernels, were never measured and are interpolated"
        )
    whole = found.seconds or 1.0
    for each in found.kernels[:top]:
        time = each.seconds * each.kernel.calls
        count = f"{each.kernel.calls}×" if each.kernel.calls > 1 else ""
        lines.append(
            f"  {time / whole:6.1%}  {figure(time, unit):>10}  {count:>4} {each.kernel.name}"
            f"{_mark(each)}"
        )
    if len(found.kernels) > top:
        lines.append(f"  and {len(found.kernels) - top} more kernels")
    # Fitted, and so below zero where kernels take less in a network than alone.
    rest = "outside of kernels" if found.fixed >= 0 else "less than the kernels add up to"
    if abs(found.fixed) > 1e-6 * found.seconds:  # else only rounded
        lines.append(f"  {rest}: {figure(abs(found.fixed), unit)}")
    return lines


def _mark(kernel: KernelTime) -> str:
    """How far an interpolated time may be off: the standard error, as a share or as a factor."""
    if kernel.source != "interpolated":
        return ""
    if kernel.error < 0.5:
        return f"  interpolated, ±{kernel.error:.0%}"
    return f"  interpolated, within a factor of {math.exp(kernel.error):.2g}"


def lines(done: Filled, facts: Mapping[str, Any]) -> list[str]:
    """What a call of `tvmkd.search.latency.filling.fill` did, in lines for people.

    Args:
        done: what it says.
        facts: of the table: see ``LatencyTable.describe``.
    """
    measured = f"{done.tuned} were measured now, {done.missing} remain to be interpolated"
    found = [
        f"{done.networks} networks have {done.kernels} kernels; {measured}",
        f"{done.timed} networks were timed whole; boards were busy for {done.board_seconds:.0f} s",
    ]
    for count, what in ((done.failed, "lowered"), (done.untimed, "built or timed")):
        if count:
            # Those that could not be lowered come first.
            first = done.failures[0 if what == "lowered" else done.failed]
            found.append(f"{count} networks could not be {what}; the first: {first}")
    if facts["networks"] >= FEW:
        found.append(
            f"checked on {facts['networks']} networks, each left out in turn: "
            f"{facts['within_5_percent']:.0%} within 5 %, {facts['within_10_percent']:.0%} within "
            f"10 %, median error {facts['median_error']:.1%}"
        )
    else:
        found.append(
            f"{facts['networks']} networks were timed in all: how good predictions are shows from "
            f"{FEW} on"
        )
    return found
