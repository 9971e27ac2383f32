"""How a study's numbers and structures are written for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from tvmkd.base.text import heading
from tvmkd.search.results import Point, Study


class Wording:
    """The texts of one study.

    Attributes:
        percent: whether scores are shown as a percentage; other scores are shown as they are.
        metric: the score's name.
        unit: of latencies.
    """

    def __init__(self, study: Study) -> None:
        self.metric = study.metric
        scores = [each.accuracy for each in (*study.points, *study.baselines)]
        shares = all(0 <= score <= 1 for score in scores if score is not None)
        self.percent = study.metric == "accuracy" and shares
        self.unit = study.unit

    @property
    def title(self) -> str:
        """The score's name at the head of a line."""
        return heading(self.metric)

    def shown(self, score: float) -> float:
        """A score in the unit in which it is shown."""
        return 100 * score if self.percent else score

    def score(self, value: float) -> str:
        """``97.5%``, or ``0.301``."""
        return f"{100 * value:.1f}%" if self.percent else significant(value)

    def latency(self, value: float) -> str:
        """``4.12 ms``."""
        return f"{significant(value)} {self.unit}"

    def summary(self, point: Point) -> str:
        """One line: the scores and times of a point."""
        parts = [] if point.accuracy is None else [self.score(point.accuracy)]
        if point.measured is not None:
            parts.append(f"{self.latency(point.measured)} measured")
        if point.predicted is not None:
            text = f"{self.latency(point.predicted)} predicted"
            if point.low is not None and point.high is not None:
                text += f" ({significant(point.low)} to {significant(point.high)})"
            parts.append(text)
        return ", ".join(parts)


def significant(value: float) -> str:
    """Three significant digits, all those before the point, no exponent if not below 0.0001."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size >= 1000 or size == 0:
        return f"{value:.0f}"
    if size < 1e-4:
        return f"{value:.1e}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(size)))}f}"


def scalar(value: Any) -> str:
    """A value of a structure or of a table's facts."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, list | tuple):
        if any(isinstance(item, list | tuple | Mapping) for item in value):
            return json.dumps(value, default=str)
        return ", ".join(map(scalar, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {scalar(item)}" for key, item in value.items()) or "none"
    return "none" if value is None else json.dumps(value, default=str)


def structure(values: Mapping[str, Any]) -> str:
    """``width 0.5, model depthwise``."""
    return ", ".join(f"{short_name(name)} {scalar(value)}" for name, value in values.items())


def short_name(name: str) -> str:
    """A parameter's name without what most of them begin with."""
    return name.removeprefix("student.args.")


def baseline_name(point: Point) -> str:
    """What a hand-made network is called: its ``name``, otherwise its structure."""
    named = point.structure.get("name") or point.structure.get("model")
    rest = {k: v for k, v in point.structure.items() if k not in {"name", "model"}}
    if point.structure.get("name"):
        return str(named)
    return " ".join(filter(None, [str(named) if named else "", structure(rest)])) or "by hand"
