"""Drawing: a small SVG canvas, axes and number formats. Colours are CSS classes, never values, so
that one drawing serves the light scheme, the dark one and paper."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_ids = itertools.count(1)


class Canvas:
    """Collects shapes; `render` gives the ``<svg>`` with its title and description for readers."""

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        self.width = width
        self.height = height
        self._title = title
        self._description = description
        self._shapes: list[str] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        """A straight line."""
        self._shapes.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>'
        )

    def rect(
        self, x: float, y: float, width: float, height: float, css: str, tip: str = ""
    ) -> None:
        """A rectangle with slightly round corners; ``tip`` shows on hover."""
        self._shapes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" '
            f'rx="2" class="{css}">{_tip(tip)}</rect>'
        )

    def circle(self, x: float, y: float, radius: float, css: str, tip: str = "") -> None:
        """A dot."""
        self._shapes.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" class="{css}">{_tip(tip)}</circle>'
        )

    def path(
        self, points: Sequence[tuple[float, float]], css: str, *, close: bool = False, tip: str = ""
    ) -> None:
        """A line through ``points``, closed to an area on demand."""
        data = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + ("Z" if close else "")
        self._shapes.append(f'<path d="{data}" class="{css}">{_tip(tip)}</path>')

    def text(self, x: float, y: float, text: str, css: str = "", anchor: str = "start") -> None:
        """Text on the baseline ``y``; ``anchor`` is start, middle or end."""
        self._shapes.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{css}">'
            f"{escape(text)}</text>"
        )

    def render(self, css: str = "") -> str:
        """The element. Its ids are unique in the process, so several fit on one page."""
        number = next(_ids)
        return (
            f'<svg class="{css}" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-labelledby="t{number} d{number}">'
            f'<title id="t{number}">{escape(self._title)}</title>'
            f'<desc id="d{number}">{escape(self._description)}</desc>'
            + "".join(self._shapes)
            + "</svg>"
        )


@dataclass(frozen=True)
class Scale:
    """Maps values to pixels, linearly or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel for ``value``; values outside are held at the edge."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int) -> list[float]:
        """Round values inside the scale, roughly ``about`` of them."""
        if self.log:
            found = _log_ticks(self.low, self.high)
            while len(found) > about + 2:
                found = found[::2]
            if len(found) >= 2:
                return found
        span = self.high - self.low
        raw = span / max(about, 1)
        unit = 10.0 ** math.floor(math.log10(raw))
        step = next(unit * k for k in (1, 2, 2.5, 5, 10) if unit * k >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(k * step, 12) for k in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [m * 10.0**d for d in decades for m in (1, 2, 5)]
    return [value for value in found if low <= value <= high]


def number(value: float) -> str:
    """A tick's label: no exponent, no trailing zeros."""
    return f"{value:.10g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.1e}"


def _tip(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""
