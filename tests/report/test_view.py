from __future__ import annotations

from tvmkd.report.view import Cell, Row, Table


def test_a_column_without_any_value_is_left_out() -> None:
    table = Table(
        ("engine", "size", "tuning", "load"),
        [
            Row("a", [Cell("1 MB"), Cell(), Cell()], first=True),
            Row("b", [Cell(), Cell(), Cell("2 s")]),
        ],
        "caption",
    )
    assert table.without_empty_columns() == Table(
        ["engine", "size", "load"],
        [Row("a", [Cell("1 MB"), Cell()], first=True), Row("b", [Cell(), Cell("2 s")])],
        "caption",
    )
