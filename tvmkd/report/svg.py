"""Drawing: a small SVG canvas, axes and number formats. Colours are CSS classes, never values, so
that one drawing serves the light scheme, the dark one and paper."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

_ids = itertools.count(1)


class Canvas:
    """Collects shapes; `render` gives the ``<svg>`` with its title and description for readers."""

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        self.width = width
        self.height = height
        self._title = title
        self._description = description
        self._shapes: list[Markup] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        """A straight line."""
        self._add(
            '<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>',
            x1,
            y1,
            x2,
            y2,
            css,
        )

    def rect(
        self, x: float, y: float, width: float, height: float, css: str, tip: str = ""
    ) -> None:
        """A rectangle with slightly round corners; ``tip`` appears on hover."""
        self._add(
            '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2" class="{}">'
            "{}</rect>",
            x,
            y,
            max(width, 0.5),
            height,
            css,
            _tip(tip),
        )

    def circle(self, x: float, y: float, radius: float, css: str, tip: str = "") -> None:
        """A dot."""
        self._add(
            '<circle cx="{:.1f}" cy="{:.1f}" r="{}" class="{}">{}</circle>',
            x,
            y,
            radius,
            css,
            _tip(tip),
        )

    def path(
        self, points: Sequence[tuple[float, float]], css: str, *, close: bool = False, tip: str = ""
    ) -> None:
        """A line through ``points``; an area if it is closed."""
        data = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + ("Z" if close else "")
        self._add('<path d="{}" class="{}">{}</path>', data, css, _tip(tip))

    def text(self, x: float, y: float, text: str, css: str = "", anchor: str = "start") -> None:
        """Text on the baseline ``y``; ``anchor`` is start, middle or end."""
        self._add(
            '<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>',
            x,
            y,
            anchor,
            css,
            text,
        )

    def render(self, css: str = "") -> Markup:
        """The element. Its ids are unique in the process, so several fit on one page."""
        number = next(_ids)
        return Markup(
            '<svg class="{}" viewBox="0 0 {} {}" role="img" aria-labelledby="t{n} d{n}">'
            '<title id="t{n}">{}</title><desc id="d{n}">{}</desc>{}</svg>'
        ).format(
            css,
            self.width,
            self.height,
            self._title,
            self._description,
            Markup().join(self._shapes),
            n=number,
        )

    def _add(self, shape: str, *values: float | str) -> None:
        # Markup.format escapes every value that is not Markup.
        self._shapes.append(Markup(shape).format(*values))


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


def _tip(text: str) -> Markup:
    return Markup("<title>{}</title>").format(text) if text else Markup()
