from __future__ import annotations

import shutil
import subprocess
import sys
from typing import Any

import pytest

from tvmkd import host_checks
from tvmkd.base import machine
from tvmkd.base.errors import MissingError


def test_packages_are_found_with_their_versions() -> None:
    found = {check.name: check for check in host_checks._packages()}
    if "packages" in found:
        pytest.skip("tvmkd is not installed")
    assert found["apache-tvm"].status == "ok"
    assert found["apache-tvm"].finding == "0.27.0.post1"
    assert "tensorrt" not in found, "extras are not asked for"


def test_a_wrong_version_fails_with_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        host_checks.importlib.metadata, "requires", lambda _: ["numpy>=99", "gone>=1"]
    )
    gone, numpy = host_checks._packages()
    assert (gone.status, gone.finding, gone.fix) == (
        "fail",
        "is not installed",
        "pip install 'gone>=1'",
    )
    assert numpy.status == "fail"
    assert numpy.finding.endswith("wanted >=99")


@pytest.mark.parametrize(
    ("governor", "status"), [(None, "ok"), ("performance", "ok"), ("powersave", "warn")]
)
def test_governor(monkeypatch: pytest.MonkeyPatch, governor: str | None, status: str) -> None:
    monkeypatch.setattr(machine, "governor", lambda: governor)
    assert host_checks._governor().status == status


def test_little_memory_and_disk_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory_bytes", lambda: (8 * host_checks.GIB, host_checks.GIB))
    assert host_checks._memory() == host_checks.Check(
        "memory",
        "warn",
        "1.0 of 8.0 GiB available",
        "close other programs: tuning wants 4 GiB",
    )
    monkeypatch.setattr(machine, "memory_bytes", lambda: (8 * host_checks.GIB, 6 * host_checks.GIB))
    assert host_checks._memory().status == "ok"
    usage = type(shutil.disk_usage("."))(1, 1, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert host_checks._disk().status == "warn"


def test_without_gcc_zig_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert host_checks._compiler().status == "warn"


def test_a_broken_zig_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = subprocess.CompletedProcess([sys.executable], 1, "", "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: broken)
    assert host_checks._zig().status == "fail"


class Worker:
    """Stands in for the compiler's process."""

    answer: Any = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def available(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "status", "finding"),
    [
        ({"version": "0.27.0", "llvm": "19", "reason": None}, "ok", "TVM 0.27.0, LLVM 19"),
        ({"version": None, "reason": "no LLVM in this build"}, "fail", "no LLVM in this build"),
        (MissingError("no module named tvm"), "fail", "no module named tvm"),
    ],
)
def test_the_worker_is_asked(
    monkeypatch: pytest.MonkeyPatch, answer: Any, status: str, finding: str
) -> None:
    monkeypatch.setattr(Worker, "answer", answer)
    monkeypatch.setattr("tvmkd.stacks.client.StackClient", Worker)
    check = host_checks._tvm()
    assert (check.status, check.finding) == (status, finding)


def test_tvm_s_own_variables_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TRACKER_HOST", "10.0.0.7")
    monkeypatch.delenv("TVM_TRACKER_PORT", raising=False)
    assert "10.0.0.7:9190" in host_checks._tracker().finding
