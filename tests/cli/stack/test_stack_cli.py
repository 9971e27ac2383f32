"""``tvmkd stack``, by its own group."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fake_python
import pytest

from tvmkd.base import machine
from tvmkd.runtime import interpreters
from tvmkd.stacks import survey


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "architecture", lambda: "x86_64")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TVMKD_RELAY_PYTHON", raising=False)
    return fake_python.python_310(tmp_path / "fake")


def test_install_and_its_record_as_json(tvmkd: Any, python: Path) -> None:
    done = tvmkd("stack", "install", "relay", "--python", python)
    assert done.code == 0
    assert done.out.splitlines() == [
        "relay: TVM 0.16.dev0, LLVM 15",
        f"  {interpreters.home()}/relay/bin/python",
    ]
    assert "installing TVM (hhb-tvm==3.2.3)" in done.err
    done = tvmkd("stack", "install", "relay", "--json")
    assert json.loads(done.out) == json.loads(interpreters.record_path("relay").read_text())
    assert "already there and working" in done.err


def test_what_goes_wrong_is_one_line(tvmkd: Any, python: Path) -> None:
    done = tvmkd("stack", "install", "relaay")
    assert (done.code, 'did you mean "relay"?' in done.line) == (2, True)
    done = tvmkd("stack", "install", "relax")
    assert (done.code, "comes with tvmkd itself" in done.line) == (2, True)
    done = tvmkd("stack", "install", "relay", "--python", "/no/such")
    assert (done.code, "/no/such: is no CPython 3.10" in done.line) == (4, True)
    (python.parent / "fail-pip").touch()
    done = tvmkd("stack", "install", "relay", "--python", python)
    assert (done.code, "no such host" in done.line) == (5, True)


def row(**facts: Any) -> dict[str, Any]:
    keys = ("name", "python", "source", "tvm", "llvm", "cuda", "tensorrt", "reason", "fix", "note")
    return {**dict.fromkeys(keys), **facts}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def rows(*rows: Mapping[str, Any]) -> None:
        monkeypatch.setattr(survey, "survey", lambda given=None: list(rows))

    return rows


def test_a_list_for_people(tvmkd: Any, found: Callable[..., None]) -> None:
    here = {"python": "/p", "source": "this environment", "tvm": "0.27.0", "llvm": 22}
    found(
        row(name="relax", cuda=True, tensorrt=False, **here),
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
    found(row(name="relay", cuda=False, tensorrt=False, note="untried", **here))
    assert tvmkd("stack", "list").out.splitlines() == [
        "relay: TVM 0.27.0, LLVM 22, no GPU code",
        "  /p (this environment)",
        "  note: untried",
    ]


def test_a_list_for_scripts(tvmkd: Any, found: Callable[..., None]) -> None:
    found(row(name="relay", reason="has no TVM"))
    done = tvmkd("stack", "list", "--json")
    assert done.code == 0
    assert json.loads(done.out) == {"stacks": [row(name="relay", reason="has no TVM")]}


def test_an_interpreter_that_is_given(tvmkd: Any, python: Path, tmp_path: Path) -> None:
    done = tvmkd("stack", "list", "--stack-python", "/no/such")
    assert (done.code, "/no/such" in done.line) == (4, True)
