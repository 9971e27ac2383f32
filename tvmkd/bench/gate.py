"""The gate: judges requirements on a comparison, or on the result of a stream.

Figures of an engine: p50 p90 p95 p99 mean min max (times), size and memory (bytes), build (a time),
error. Those of a stream: see `tvmkd.bench.expression.STREAM_FIGURES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tvmkd.base.errors import InputError
from tvmkd.bench.expression import (
    OPERATORS,
    SIZE,
    STREAM,
    TIME,
    Requirement,
    Side,
    parse,
    wrong,
)
from tvmkd.bench.schema import Comparison, Engine
from tvmkd.bench.verdict import pair

__all__ = ["Check", "StreamFigures", "evaluate", "names_stream", "parse"]


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


@dataclass(frozen=True)
class StreamFigures:
    """What a stream has measured.

    Attributes:
        values: times in ms, and numbers, by their names; None where the board does not tell.
        budget_ms: of a frame.
    """

    values: Mapping[str, float | None]
    budget_ms: float


def names_stream(requirement: Requirement) -> bool:
    """Whether a requirement is about a stream."""
    return STREAM in (requirement.left.name, requirement.right.name)


def evaluate(result: Comparison | StreamFigures, requirements: Iterable[str]) -> list[Check]:
    """Checks every requirement against the result. All are parsed before the first is checked.

    Raises:
        UsageError: one does not parse, names an engine that was not requested, or compares a time
            with a size.
        InputError: one requires a time, and the times are those of an emulated board; or it is
            about a stream and the result is a comparison, or the other way round.
    """
    parsed = [parse(text) for text in requirements]
    for requirement in parsed:
        if isinstance(result, StreamFigures):
            _check_stream(requirement)
            continue
        _check_names(requirement, result)
        if result.context.emulated and requirement.left.kind == TIME:
            raise InputError(
                f"{requirement.text!r}: this comparison was made on an emulated board, whose times "
                "mean nothing: measure on a real one"
            )
    return [_judge(requirement, result) for requirement in parsed]


def _check_stream(requirement: Requirement) -> None:
    for side in (requirement.left, requirement.right):
        if side.figure is not None and side.name != STREAM:
            raise InputError(
                f"{requirement.text!r}: this is the result of a stream, and {side.name} is an "
                "engine: give the result of tvmkd compare"
            )


def _check_names(requirement: Requirement, comparison: Comparison) -> None:
    known = [engine.name for engine in comparison.engines]
    known += [item.name for item in comparison.left_out]
    for side in (requirement.left, requirement.right):
        if side.name is None:
            continue
        place = requirement.text.find(side.name)
        if side.name == STREAM:
            raise InputError(
                f"{requirement.text!r}: this is a comparison, and has no result of a stream: give "
                "the stream.json that tvmkd stream --out writes"
            )
        if side.figure is None:
            if comparison.budget is None:
                raise wrong(requirement.text, place, "the comparison was made without a budget")
        elif side.name not in known:
            raise wrong(
                requirement.text,
                place,
                f"no engine {side.name!r} in the comparison: it has {', '.join(known) or 'none'}",
            )


def _judge(requirement: Requirement, result: Comparison | StreamFigures) -> Check:
    values = []
    for side in (requirement.left, requirement.right):
        value = _value(side, result)
        if isinstance(value, str):
            return Check(requirement.text, False, f"{requirement.text}: {value}")
        values.append(value)
    left, right = values
    holds = OPERATORS[requirement.operator](left, right)
    text = (
        f"{requirement.text}: {_shown(left, requirement.left.kind)} "
        f"{'is' if holds else 'is not'} {requirement.operator} "
        f"{_shown(right, requirement.right.kind)}{_doubt(requirement, result)}"
    )
    return Check(requirement.text, holds, text)


def _value(side: Side, result: Comparison | StreamFigures) -> float | str:
    """The value in ms, bytes or a number, or the reason why there is none."""
    if side.name is None:
        return side.factor
    if isinstance(result, StreamFigures):
        found = result.budget_ms if side.figure is None else result.values[side.figure]
        return f"this board tells no {side.figure}" if found is None else side.factor * found
    return _of_engine(side, result)


def _of_engine(side: Side, comparison: Comparison) -> float | str:
    assert side.name is not None
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


def _doubt(requirement: Requirement, comparison: Comparison | StreamFigures) -> str:
    """A remark if another measurement might reverse the comparison of two medians."""
    left, right = requirement.left, requirement.right
    medians = left.figure == right.figure == "p50"
    if isinstance(comparison, StreamFigures) or not medians or left.name == right.name:
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
