from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from tvmkd.cli import _suite

GIVEN: dict[str, Any] = {
    **dict.fromkeys([*_suite.ALONE, *_suite.ONLY]),
    "output": Path("out"),
    "trials": 0,
}


def test_what_goes_together() -> None:
    _suite.check(GIVEN, "edge10", None)
    _suite.check({**GIVEN, "trials": 3, "minutes": 2.0}, "edge10", None)
    _suite.check(GIVEN, None, Path("m.onnx"))


@pytest.mark.parametrize("name", _suite.ALONE)
def test_options_of_one_model(name: str) -> None:
    with pytest.raises(click.UsageError, match=f"{_suite.ALONE[name]} does not go with --suite"):
        _suite.check({**GIVEN, name: ("x",)}, "edge10", None)


@pytest.mark.parametrize("name", _suite.ONLY)
def test_options_of_a_suite(name: str) -> None:
    with pytest.raises(click.UsageError, match=f"{_suite.ONLY[name]} goes with --suite"):
        _suite.check({**GIVEN, name: ("x",)}, None, Path("m.onnx"))
