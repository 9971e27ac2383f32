from __future__ import annotations

import json
from pathlib import Path

import pytest
import samples

from tvmkd.base.errors import InputError
from tvmkd.bench.schema import Comparison


def test_what_is_saved_loads_again(tmp_path: Path) -> None:
    made = samples.five()
    made.save(tmp_path / "deep/result.json")
    assert Comparison.load(tmp_path / "deep/result.json") == made
    assert [item.name for item in (tmp_path / "deep").iterdir()] == ["result.json"]


def test_rounds_divide_the_samples() -> None:
    engine = samples.engine("a", 1.0)
    rounds = engine.rounds()
    assert len(rounds) == samples.ROUNDS
    assert [value for one in rounds for value in one] == engine.samples_ms


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("{", "not a comparison in JSON"),
        ("[]", "no schema_version"),
        ('{"schema_version": 2}', "schema version 2, this tvmkd reads 1"),
        ('{"schema_version": 1}', "not a comparison: tool: Field required"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "result.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as caught:
        Comparison.load(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    samples.five().save(path)
    path.write_text(path.read_text()[:-200])
    with pytest.raises(InputError, match="not a comparison in JSON"):
        Comparison.load(path)


def test_fields_the_design_promises(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    samples.five().save(path)
    data = json.loads(path.read_text())
    assert {"context", "model", "budget", "engines", "verdict"} <= set(data)
    promised = {"name", "precision", "threads", "samples_ms", "p50", "p90", "p95", "p99", "mean"}
    promised |= {"ci95", "max_abs_error", "build_seconds", "size_bytes", "facts"}
    assert promised <= set(data["engines"][0])
