from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import samples


@pytest.fixture
def result(tmp_path: Path) -> Path:
    path = tmp_path / "result.json"
    samples.comparison(samples.engine("tvm", 5.0), samples.engine("onnxruntime", 8.0)).save(path)
    return path


def test_yes_is_0_and_no_is_1(tvmkd: Any, result: Path) -> None:
    done = tvmkd("gate", result, "--require", "tvm.p50 < 20ms")
    assert done.code == 0
    assert done.out.startswith("pass  tvm.p50 < 20ms: ")
    assert "is < 20 ms" in done.out
    done = tvmkd(
        "gate",
        result,
        "--require",
        "tvm.p50 < 20ms",
        "--require",
        "tvm.p50 <= 0.5 * onnxruntime.p50",
    )
    assert done.code == 1
    assert [line.split()[0] for line in done.out.splitlines()] == ["pass", "FAIL"]


def test_json_for_scripts(tvmkd: Any, result: Path) -> None:
    done = tvmkd("gate", result, "--require", "tvm.p50 < 1ms", "--json")
    assert done.code == 1
    data = json.loads(done.out)
    assert data["passed"] is False
    assert data["checks"][0]["requirement"] == "tvm.p50 < 1ms"


@pytest.mark.parametrize(
    ("expression", "at"), [("tvm.p99 << 20ms", "<"), ("tvm.p42 < 1ms", "p42"), ("tvm.p99 <", "")]
)
def test_an_expression_that_does_not_parse_is_wrong_usage_with_a_caret(
    tvmkd: Any, result: Path, expression: str, at: str
) -> None:
    done = tvmkd("gate", result, "--require", expression)
    assert done.code == 2
    shown, caret = done.err.splitlines()[-2:]
    assert shown.strip() == expression
    assert caret.strip() == "^"
    assert shown[caret.index("^") :].startswith(at)


def test_an_engine_that_was_never_asked_for(tvmkd: Any, result: Path) -> None:
    done = tvmkd("gate", result, "--require", "tensorrt.p50 < 1ms")
    assert done.code == 2
    assert "no engine 'tensorrt' in the comparison" in done.err


def test_no_requirement_is_wrong_usage(tvmkd: Any, result: Path) -> None:
    assert tvmkd("gate", result).code == 2


@pytest.mark.parametrize("content", [None, "{", '{"schema_version": 99}', "[]"])
def test_what_is_no_comparison_is_bad_input(
    tvmkd: Any, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    done = tvmkd("gate", path, "--require", "tvm.p50 < 1ms")
    assert done.code == 4
    assert done.line.startswith(f"{path}: ")
