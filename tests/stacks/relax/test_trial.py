"""The kernel of ``tvmkd board doctor``, compiled and run; the board is this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from in_tvm import INSIDE, inside

from tvmkd.base.errors import MissingError

if INSIDE:
    import subprocess
    from types import SimpleNamespace

    import tvm

    from tvmkd import targets
    from tvmkd.boards import connect
    from tvmkd.runtime import nvrtc
    from tvmkd.stacks.relax import cuda, metaschedule, trial

TRACKER = {"host": "10.0.0.1", "port": 9191, "key": "nano"}


class Board:
    """A board whose session has no wire, and the calls.

    Attributes:
        gpu: whether it finds a device.
        module: what it loads in place of the library.
    """

    def __init__(self, patch: pytest.MonkeyPatch, gpu: bool = True, module: Any = None) -> None:
        self.local = tvm.rpc.LocalSession()
        self.gpu, self.module = gpu, module
        self.calls: list[Any] = []
        patch.setattr(connect, "request", self.request)
        patch.setattr(tvm.rpc, "connect", self.connect)

    def request(self, host: str, port: int, key: str, timeout: float) -> tuple[str, int, str]:
        self.calls.append((host, port, key))
        return "10.0.0.7", 9090, f"{key}:matched"

    def connect(self, host: str, port: int, key: str, session_timeout: float) -> Board:
        self.calls.append((host, port, key))
        return self

    def upload(self, path: str, target: str) -> None:
        if self.module is None:
            self.local.upload(path, target=target)

    def load_module(self, name: str) -> Any:
        return self.module or self.local.load_module(name)

    def device(self, kind: str, number: int) -> Any:
        return self.local.device("cpu", number) if self.gpu else SimpleNamespace(exist=False)

    def get_function(self, name: str) -> Any:
        return self.local.get_function(name)


@inside("relax")
def test_a_right_product_its_round_trips_and_its_times() -> None:
    with pytest.MonkeyPatch.context() as patch:
        board = Board(patch)
        params = {"target": targets.load("host").to_dict(), "tracker": TRACKER}
        found = trial._trial(params, lambda *_: None)
    assert board.calls == [("10.0.0.1", 9191, "nano"), ("10.0.0.7", 9090, "nano:matched")]
    assert found["board"] == "10.0.0.7:9090"
    assert 0 < found["error"] < 1e-5
    assert (len(found["round_trips_ms"]), len(found["seconds"])) == (50, 30)
    assert min(found["round_trips_ms"]) > 0
    assert 0 < min(found["seconds"]) < 1


class Doubled:
    """A kernel that computes twice the product."""

    def __getitem__(self, name: str) -> Any:
        return lambda a, b, c: c.copyfrom(2 * (a.numpy() @ b.numpy()))

    def time_evaluator(self, name: str, device: Any, number: int, repeat: int) -> Any:
        return lambda *_: SimpleNamespace(results=[1e-5] * repeat)


def without_compiling(patch: pytest.MonkeyPatch) -> list[Any]:
    """Compiles and links nothing; returns the steps."""
    steps: list[Any] = []

    def compile_object(source: str, setup: str, path: Path) -> None:
        steps.append(("compile", tvm.ir.load_json(setup).kind.name))
        path.touch()
        path.with_suffix(".dev.o").touch()

    patch.setattr(metaschedule, "compile_object", compile_object)
    patch.setattr(subprocess, "run", lambda command, **_: steps.append(command))
    patch.setattr(nvrtc, "install", lambda gpu: steps.append("nvrtc"))
    patch.setattr(cuda, "with_default_schedules", lambda mod, target: steps.append("gpu") or mod)
    return steps


@inside("relax")
def test_the_error_is_a_share_of_the_range() -> None:
    with pytest.MonkeyPatch.context() as patch:
        steps = without_compiling(patch)
        Board(patch, module=Doubled())
        spec = targets.load("jetson-nano").to_dict()
        found = trial._trial({"target": spec, "tracker": TRACKER}, lambda *_: None)
    assert found["error"] == pytest.approx(1.0, rel=1e-3)
    (name, kind), command = steps
    assert (name, kind) == ("compile", "llvm")
    assert [Path(word).name for word in command[-3:]] == ["kernel.so", "kernel.dev.o", "kernel.o"]


@inside("relax")
def test_a_kernel_for_a_gpu_has_threads_and_a_board_without_a_gpu_is_said() -> None:
    with pytest.MonkeyPatch.context() as patch:
        steps = without_compiling(patch)
        Board(patch, gpu=False)
        patch.setattr(Board, "load_module", lambda self, name: Doubled())
        patch.setattr(Board, "upload", lambda self, path, target: None)
        params = {"target": targets.load("jetson-nano-gpu").to_dict(), "tracker": TRACKER}
        with pytest.raises(MissingError, match=r"the board finds no GPU: see docs/how-to/cuda\.md"):
            trial._trial(params, lambda *_: None)
    assert steps[:3] == ["nvrtc", "gpu", ("compile", "cuda")]
