"""``tvmkd stack list``, with a fake of the survey."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tvmkd.base.errors import InputError
from tvmkd.stacks import survey


def row(**facts: Any) -> dict[str, Any]:
    keys = ("name", "python", "source", "tvm", "llvm", "cuda", "tensorrt", "reason", "fix", "note")
    return {**dict.fromkeys(keys), **facts}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str | None]]:
    """Sets the rows of the survey; returns the interpreters that it is asked to look at."""

    def rows(*rows: Mapping[str, Any]) -> list[str | None]:
        asked: list[str | None] = []

        def survey_(given: str | None = None) -> list[Mapping[str, Any]]:
            asked.append(given)
            return list(rows)

        monkeypatch.setattr(survey, "survey", survey_)
        return asked

    return rows


HERE = {"python": "/p", "source": "this environment", "tvm": "0.27.0", "llvm": 22}


def test_a_list_for_people(tvmkd: Any, found: Callable[..., Any]) -> None:
    asked = found(
        row(name="relax", cuda=True, tensorrt=False, **HERE),
        row(name="relay", reason="is not installed", fix="tvmkd stack install relay"),
    )
    done = tvmkd("stack", "list")
    assert done.code == 0
    assert done.out.splitlines() == [
        "relax: TVM 0.27.0, LLVM 22, CUDA code",
        "  /p (this environment)",
        "relay: cannot be used: is not installed",
        "  mend it with: tvmkd stack install relay",
    ]
    assert asked == [None]
    found(row(name="relay", cuda=False, tensorrt=False, note="untried", **HERE))
    assert tvmkd("stack", "list").out.splitlines() == [
        "relay: TVM 0.27.0, LLVM 22, no GPU code",
        "  /p (this environment)",
        "  note: untried",
    ]


def test_both_gpu_codes_are_named(tvmkd: Any, found: Callable[..., Any]) -> None:
    found(row(name="relay", cuda=True, tensorrt=True, **HERE))
    assert "LLVM 22, CUDA and TensorRT code" in tvmkd("stack", "list").out


def test_a_list_for_scripts(tvmkd: Any, found: Callable[..., Any]) -> None:
    asked = found(row(name="relay", reason="has no TVM"))
    done = tvmkd("stack", "list", "--stack-python", "/opt/python", "--json")
    assert done.code == 0
    assert json.loads(done.out) == {"stacks": [row(name="relay", reason="has no TVM")]}
    assert asked == ["/opt/python"]


def test_an_interpreter_that_is_not_there_is_one_line(
    tvmkd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(given: str) -> None:
        raise InputError(f"{given}: is no program")

    monkeypatch.setattr(survey, "survey", refuse)
    done = tvmkd("stack", "list", "--stack-python", "/no/such")
    assert (done.code, done.line) == (4, "/no/such: is no program")
