from __future__ import annotations

import pytest

from tvmkd.stacks.standalone.c_text import Shapes, described, quoted, row, rows


@pytest.mark.parametrize(
    ("text", "c"),
    [
        ("plain", '"plain"'),
        ('say "hi"', r'"say \042hi\042"'),
        ("a\\b", r'"a\134b"'),
        ("??/", r'"\077\077/"'),
        ("\n7", r'"\0127"'),
        ("ü", r'"\303\274"'),
        ("", '""'),
    ],
)
def test_a_name_cannot_leave_its_string(text: str, c: str) -> None:
    assert quoted(text) == c


def test_each_list_of_sizes_is_written_once() -> None:
    shapes = Shapes()
    assert [shapes.add(sizes) for sizes in [(1, 3), (7,), (1, 3), ()]] == [
        "sizes + 0",
        "sizes + 2",
        "sizes + 0",
        "sizes + 3",
    ]
    assert shapes.text() == "static const int64_t sizes[] = {1, 3, 7, 1};"
    assert Shapes().text() == "static const int64_t sizes[] = {1};"


def test_a_tensor() -> None:
    shapes = Shapes()
    spec = {"name": "x", "shape": [2, 3], "dtype": "float16"}
    assert described(spec, shapes) == '{"x", "float16", sizes + 0, 2, 12}'
    scalar = {"name": "s", "shape": [], "dtype": "int64"}
    assert described(scalar, shapes) == '{"s", "int64", sizes + 2, 0, 8}'


def test_c_has_no_empty_arrays() -> None:
    assert (row([]), row([1, 2])) == ("0", "1, 2")
    assert rows(["a", "b"]) == "a,\n  b"
