from __future__ import annotations

import pytest

from tvmkd.base.errors import UsageError
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
