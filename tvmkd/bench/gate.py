"""The gate: ``tvm.p99 < 20ms``, ``tvm.p50 <= 1.2 * onnxruntime.p50``, ``tvm.p99 < budget``.

A requirement compares two sides by ``<``, ``<=``, ``>`` or ``>=``. A side is a quantity (``20ms``,
``4 MB``), a metric of an engine (``tvm.p50``), or ``budget``, and may be multiplied by a number.
Metrics: p50 p90 p95 p99 mean min max (times), size and memory (bytes), build (a time), error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tvmkd.base.errors import InputError, UsageError
from tvmkd.bench.schema import Comparison, Engine
from tvmkd.bench.verdict import pair

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
OPERATORS = {
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
}
# Names are matched before units, so that an engine may be called "ms". A name may contain dots,
# colons and pluses ("torch.compile", "tvm:untuned", "tvm+tensorrt").
TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)\s*(?P<unit>[A-Za-zµ]+)?"
    r"|(?P<name>[A-Za-z_][\w.:+-]*)"
    r"|(?P<operator><=|>=|<|>|\*))"
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


@dataclass(frozen=True)
class Check:
    """The result of one requirement.

    Attributes:
        requirement: the expression as the user wrote it.
        holds: True if it is met.
        text: the expression with the measured values, and remarks on them.
    """

    requirement: str
    holds: bool
    text: str


def parse(text: str) -> Requirement:
    """Parses one requirement.

    Raises:
        UsageError: it does not parse; the message marks the position.
    """
    return _Parser(text).requirement()


def evaluate(comparison: Comparison, requirements: Iterable[str]) -> list[Check]:
    """Checks every requirement against the comparison. All are parsed before the first is checked.

    Raises:
        UsageError: one does not parse, names an engine that was not requested, or compares a time
            with a size.
        InputError: one requires a time, and the times are those of an emulated board.
    """
    parsed = [parse(text) for text in requirements]
    for requirement in parsed:
        _check_names(requirement, comparison)
        if comparison.context.emulated and requirement.left.kind == TIME:
            raise InputError(
                f"{requirement.text!r}: this comparison was made on an emulated board, whose times "
                "mean nothing: measure on a real one"
            )
    return [_judge(requirement, comparison) for requirement in parsed]


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[int, re.Match[str]]] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            match = TOKEN.match(text, position)
            if match is None:
                blank = len(text[position:]) - len(text[position:].lstrip())
                raise _wrong(text, position + blank, "this is not part of a requirement")
            self._tokens.append((match.end() - len(match.group().lstrip()), match))
            position = match.end()
        self._next = 0

    def requirement(self) -> Requirement:
        left = self._side()
        place, token = self._peek("one of < <= > >=")
        operator = token.group("operator")
        if operator not in OPERATORS:
            raise _wrong(self._text, place, "expected one of < <= > >=")
        self._next += 1
        right_place = self._place()
        right = self._side()
        if self._next < len(self._tokens):
            raise _wrong(self._text, self._place(), "expected the end: one comparison each")
        if left.kind != right.kind:
            hint = ""
            if right.kind == NUMBER and left.kind != NUMBER and right.name is None:
                hint = " (it has no unit)"
            raise _wrong(
                self._text, right_place, f"{right.kind} cannot be compared with {left.kind}{hint}"
            )
        if left.name is None and right.name is None:
            raise _wrong(self._text, 0, "names no engine: write tvm.p99 or the like")
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
                raise _wrong(self._text, place, "only a number may be multiplied with a figure")
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
                raise _wrong(
                    self._text, token.start("unit"), f"unknown unit: one of {', '.join(UNITS)}"
                )
            kind, scale = UNITS[unit]
            return Side(float(token.group("number")) * scale, kind)
        name = token.group("name")
        if name is None:
            raise _wrong(self._text, place, "expected a figure (tvm.p99) or a quantity (20ms)")
        if name == "budget":
            return Side(1.0, TIME, name)
        engine, _, figure = name.rpartition(".")
        if not engine or figure not in FIGURES:
            at = place + (len(engine) + 1 if engine else 0)
            raise _wrong(self._text, at, f"expected ENGINE.FIGURE with one of {', '.join(FIGURES)}")
        return Side(1.0, FIGURES[figure], engine, figure)

    def _peek(self, expected: str) -> tuple[int, re.Match[str]]:
        if self._next >= len(self._tokens):
            raise _wrong(self._text, len(self._text.rstrip()), f"ends where {expected} should be")
        return self._tokens[self._next]

    def _place(self) -> int:
        if self._next < len(self._tokens):
            return self._tokens[self._next][0]
        return len(self._text.rstrip())


def _wrong(text: str, place: int, problem: str) -> UsageError:
    return UsageError(f"gate: {problem}\n  {text}\n  {' ' * place}^")


def _check_names(requirement: Requirement, comparison: Comparison) -> None:
    known = [engine.name for engine in comparison.engines]
    known += [item.name for item in comparison.left_out]
    for side in (requirement.left, requirement.right):
        if side.name is None:
            continue
        place = requirement.text.find(side.name)
        if side.figure is None:
            if comparison.budget is None:
                raise _wrong(requirement.text, place, "the comparison was made without a budget")
        elif side.name not in known:
            raise _wrong(
                requirement.text,
                place,
                f"no engine {side.name!r} in the comparison: it has {', '.join(known) or 'none'}",
            )


def _judge(requirement: Requirement, comparison: Comparison) -> Check:
    values = []
    for side in (requirement.left, requirement.right):
        value = _value(side, comparison)
        if isinstance(value, str):
            return Check(requirement.text, False, f"{requirement.text}: {value}")
        values.append(value)
    left, right = values
    holds = OPERATORS[requirement.operator](left, right)
    text = (
        f"{requirement.text}: {_shown(left, requirement.left.kind)} "
        f"{'is' if holds else 'is not'} {requirement.operator} "
        f"{_shown(right, requirement.right.kind)}{_doubt(requirement, comparison)}"
    )
    return Check(requirement.text, holds, text)


def _value(side: Side, comparison: Comparison) -> float | str:
    """The value in ms or bytes, or the reason why there is none."""
    if side.name is None:
        return side.factor
    if side.figure is None:
        assert comparison.budget is not None
        return side.factor * comparison.budget.model_ms
    engine = comparison.engine(side.name)
    if engine is None:
        reason = next(item.reason for item in comparison.left_out if item.name == side.name)
        return f"{side.name} was left out: {reason}"
    value = _figure(engine, side.figure)
    return f"{side.name} has no {side.figure}" if value is None else side.factor * value


def _figure(engine: Engine, figure: str) -> float | None:
    special = {
        "build": engine.build_seconds * 1e3,
        "size": engine.size_bytes,
        "memory": engine.memory(),
        "error": engine.max_abs_error,
    }
    value = special[figure] if figure in special else getattr(engine, figure)
    return None if value is None else float(value)


def _doubt(requirement: Requirement, comparison: Comparison) -> str:
    """A remark if another measurement might reverse the comparison of two medians."""
    left, right = requirement.left, requirement.right
    if left.figure != "p50" or right.figure != "p50" or left.name == right.name:
        return ""
    ours, theirs = comparison.engine(left.name or ""), comparison.engine(right.name or "")
    if ours is None or theirs is None:
        return ""
    low, high = pair(ours, theirs).ci95
    bound = right.factor / left.factor if left.factor else 0.0
    return " (within noise)" if low <= bound <= high else ""


def _shown(value: float, kind: str) -> str:
    if kind == TIME:
        return f"{value:.4g} ms"
    return f"{value / 1e6:.4g} MB" if kind == SIZE else f"{value:.4g}"
