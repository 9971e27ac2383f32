from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest
import samples
from toy_run import context

from tvmkd.base.errors import UsageError
from tvmkd.bench import gate as gates
from tvmkd.stages.gate import Gate

GOOD, BAD = "tvm.p50 < 1s", "tvm.p50 < 1ns"


def run(folder: Path, *required: str) -> dict[str, object]:
    made = context(folder, gate={"require": list(required)})
    samples.comparison(samples.engine("tvm", 1.0)).save(made.comparison)
    return Gate(made).run()


@pytest.mark.parametrize(
    ("required", "passed"),
    [([GOOD], True), ([BAD], False), ([GOOD, BAD], False), ([BAD, GOOD], False), ([], True)],
)
def test_a_run_passes_if_every_requirement_holds(
    tmp_path: Path, required: list[str], passed: bool
) -> None:
    found = run(tmp_path, *required)
    assert found["passed"] is passed
    checks = found["checks"]
    assert isinstance(checks, list)
    assert [(each["requirement"], each["holds"]) for each in checks] == [
        (text, text == GOOD) for text in required
    ]


def test_every_requirement_is_parsed_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Gate(context(tmp_path)).check() == []
    with pytest.raises(UsageError, match="<<"):
        Gate(context(tmp_path, gate={"require": [GOOD, "tvm.p50 <<"]})).check()
    fake = Mock()
    monkeypatch.setattr(gates, "parse", fake)
    assert Gate(context(tmp_path, gate={"require": [GOOD, BAD]})).check() == []
    assert [call.args for call in fake.call_args_list] == [(GOOD,), (BAD,)]


def test_the_comparison_and_the_requirements_are_inputs(tmp_path: Path) -> None:
    made = context(tmp_path, gate={"require": [GOOD]})
    assert Gate(made).inputs() == {"comparison": None, "require": [GOOD]}
    made.comparison.write_text("{}")
    assert Gate(made).inputs()["comparison"] == made.hash(made.comparison) is not None
