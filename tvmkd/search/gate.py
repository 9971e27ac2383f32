"""The gate on a search: whether a network meets the budget, and what the winner says of ``[gate]``.

Most requirements of ``[gate]`` are about a comparison, which a run of the winner makes. A search
knows one figure of it: the median time of the winner in TVM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvmkd.base import engine_registry
from tvmkd.bench.expression import OPERATORS, Side, parse
from tvmkd.bench.gate import Check
from tvmkd.search.choice import within
from tvmkd.search.front import usable
from tvmkd.search.page.wording import Wording
from tvmkd.search.results import Point, Study


@dataclass(frozen=True)
class Verdict:
    """What the gate says.

    Attributes:
        checks: the budget first, where there is one, then what is known of ``[gate] require``.
        undecided: the requirements that only a comparison can check.
    """

    checks: Sequence[Check]
    undecided: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing that is known is broken."""
        return all(check.holds for check in self.checks)


def judge(study: Study, requirements: Sequence[str] = ()) -> Verdict:
    """Judges a search.

    Args:
        study: finished or not.
        requirements: of ``[gate] require``.

    Raises:
        UsageError: a requirement does not parse.
    """
    won = next((point for point in study.points if point.number == study.winner), None)
    checks = _any(study) if study.budget is None else [_budget(study, study.budget, won)]
    undecided = []
    for text in requirements:
        found = _requirement(text, study, won)
        if found is None:
            undecided.append(text)
        else:
            checks.append(found)
    return Verdict(checks, undecided)


def _any(study: Study) -> list[Check]:
    """That there is a network, where there is none."""
    if usable(study.points):
        return []
    return [Check("a network", False, "no network was trained to the end")]


def _budget(study: Study, budget: float, won: Point | None) -> Check:
    """Whether a measured network meets the budget.

    A predicted one, where none was measured or the winner was not: one with exits cannot be.
    """
    words, rule = Wording(study), f"latency <= {budget:g} {study.unit}"
    known = usable(study.points)
    measured = [point for point in known if point.measured is not None]
    if won is not None and won.measured is None and within(won, budget):
        measured = []
    meeting = [point for point in measured or known if within(point, budget)]
    how = "measured" if measured else "predicted"
    if not known:
        return Check(rule, False, f"{rule}: no network was trained to the end")
    if meeting:
        best = next((p for p in meeting if p.number == study.winner), meeting[0])
        text = f"{rule}: {len(meeting)} of {len(measured or known)} {how} networks"
        return Check(rule, True, f"{text}; trial {best.number}: {words.summary(best)}")
    fastest = min(measured or known, key=lambda point: point.latency or 0.0)
    text = f"{rule}: none of {len(measured or known)} {how} networks; the fastest is "
    return Check(rule, False, f"{text}trial {fastest.number}: {words.summary(fastest)}")


def _requirement(text: str, study: Study, won: Point | None) -> Check | None:
    """The check of a requirement about the winner's median time; None: it needs a comparison."""
    parsed = parse(text)
    if won is None or won.measured is None or study.unit != "ms":
        return None
    values = [_value(side, study, won.measured) for side in (parsed.left, parsed.right)]
    left, right = values
    if left is None or right is None or parsed.left.kind != "a time":
        return None
    holds = OPERATORS[parsed.operator](left, right)
    word = "is" if holds else "is not"
    shown = f"{left:.4g} ms {word} {parsed.operator} {right:.4g} ms"
    return Check(parsed.text, holds, f"{parsed.text}: {shown} (trial {won.number}, measured)")


def _value(side: Side, study: Study, measured: float) -> float | None:
    if side.name is None:
        return side.factor
    if side.figure is None:
        return None  # the target's own budget, not this one
    if side.figure == "p50" and is_tuned_tvm(side.name):
        return side.factor * measured
    return None


def is_tuned_tvm(engine: str) -> bool:
    """Whether an engine runs what TVM compiled with the records: what a search measures."""
    return engine.partition(":")[0].partition("@")[0] == "tvm" and engine != engine_registry.UNTUNED
