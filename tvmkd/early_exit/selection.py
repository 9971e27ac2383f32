"""Selects a network's exit rule as its configuration asks, and tells what the rule does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tvmkd.base.errors import InputError
from tvmkd.early_exit import calibrate, policy, temperature
from tvmkd.early_exit.calibrate import Calibration

if TYPE_CHECKING:
    from tvmkd.config import EarlyExit as Section

Array = np.ndarray


@dataclass(frozen=True)
class Selection:
    """A rule with its effect on the validation split.

    Attributes:
        calibration: the rule and what it does.
        budget: greatest mean time, in ms; None: ``max_drop`` was asked for.
        choice: with a budget: the policies that were compared.
    """

    calibration: Calibration
    budget: float | None = None
    choice: policy.Choice | None = None


def select(
    section: Section, logits: Sequence[Array], labels: Array, upto_ms: Sequence[float]
) -> Selection:
    """The rule that ``max_drop`` or ``mean_budget`` asks for.

    Args:
        section: the config's ``[early_exit]``.
        logits: of each exit, including the last, on the validation split, ``[N, classes]``.
        labels: int64 ``[N]``.
        upto_ms: measured time up to and including each exit.

    Raises:
        InputError: the budget is below the time of the first exit; or a logit is not finite.
    """
    if section.budget is None:
        return Selection(within_drop(logits, labels, upto_ms, section.max_drop))
    budget = section.budget.value
    if budget < upto_ms[0]:
        raise InputError(
            f"[early_exit] mean_budget: {section.budget} cannot be reached: the first exit, after "
            f'"{section.exits[0]}", takes {upto_ms[0]:.3g} ms; allow more, or put an exit earlier'
        )
    choice = policy.choose(logits, labels, upto_ms, budget)
    rule = choice.policies[choice.kind].rule(logits)
    return Selection(calibrate.apply(logits, labels, rule), budget, choice)


def within_drop(
    logits: Sequence[Array], labels: Array, costs: Sequence[float], max_drop: float
) -> Calibration:
    """The fastest thresholds of calibrated confidences that lose at most ``max_drop``.

    Arguments are those of `tvmkd.early_exit.calibrate.calibrate`.

    Raises:
        InputError: a logit is not finite.
    """
    scales = [temperature.fit(found, labels) for found in logits]
    return calibrate.calibrate(logits, labels, costs, max_drop, scales)


def facts(
    made: Selection, logits: Sequence[Array], labels: Array, upto_ms: Sequence[float]
) -> dict[str, Any]:
    """JSON-safe facts of a rule on images that it was not made from.

    Args:
        made: by `select`.
        logits, labels, upto_ms: as of `select`, of the test split.

    Returns:
        ``temperatures``, ``calibration_error`` of each exit: ``[before, after]`` scaling. With a
        budget also ``budget``: its ``ms``, the share ``over`` of images that take longer, the
        ``rule`` that is used, and ``compared``: for each kind its ``val_lost`` in cross-validation,
        and ``accuracy``, ``lost`` and ``ms`` on these images, if as many of them leave at each exit
        as on the validation split.
    """
    rule = made.calibration.rule
    errors = [
        [temperature.calibration_error(found, labels, each) for each in (1.0, scale)]
        for found, scale in zip(logits, rule.temperatures, strict=True)
    ]
    found = {"temperatures": list(rule.temperatures), "calibration_error": errors}
    if made.choice is None or made.budget is None:
        return found
    taken = calibrate.leave_by(logits, rule)
    compared = {}
    for kind, each in made.choice.policies.items():
        result = each.evaluate(logits, labels, upto_ms)
        compared[kind] = {
            "val_lost": made.choice.lost[kind],
            "accuracy": result.accuracy,
            "lost": result.lost,
            "ms": result.cost,
        }
    budget = {
        "ms": made.budget,
        "over": float((np.asarray(upto_ms)[taken] > made.budget).mean()),
        "rule": made.choice.kind,
        "compared": compared,
    }
    return {**found, "budget": budget}


def lines(found: dict[str, Any]) -> list[str]:
    """The facts of a result of `tvmkd.early_exit.produce.produce` as lines for a terminal."""
    first, last = zip(*found["calibration_error"], strict=True)
    said = [
        "temperatures "
        + ", ".join(f"{each:.2f}" for each in found["temperatures"])
        + f"; calibration error {_percent(first)} before, {_percent(last)} after"
    ]
    budget = found.get("budget")
    if budget is None:
        return said
    rows = [
        f"{kind}: {each['val_lost']:.2%} lost in cross-validation; on the test split right "
        f"{each['accuracy']:.1%} in {each['ms']:.3f} ms"
        for kind, each in budget["compared"].items()
    ]
    return [*said, *rows, f"used for the mean budget: {budget['rule']}", _told(found, budget["ms"])]


def _percent(values: Sequence[float]) -> str:
    return ", ".join(f"{each:.1%}" for each in values)


def _told(found: dict[str, Any], budget: float) -> str:
    worst, over = found["worst_ms"], found["budget"]["over"]
    if found["whole_ms"] <= budget:
        return (
            f"the network without exits takes {found['whole_ms']:.3f} ms and keeps to {budget:g} "
            "ms for every image: with this budget exits save nothing"
        )
    if worst <= budget:
        return f"every image keeps to {budget:g} ms: even the worst case takes {worst:.3f} ms"
    return (
        f"the budget of {budget:g} ms is one of the mean: {over:.1%} of the test images take "
        f"longer, {worst:.3f} ms in the worst case; run_until keeps to a deadline"
    )
