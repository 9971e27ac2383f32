from __future__ import annotations

import pytest

from tvmkd.base.errors import UsageError
from tvmkd.bench import expression as grammar
from tvmkd.bench.expression import NUMBER, TIME, Side, parse


def test_a_stream_has_figures_of_its_own() -> None:
    found = parse("stream.worst < 30ms")
    assert (found.left, found.operator) == (Side(1.0, TIME, "stream", "worst"), "<")
    assert found.right == Side(30.0, TIME)
    assert parse("stream.misses == 0").left == Side(1.0, NUMBER, "stream", "misses")


@pytest.mark.parametrize(("operator"), ["<", "<=", ">", ">=", "=="])
def test_operators(operator: str) -> None:
    assert parse(f"tvm.p50{operator}2ms").operator == operator


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("stream.size < 3MB", 7, r"expected stream\.FIGURE with one of worst, p50"),
        ("tvm.worst < 3ms", 4, r"expected ENGINE\.FIGURE with one of p50"),
        ("stream.misses == 0ms", 17, "a time cannot be compared with a number"),
        ("stream.worst = 3ms", 13, "not part of a requirement"),
    ],
)
def test_what_does_not_parse_is_marked(text: str, column: int, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as raised:
        parse(text)
    assert str(raised.value).splitlines()[-1] == f"  {' ' * column}^"


@pytest.mark.parametrize(
    ("expression", "column", "problem"),
    [
        ("tvm.p99 20ms", 8, "expected one of < <= > >= =="),
        ("tvm.p99 <", 9, "ends where a figure"),
        ("", 0, "ends where a figure"),
        ("   ", 0, "ends where a figure"),
        ("tvm.p99", 7, "ends where one of < <= > >="),
        ("tvm.p98 < 20ms", 4, "expected ENGINE.FIGURE with one of p50"),
        ("p99 < 20ms", 0, "expected ENGINE.FIGURE"),
        ("tvm.p99 < 20", 10, "a number cannot be compared with a time (it has no unit)"),
        ("tvm.p99 < 20 parsecs", 13, "unknown unit"),
        ("tvm.p99 < 4MB", 10, "a size cannot be compared with a time"),
        ("tvm.p99 = 20ms", 8, "this is not part of a requirement"),
        ("tvm.p99 < 20ms < 30ms", 15, "expected the end"),
        ("tvm.p99 < 20ms; rm", 14, "this is not part"),
        ("tvm.p50 * onnxruntime.p50 < 1ms", 8, "only a number may be multiplied"),
        ("1ms < 2ms", 0, "names no engine"),
        ("< 20ms", 0, "expected a figure"),
        ("  tvm.p98 < 20ms", 6, "expected ENGINE.FIGURE"),
    ],
)
def test_what_does_not_parse_is_pointed_at(expression: str, column: int, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(expression)
    first, shown, caret = str(caught.value).split("\n")
    assert first.startswith("gate: ")
    assert problem in first
    assert shown == f"  {expression}"
    assert caret.index("^") - 2 == column


@pytest.mark.parametrize(
    ("unit", "kind", "scale"),
    [
        ("ns", grammar.TIME, 1e-6),
        ("us", grammar.TIME, 1e-3),
        ("µs", grammar.TIME, 1e-3),
        ("ms", grammar.TIME, 1.0),
        ("s", grammar.TIME, 1e3),
        ("B", grammar.SIZE, 1.0),
        ("kB", grammar.SIZE, 1e3),
        ("KB", grammar.SIZE, 1e3),
        ("MB", grammar.SIZE, 1e6),
        ("GB", grammar.SIZE, 1e9),
    ],
)
def test_units(unit: str, kind: str, scale: float) -> None:
    figure = "p50" if kind == grammar.TIME else "size"
    for text in (f"a.{figure} < 2{unit}", f"a.{figure} < 2 {unit}"):
        assert parse(text).right == grammar.Side(2 * scale, kind)


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("a.p50", grammar.Side(1.0, grammar.TIME, "a", "p50")),
        ("2 * 3 * a.p50", grammar.Side(6.0, grammar.TIME, "a", "p50")),
        ("a.p50 * 1.5 * 2", grammar.Side(3.0, grammar.TIME, "a", "p50")),
        ("budget", grammar.Side(1.0, grammar.TIME, "budget")),
        ("0.5 * budget", grammar.Side(0.5, grammar.TIME, "budget")),
        ("2 * 1e-1 ms", grammar.Side(0.2, grammar.TIME)),
        (".5 * 3s", grammar.Side(1500.0, grammar.TIME)),
        ("torch.compile.p99", grammar.Side(1.0, grammar.TIME, "torch.compile", "p99")),
        ("tvm+tensorrt.p99", grammar.Side(1.0, grammar.TIME, "tvm+tensorrt", "p99")),
        ("tvm@board.p99", grammar.Side(1.0, grammar.TIME, "tvm@board", "p99")),
        ("my.engines:Mine.p99", grammar.Side(1.0, grammar.TIME, "my.engines:Mine", "p99")),
    ],
)
def test_a_side_is_a_factor_of_a_figure_or_a_quantity(text: str, side: grammar.Side) -> None:
    parsed = parse(f"  {text} <= a.p50 ")
    assert parsed.left == side
    assert (parsed.operator, parsed.text) == ("<=", f"{text} <= a.p50")


def test_every_figure_has_its_kind() -> None:
    for figure, kind in grammar.FIGURES.items():
        unit = {grammar.TIME: "ms", grammar.SIZE: "B", grammar.NUMBER: ""}[kind]
        assert parse(f"a.{figure} < 1{unit}").left == grammar.Side(1.0, kind, "a", figure)


def test_blanks_around_a_requirement_do_not_matter() -> None:
    assert parse("    a.error < 1").right == grammar.Side(1.0, grammar.NUMBER)
    assert parse("a.error < 1    ").right == grammar.Side(1.0, grammar.NUMBER)


def test_a_number_times_a_number_is_one() -> None:
    parsed = parse("a.error < 2 * 3")
    assert parsed.right == grammar.Side(6.0, grammar.NUMBER)
    assert parse("2 * a.error * 3 < 1").left == grammar.Side(6.0, grammar.NUMBER, "a", "error")
    with pytest.raises(UsageError, match="only a number may be multiplied"):
        parse("a.error * b.error < 1")
    with pytest.raises(UsageError, match="only a number may be multiplied"):
        parse("2ms * 3ms < a.p50")
