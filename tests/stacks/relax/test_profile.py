"""Times of kernels inside a run, with fakes of TVM and of the clock, and what is known of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_tvm
import numpy as np
import pytest

from tvmkd import artifact
from tvmkd.base.errors import InputError
from tvmkd.byoc import regions
from tvmkd.runtime import call_timer, tvm_process
from tvmkd.stacks.relax import profile

SPECS = [{"name": "x", "shape": [1, 2], "dtype": "float32"}]


class Machine:
    """A virtual machine: three calls a run, two of them of kernels; the caller adds 100 us.

    Attributes:
        clock: ns, of all machines.
        instrument: what is called around each call; the compiled one costs nothing.
    """

    CALLS = (("vm.builtin.alloc_storage", 50), ("conv", 300), ("relu", 40))
    clock = 0

    def __init__(self, library: str, device: str) -> None:
        assert (library, device) == ("model.so", "cpu")
        self.instrument: Callable[..., int] | None = None
        self.given: list[Any] = []

    def __getitem__(self, name: str) -> Callable[..., None]:
        assert name == "main"
        return self.run

    def set_instrument(self, instrument: Callable[..., int]) -> None:
        self.instrument = instrument

    def run(self, *arrays: np.ndarray) -> None:
        self.given.append(arrays)
        for symbol, us in self.CALLS:
            if self.instrument is not None:
                assert self.instrument(None, symbol, True, None) == 0
            Machine.clock += us * 1000
            if self.instrument is not None:
                assert self.instrument(None, symbol, False, None, "argument") == 0
        Machine.clock += 100_000


class Timer:
    """Stands in for the compiled timer."""

    def __init__(self, _tvm: Any) -> None:
        self.noted: list[int] = []

    def instrument(self, *_: Any) -> int:
        self.noted.append(Machine.clock)
        return 0

    def start(self, count: int) -> None:
        assert count == 2 * len(Machine.CALLS)
        self.noted.clear()

    def ticks(self) -> np.ndarray:
        return np.array(self.noted)


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> list[Machine]:
    made: list[Machine] = []

    def virtual_machine(library: str, device: str) -> Machine:
        made.append(Machine(library, device))
        return made[-1]

    fake_tvm.install(
        monkeypatch,
        tvm={"cpu": lambda: "cpu"},
        tvm__runtime={"tensor": lambda array: array, "load_module": lambda path: path},
        tvm__runtime__vm={"VirtualMachine": virtual_machine},
    )
    monkeypatch.setattr(tvm_process, "without_torch", lambda: None)
    monkeypatch.setattr(tvm_process, "load_extra", lambda tvm: None)
    monkeypatch.setattr(regions, "install", lambda ffi, tensor: None)
    monkeypatch.setattr(call_timer, "CallTimer", Timer)
    monkeypatch.setattr(profile, "clock", lambda: Machine.clock)
    return made


def timed(repeats: int = 3, inputs: Path | None = None) -> list[dict[str, Any]]:
    params = {
        "specs": SPECS,
        "inputs": None if inputs is None else str(inputs),
        "library": "model.so",
        "repeats": repeats,
        "onnx": None,
    }
    return profile._profile(params, lambda *_: None)


def test_kernels_and_the_rest_add_up_to_a_run_without_the_timer(machines: list[Machine]) -> None:
    found = {row["kernel"]: row["us"] for row in timed(3)}
    assert found == {"conv": 300.0, "(between kernels)": 150.0, "relu": 40.0}
    plain, with_timer = (len(machine.given) for machine in machines)
    assert (plain, with_timer) == (profile.WARMUP + 3, profile.WARMUP + 4)  # one to learn the calls


def test_real_inputs_are_run_where_there_are_some(machines: list[Machine], tmp_path: Path) -> None:
    real = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    np.savez(tmp_path / "real.npz", x=real)
    timed(1, tmp_path / "real.npz")
    np.testing.assert_array_equal(machines[0].given[0][0], real[:1])
    timed(1)
    random = machines[2].given[-1][0]
    assert random.shape == (1, 2)
    assert not np.array_equal(random, real[:1])


class Child:
    """The process that times; its rows are those of two kernels."""

    def __init__(self, argv: list[str]) -> None:
        assert argv == [sys.executable, "-m", "tvmkd.stacks.relax.profile"]
        self.calls: list[Any] = []
        CHILDREN.append(self)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.calls.append("closed")

    def call(self, method: str, params: dict[str, Any], timeout: float) -> list[dict[str, Any]]:
        self.calls.append((method, params))
        return [
            {"kernel": "conv", "calls": 2, "us": 10.0, "share": 0.8, "places": [0, 2]},
            {"kernel": "(between kernels)", "calls": 1, "us": 2.5, "share": 0.2, "places": []},
        ]


CHILDREN: list[Child] = []


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The artifacts whose machine was checked; one kernel's facts are in the manifest."""
    CHILDREN.clear()
    checked: list[Any] = []
    facts = {"conv": {"key": "0x1", "kind": "conv2d", "flop": 3e4}}
    manifest = SimpleNamespace(
        runtime="tvm",
        inputs=[SimpleNamespace(model_dump=lambda: SPECS[0])],
        coverage={"kernels": facts},
    )
    monkeypatch.setattr(
        artifact, "read_with_library", lambda folder: (manifest, folder / "model.so")
    )
    monkeypatch.setattr(
        artifact, "check_machine", lambda known, folder: checked.append((known is manifest, folder))
    )
    monkeypatch.setattr(profile.wire, "Child", Child)
    return checked


def test_a_kernel_of_the_artifact_comes_with_what_is_known_of_it(saved: list[Any]) -> None:
    conv, rest = profile.profile(Path("out"), None, 5)
    # 2 calls of 30,000 operations in 10 us.
    assert (conv["task_key"], conv["kind"], conv["flop"]) == ("0x1", "conv2d", 3e4)
    assert conv["gflops"] == pytest.approx(6.0)
    assert set(rest) == {"kernel", "calls", "us", "share", "places"}
    ((_, params), closed) = CHILDREN[0].calls
    assert params == {
        "library": "out/model.so",
        "specs": SPECS,
        "inputs": None,
        "repeats": 5,
        "onnx": None,
    }
    assert closed == "closed"
    assert saved == [(True, Path("out"))]


def test_there_is_at_least_one_run(saved: list[Any]) -> None:
    profile.profile(Path("out"), Path("real.npz"), 0)
    (_, params), _ = CHILDREN[0].calls
    assert (params["repeats"], params["inputs"]) == (1, "real.npz")


def test_an_artifact_of_another_machine_starts_no_process(
    saved: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(*_: Any) -> None:
        raise InputError("out: built for aarch64")

    monkeypatch.setattr(artifact, "check_machine", check)
    with pytest.raises(InputError, match="built for aarch64"):
        profile.profile(Path("out"), None, 5)
    assert CHILDREN == []
