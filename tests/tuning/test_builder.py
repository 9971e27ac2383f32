"""The warm builder and its forkserver: every way that a build can end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tvmkd.base.errors import MissingError
from tvmkd.base.toolchain import linker_for
from tvmkd.tuning.builder import WarmBuilder

# TVM's JSON of a target and of a module, made in a process of its own.
MAKE = """
import json, sys
from tvmkd.runtime.tvm_process import import_compiler
tvm = import_compiler()
sys.path.insert(0, sys.argv[1])
import tiny_kernels
target = tvm.target.Target(tiny_kernels.TARGET["tvm"])
print(json.dumps([tvm.ir.save_json(target), tvm.ir.save_json(tiny_kernels.matmul(16))]))
"""


@pytest.fixture(scope="module")
def made() -> list[str]:
    import json

    tests = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", MAKE, str(tests)], capture_output=True, text=True, check=True
    )
    result: list[str] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def builder(made: list[str]) -> Iterator[WarmBuilder]:
    with WarmBuilder(made[0], workers=2, timeout=20) as running:
        yield running


def with_linker(builder: WarmBuilder, linker: list[str], monkeypatch: Any) -> WarmBuilder:
    monkeypatch.setattr(builder, "_linker", linker)
    return builder


def test_good_and_bad_builds_side_by_side_in_order(builder: WarmBuilder, made: list[str]) -> None:
    seen: list[int] = []
    results = builder.build([made[1], "nonsense", made[1]], lambda index, _: seen.append(index))
    assert [result.error_kind for result in results] == [None, "build_error", None]
    assert sorted(seen) == [0, 1, 2]
    assert results[1].error
    paths = [result.path for result in (results[0], results[2])]
    assert len(set(paths)) == 2
    for path in paths:
        assert path is not None
        assert path.read_bytes()[:4] == b"\x7fELF"
    assert not list(builder.folder.glob("*.o")) + list(builder.folder.glob("*.log"))


def test_the_forkserver_has_one_thread_and_no_torch(builder: WarmBuilder) -> None:
    builder.warm_up()
    assert len(os.listdir(f"/proc/{builder.pid}/task")) == 1
    assert "libtorch" not in Path(f"/proc/{builder.pid}/maps").read_text()


def test_a_build_that_hangs_is_killed_with_what_it_started(
    builder: WarmBuilder, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_linker(builder, ["sh", "-c", "sleep 321; true"], monkeypatch)
    monkeypatch.setattr(builder, "_timeout", 1.0)
    (result,) = builder.build(made[1:])
    assert result.error_kind == "build_timeout"
    assert result.path is None
    assert (
        "sleep 321"
        not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    )


def test_a_build_that_crashes_takes_nothing_along(
    builder: WarmBuilder, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        with_linker(builder, ["sh", "-c", "kill -SEGV $$"], patch)
        (result,) = builder.build(made[1:])
    assert result.error_kind == "build_crash"
    assert "SIGSEGV" in str(result.error)
    assert builder.build(made[1:])[0].error_kind is None


def test_a_linker_that_fails_is_a_build_error_with_its_words(
    builder: WarmBuilder, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_linker(builder, ["sh", "-c", "echo no such library >&2; exit 1"], monkeypatch)
    (result,) = builder.build(made[1:])
    assert (result.error_kind, result.error) == ("build_error", "no such library")


def test_builds_after_a_failure_get_fresh_workers(builder: WarmBuilder, made: list[str]) -> None:
    results = builder.build(["nonsense", made[1]] * 5)
    assert [result.error_kind for result in results] == ["build_error", None] * 5


def test_a_killed_forkserver_is_started_again(builder: WarmBuilder, made: list[str]) -> None:
    builder.warm_up()
    assert builder.pid is not None
    os.kill(builder.pid, signal.SIGKILL)
    assert builder.build(made[1:])[0].error_kind is None


def test_closing_leaves_no_folder(made: list[str]) -> None:
    with WarmBuilder(made[0]) as builder:
        assert builder.folder.is_dir()
    assert not builder.folder.exists()


def test_the_linker_goes_with_the_toolchain(monkeypatch: pytest.MonkeyPatch) -> None:
    assert linker_for(None)[1:] == ["-shared"]
    cross = linker_for({"triple": "aarch64-linux-gnu", "glibc": "2.27"})
    assert cross[-2:] == ["ld.lld", "-shared"]
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingError, match="pip install ziglang"):
        linker_for({"triple": "aarch64-linux-gnu"})
