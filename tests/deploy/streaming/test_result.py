from __future__ import annotations

import json
from pathlib import Path

import pytest
from streams import result

from tvmkd.base.errors import InputError
from tvmkd.bench import gate
from tvmkd.bench.expression import STREAM_FIGURES
from tvmkd.deploy.streaming import result as results


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = result([5.0, 25.0, 6.0], celsius=[60.0, 71.0])
    made.save(tmp_path / "stream.json")
    assert results.is_stream(tmp_path / "stream.json")
    assert results.load(tmp_path / "stream.json") == made


def test_the_gate_knows_every_figure() -> None:
    assert set(result([5.0]).figures().values) == set(STREAM_FIGURES)


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("stream.worst < 30ms", True),
        ("stream.worst < 25ms", False),
        ("stream.worst <= 25ms", True),
        ("stream.misses == 1", True),
        ("stream.misses == 0", False),
        ("stream.p50 < 0.5 * budget", True),
        ("stream.late <= 1", True),
        ("stream.dropped == 0", True),
        ("stream.celsius < 72", True),
        ("stream.throttled == 1", True),
        ("stream.frames > 2", True),
        ("stream.jitter < 1us", True),
    ],
)
def test_the_gate_judges_it(expression: str, holds: bool) -> None:
    figures = result([5.0, 25.0, 6.0], celsius=[60.0, 71.0]).figures()
    (check,) = gate.evaluate(figures, [expression])
    assert check.holds is holds, check.text


def test_what_the_board_does_not_tell_holds_nothing() -> None:
    figures = result([5.0]).figures()
    for expression in ("stream.celsius < 80", "stream.throttled == 0"):
        (check,) = gate.evaluate(figures, [expression])
        assert not check.holds
        assert "this board tells no" in check.text


def test_misses_are_late_and_dropped_frames() -> None:
    made = result([5.0, 25.0, 6.0], numbers=[0, 1, 4])
    assert (made.late, made.dropped, made.misses) == (1, 2, 3)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", "is no result of tvmkd stream"),
        ("[]", "is no result of tvmkd stream"),
        ('{"schema_version": 9}', "schema 9, and this tvmkd reads 1"),
        ('{"schema_version": 1, "kind": "stream"}', "damaged"),
    ],
)
def test_a_damaged_result_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "stream.json"
    path.write_text(text)
    with pytest.raises(InputError, match=line) as raised:
        results.load(path)
    assert "\n" not in str(raised.value)


def test_other_files_are_no_streams(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert not results.is_stream(path)
    with pytest.raises(InputError, match="cannot be read"):
        results.load(path)
    for text in ("[]", "{}", "{", json.dumps({"kind": "other"})):
        path.write_text(text)
        assert not results.is_stream(path)
