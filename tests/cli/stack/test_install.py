"""``tvmkd stack install``, with a fake Python 3.10 and a fake package index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fake_python
import pytest

from tvmkd.base import stack_registry
from tvmkd.runtime import interpreters


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return fake_python.where_it_installs(tmp_path, monkeypatch)


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


@pytest.mark.parametrize("argv", [[], ["--python", "/opt/python3.10"]])
def test_the_stack_s_own_installer_gets_the_interpreter(
    tvmkd: Any, monkeypatch: pytest.MonkeyPatch, argv: list[str]
) -> None:
    calls: list[Any] = []

    def install(python: str | None, *, say: Any) -> dict[str, Any]:
        calls.append(python)
        say("installing")
        return {"tvm": "0.16", "llvm": 15, "python": "/made/python"}

    def load(place: str) -> Any:
        assert place == stack_registry.get("relay").installer
        return install

    monkeypatch.setattr(stack_registry, "load", load)
    done = tvmkd("stack", "install", "relay", *argv)
    assert done.out.splitlines() == ["relay: TVM 0.16, LLVM 15", "  /made/python"]
    assert calls == [argv[1] if argv else None]
    assert "installing" in done.err
