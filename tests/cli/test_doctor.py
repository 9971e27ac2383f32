from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tvmkd import host_checks
from tvmkd.base.checks import Check


def some(*checks: Check) -> Any:
    def run() -> Iterator[Check]:
        yield from checks

    return run


def test_this_machine(tvmkd: Any) -> None:
    done = tvmkd("doctor", "--json")
    found = json.loads(done.out)
    names = {check["name"] for check in found["checks"]}
    assert {"python", "processor", "cores", "memory", "linker", "tvm worker"} <= names
    for check in found["checks"]:
        assert check["finding"]
        assert check["status"] == "ok" or check["fix"], "what is wrong comes with its remedy"
    assert done.code == (0 if found["ok"] else 5)


def test_a_failure_is_5_and_comes_with_its_remedy(
    tvmkd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Check("numpy", "fail", "is not installed", "pip install numpy")
    monkeypatch.setattr(host_checks, "checks", some(Check("python", "ok", "3.11"), bad))
    done = tvmkd("doctor")
    assert done.code == 5
    assert done.out.splitlines()[0].split() == ["ok", "python", "3.11"]
    assert done.out.splitlines()[1].startswith("FAIL  numpy")
    assert done.out.splitlines()[2].strip() == "mend it with: pip install numpy"


def test_a_warning_is_no_failure(tvmkd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_checks, "checks", some(Check("governor", "warn", "powersave", "x")))
    assert tvmkd("doctor").code == 0
