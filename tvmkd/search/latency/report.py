"""Predictions and tables as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvmkd.search.latency.filling import Filled
from tvmkd.search.latency.prediction import Prediction


def figure(seconds: float, unit: str) -> str:
    """A time as people read it: ``4.21 ms``, ``35.2 us``; ``12.3 M instructions``."""
    if unit != "s":
        return f"{seconds * (1e9 if unit == 'instructions' else 1) / 1e6:.3g} M {unit}"
    for factor, name in ((1.0, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {name}"
    return f"{seconds * 1e6:.3g} us"


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
        mark = f"  interpolated, ±{each.error:.0%}" if each.source == "interpolated" else ""
        count = f"{each.kernel.calls}×" if each.kernel.calls > 1 else ""
        lines.append(
            f"  {time / whole:6.1%}  {figure(time, unit):>10}  {count:>4} {each.kernel.name}{mark}"
        )
    if len(found.kernels) > top:
        lines.append(f"  and {len(found.kernels) - top} more kernels")
    lines.append(f"  outside of kernels: {figure(found.fixed, unit)}")
    return lines


def lines(done: Filled, facts: Mapping[str, Any]) -> list[str]:
    """What a call of `tvmkd.search.latency.filling.fill` did, in lines for people."""
    measured = f"{done.tuned} were measured now, {done.missing} remain to be interpolated"
    found = [
        f"{done.networks} networks have {done.kernels} kernels; {measured}",
        f"{done.timed} networks were timed whole; boards were busy for {done.board_seconds:.0f} s",
    ]
    if done.failed:
        found.append(f"{done.failed} networks failed; the first: {done.failures[0]}")
    if facts["networks"] > 1:
        found.append(
            f"checked on {facts['networks']} networks, each left out in turn: "
            f"{facts['within_5_percent']:.0%} within 5 %, {facts['within_10_percent']:.0%} within "
            f"10 %, median error {facts['median_error']:.1%}"
        )
    return found
