"""The score and latency of each pruning step, as a page with one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tvmkd.base import files
from tvmkd.distill.task import Metric
from tvmkd.report.charts import accuracy, both
from tvmkd.report.environment import render


class Point(Protocol):
    """What is drawn of a step."""

    @property
    def kept(self) -> bool: ...  # noqa: D102

    @property
    def test_score(self) -> float: ...  # noqa: D102

    @property
    def ms(self) -> float: ...  # noqa: D102


def draw(
    steps: Sequence[Point], path: Path, metric: Metric, budget_ms: float | None = None
) -> None:
    """Writes an HTML page to ``path``.

    Args:
        steps: the first is the student that pruning started from; scores 0 to 1, ms.
        path: where to.
        metric: of the scores.
        budget_ms: what the model may take.
    """
    points = [
        (_name(number, step.kept), step.test_score, step.ms) for number, step in enumerate(steps)
    ]
    picture = both(lambda width: accuracy(points, budget_ms, width))
    page = render(
        "pruning.html",
        title=f"Latency and {metric.name}, step by step",
        lead=_lead(steps, metric),
        chart=picture,
    )
    files.write_text(path, page)


def _name(number: int, kept: bool) -> str:
    if number == 0:
        return "student"
    return f"step {number}" if kept else f"step {number}, undone"


def _lead(steps: Sequence[Point], metric: Metric) -> str:
    kept = [step for step in steps if step.kept]
    first, last = kept[0], kept[-1]
    if len(kept) == 1:
        return "No step was faster on the target: the student stays as it was."
    return (
        f"{len(kept) - 1} of {len(steps) - 1} steps kept: {first.ms:.3g} ms to {last.ms:.3g} ms, "
        f"test {metric.name} {metric.spread(first.test_score)} to "
        f"{metric.spread(last.test_score)}{metric.unit}."
    )
