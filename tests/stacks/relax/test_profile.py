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
from tvmkd.runtime import tvm_process
from tvmkd.stacks.relax import profile

SPECS = [{"name": "x", "shape": [1, 2], "dtype": "float32"}]


class Machine:
    """A virtual machine: three calls a run, whose times are 1, 2 and 4 s times the run's number.

    Attributes:
        plain, timed: runs without and with an instrument.
        clock: seconds; a run takes half a second besides its kernels.
    """

    KERNELS = (("conv", 1.0), ("relu", 2.0), ("conv", 4.0))

    def __init__(self, overhead: float = 0.5) -> None:
        self.clock, self.overhead = 0.0, overhead
        self.plain = self.timed = 0
        self.given: list[Any] = []
        self.instrument: Callable[..., int] | None = None

    def __getitem__(self, name: str) -> Callable[..., None]:
        assert name == "main"
        return self.run

    def set_instrument(self, instrument: Callable[..., int]) -> None:
        self.instrument = instrument

    def run(self, *arrays: np.ndarray) -> None:
        self.given.append(arrays)
        if self.instrument is None:
            self.plain += 1
        else:
            self.timed += 1
        number = self.timed if self.instrument else 1
        for symbol, seconds in self.KERNELS:
            if self.instrument is not None:
                assert self.instrument(None, symbol, True, None) == 0
            self.clock += seconds * number
            if self.instrument is not None:
                assert self.instrument(None, symbol, False, None, "argument") == 0
        self.clock += self.overhead


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    runtime = SimpleNamespace(tensor=lambda array: array, load_module=lambda path: path)

    def virtual_machine(library: str, device: str) -> Machine:
        assert (library, device) == ("model.so", "cpu")
        return made

    fake_tvm.install(
        monkeypatch,
        tvm={"cpu": lambda: "cpu", "runtime": runtime},
        tvm__relax={"VirtualMachine": virtual_machine},
    )
    monkeypatch.setattr(tvm_process, "without_torch", lambda: None)
    monkeypatch.setattr(regions, "install", lambda tvm: None)
    monkeypatch.setattr(profile, "time", SimpleNamespace(perf_counter=lambda: made.clock))
    return made


def timed(repeats: int = 3, inputs: Path | None = None) -> list[dict[str, Any]]:
    params = {
        "specs": SPECS,
        "inputs": None if inputs is None else str(inputs),
        "library": "model.so",
        "repeats": repeats,
    }
    return profile._profile(params, lambda *_: None)


def test_each_kernel_has_the_median_of_its_runs_all_its_calls_together(machine: Machine) -> None:
    rows = timed(3)
    # Of the runs 1, 2 and 3 the second is the median: 2 * (1 + 4) s, 2 * 2 s.
    found = {row["kernel"]: (row["us"] / 1e6, row["calls"], row["places"]) for row in rows}
    assert found == {
        "conv": (pytest.approx(10.0), 2, [0, 2]),
        "relu": (pytest.approx(4.0), 1, [1]),
        "(between kernels)": (0.0, 1, []),
    }
    assert [row["kernel"] for row in rows] == ["conv", "relu", "(between kernels)"]
    assert (machine.plain, machine.timed) == (profile.WARMUP + 3, 3)


def test_the_rest_of_a_run_without_the_timer_is_between_kernels(machine: Machine) -> None:
    rows = timed(1)
    found = {row["kernel"]: (row["us"] / 1e6, row["share"]) for row in rows}
    assert found == {
        "conv": (pytest.approx(5.0), pytest.approx(5 / 7.5)),
        "relu": (pytest.approx(2.0), pytest.approx(2 / 7.5)),
        "(between kernels)": (pytest.approx(0.5), pytest.approx(0.5 / 7.5)),
    }
    machine.overhead, machine.instrument, machine.timed = -1.0, None, 0  # a timer that costs
    assert {row["kernel"]: row["us"] for row in timed(1)}["(between kernels)"] == 0.0


def test_real_inputs_are_run_where_there_are_some(machine: Machine, tmp_path: Path) -> None:
    real = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    np.savez(tmp_path / "real.npz", x=real)
    timed(1, tmp_path / "real.npz")
    np.testing.assert_array_equal(machine.given[0][0], real[:1])
    machine.instrument = None
    timed(1)
    random = machine.given[-1][0]
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
        inputs=[SimpleNamespace(model_dump=lambda: SPECS[0])], coverage={"kernels": facts}
    )
    monkeypatch.setattr(
        artifact, "read_with_library", lambda folder: (manifest, folder / artifact.LIBRARY)
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
        "library": f"out/{artifact.LIBRARY}",
        "specs": SPECS,
        "inputs": None,
        "repeats": 5,
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
