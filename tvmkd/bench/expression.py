"""The grammar of a requirement: ``tvm.p99 < 20ms``, ``tvm.p50 <= 1.2 * onnxruntime.p50``.

Two sides, with ``<``, ``<=``, ``>``, ``>=`` or ``==`` between them. A side is a quantity (``20ms``,
``4 MB``, ``0``), a figure of an engine (``tvm.p50``) or of a stream (``stream.worst``), or
``budget``, and may be multiplied by a number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tvmkd.base.errors import UsageError

TIME, SIZE, NUMBER = "a time", "a size", "a number"
UNITS = {
    "ns": (TIME, 1e-6),
    "us": (TIME, 1e-3),
    "µs": (TIME, 1e-3),
    "ms": (TIME, 1.0),
    "s": (TIME, 1e3),
    "B": (SIZE, 1.0),
    "kB": (SIZE, 1e3),
    "KB": (SIZE, 1e3),
    "MB": (SIZE, 1e6),
    "GB": (SIZE, 1e9),
}
FIGURES = {
    **dict.fromkeys(("p50", "p90", "p95", "p99", "mean", "min", "max", "build"), TIME),
    "size": SIZE,
    "memory": SIZE,
    "error": NUMBER,
}
STREAM = "stream"
"""The name of what `tvmkd stream` has measured; no engine's."""
STREAM_FIGURES = {
    **dict.fromkeys(("worst", "p50", "p90", "p95", "p99", "p999", "mean", "min", "jitter"), TIME),
    **dict.fromkeys(("misses", "late", "dropped", "frames", "fps"), NUMBER),
    **dict.fromkeys(("celsius", "throttled"), NUMBER),
}
OPERATORS = {
    "==": lambda a, b: a == b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
}
# Names are matched before units, so that an engine may be called "ms". A name may contain dots,
# colons, pluses and @ ("torch.compile", "tvm:untuned", "tvm+tensorrt", "tvm@board").
TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)\s*(?P<unit>[A-Za-zµ]+)?"
    r"|(?P<name>[A-Za-z_][\w.:+@-]*)"
    r"|(?P<operator><=|>=|==|<|>|\*))"
)


@dataclass(frozen=True)
class Side:
    """``factor`` times an engine's metric (if ``name`` is set) or a quantity (in ms or bytes)."""

    factor: float
    kind: str
    name: str | None = None
    figure: str | None = None


@dataclass(frozen=True)
class Requirement:
    """A parsed expression."""

    text: str
    left: Side
    operator: str
    right: Side


def parse(text: str) -> Requirement:
    """Parses one requirement.

    Raises:
        UsageError: it does not parse; the message marks the position.
    """
    return _Parser(text).requirement()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[int, re.Match[str]]] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            match = TOKEN.match(text, position)
            if match is None:
                blank = len(text[position:]) - len(text[position:].lstrip())
                raise wrong(text, position + blank, "this is not part of a requirement")
            self._tokens.append((match.end() - len(match.group().lstrip()), match))
            position = match.end()
        self._next = 0

    def requirement(self) -> Requirement:
        left = self._side()
        place, token = self._peek("one of < <= > >= ==")
        operator = token.group("operator")
        if operator not in OPERATORS:
            raise wrong(self._text, place, "expected one of < <= > >= ==")
        self._next += 1
        right_place = self._place()
        right = self._side()
        if self._next < len(self._tokens):
            raise wrong(self._text, self._place(), "expected the end: one comparison each")
        if left.kind != right.kind:
            hint = ""
            if right.kind == NUMBER and left.kind != NUMBER and right.name is None:
                hint = " (it has no unit)"
            raise wrong(
                self._text, right_place, f"{right.kind} cannot be compared with {left.kind}{hint}"
            )
        if left.name is None and right.name is None:
            raise wrong(self._text, 0, "names no engine: write tvm.p99 or the like")
        return Requirement(self._text.strip(), left, operator, right)

    def _side(self) -> Side:
        side = self._factor()
        while self._next < len(self._tokens):
            place, token = self._tokens[self._next]
            if token.group("operator") != "*":
                break
            self._next += 1
            other = self._factor()
            if NUMBER not in (side.kind, other.kind) or (side.name and other.name):
                raise wrong(self._text, place, "only a number may be multiplied with a figure")
            main = side if side.kind != NUMBER or side.name else other
            side = Side(side.factor * other.factor, main.kind, main.name, main.figure)
        return side

    def _factor(self) -> Side:
        place, token = self._peek("a figure such as tvm.p99, or a quantity such as 20ms")
        self._next += 1
        if token.group("number"):
            unit = token.group("unit")
            if unit is None:
                return Side(float(token.group("number")), NUMBER)
            if unit not in UNITS:
                raise wrong(
                    self._text, token.start("unit"), f"unknown unit: one of {', '.join(UNITS)}"
                )
            kind, scale = UNITS[unit]
            return Side(float(token.group("number")) * scale, kind)
        name = token.group("name")
        if name is None:
            raise wrong(self._text, place, "expected a figure (tvm.p99) or a quantity (20ms)")
        if name == "budget":
            return Side(1.0, TIME, name)
        engine, _, figure = name.rpartition(".")
        known = STREAM_FIGURES if engine == STREAM else FIGURES
        if not engine or figure not in known:
            at = place + (len(engine) + 1 if engine else 0)
            what = STREAM if engine == STREAM else "ENGINE"
            raise wrong(self._text, at, f"expected {what}.FIGURE with one of {', '.join(known)}")
        return Side(1.0, known[figure], engine, figure)

    def _peek(self, expected: str) -> tuple[int, re.Match[str]]:
        if self._next >= len(self._tokens):
            raise wrong(self._text, len(self._text.rstrip()), f"ends where {expected} should be")
        return self._tokens[self._next]

    def _place(self) -> int:
        if self._next < len(self._tokens):
            return self._tokens[self._next][0]
        return len(self._text.rstrip())


def wrong(text: str, place: int, problem: str) -> UsageError:
    """The error for a requirement, with a mark below its column ``place``."""
    return UsageError(f"gate: {problem}\n  {text}\n  {' ' * place}^")
