"""How often a candidate is run, against a board that is made up."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvmkd.base.errors import MissingError
from tvmkd.boards import board_clock
from tvmkd.tuning import measure_worker
from tvmkd.tuning.measure_worker import Measurer


@pytest.fixture(autouse=True, scope="module")
def _calls_take_long() -> Iterator[None]:
    """The kernels here take no time, and their times would be impossible."""
    clock = SimpleNamespace(monotonic=itertools.count(0.0, 1e6).__next__)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(board_clock, "time", clock)
        yield


class Kernel:
    """Stands in for an uploaded module: every run takes ``seconds``, and is counted."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.runs = 0

    def time_evaluator(self, _name: str, _device: Any, number: int, repeat: int) -> Any:
        def timer(*_buffers: Any) -> Any:
            self.runs += 1 + number * repeat
            return SimpleNamespace(results=[self.seconds] * repeat)

        return timer


def times(kernel: Kernel, best: float | None = None) -> list[float]:
    return Measurer._repeats(kernel, None, [], best, 5.0)


def test_a_hopeless_candidate_is_run_once() -> None:
    kernel = Kernel(6e-3)
    assert times(kernel, best=1e-3) == [6e-3]
    assert kernel.runs == 2  # upstream's timer warms up once


def test_a_clearly_slower_candidate_gets_the_fewest_repeats() -> None:
    assert len(times(Kernel(2e-3), best=1e-3)) == measure_worker.FIRST_REPEATS


@given(st.floats(1e-7, 1.0))
def test_a_good_candidate_gets_repeats_within_a_budget(seconds: float) -> None:
    kernel = Kernel(seconds)
    found = times(kernel)
    assert measure_worker.FIRST_REPEATS <= len(found) <= measure_worker.MOST_REPEATS
    spent = kernel.runs * seconds
    assert spent <= measure_worker.BUDGET_SECONDS * 1.5 + 6 * seconds
    if seconds < 1e-3:
        assert spent > measure_worker.BUDGET_SECONDS / 2


class Session:
    """A session whose calls fail when told to."""

    def __init__(self, alive: Callable[[], bool]) -> None:
        self._alive = alive

    def upload(self, _path: str, target: str) -> None:
        raise RuntimeError(f"upload of {target} failed")

    def get_function(self, name: str) -> Any:
        if not self._alive():
            raise RuntimeError("connection reset")
        return lambda: len(name)


@pytest.mark.parametrize(("alive", "kind"), [(True, "run_error"), (False, "session_lost")])
def test_a_lost_session_is_told_from_a_bad_candidate(alive: bool, kind: str) -> None:
    measurer = Measurer()
    measurer._params = {"session_seconds": 1e9}
    measurer._session = Session(lambda: alive)
    params = {"path": os.devnull, "limit": 1.0}
    answer = measurer.measure(params, lambda *_: None)
    assert answer["error_kind"] == kind
    assert "failed" in answer["error"]
    assert (measurer._session is None) == (not alive)


def test_a_session_near_its_end_is_not_used() -> None:
    measurer = Measurer()
    measurer._params = {"session_seconds": 10.0}
    measurer._session = Session(lambda: True)
    measurer._opened = random.random() - 1e6  # long ago
    answer = measurer.measure({"path": os.devnull, "limit": 1.0}, lambda *_: None)
    assert answer["error_kind"] == "session_due"


def test_the_canary_is_loaded_once_a_session_and_its_least_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []

    class Board:
        def upload(self, path: str, target: str) -> None:
            events.append(f"{path} as {target}")

        def load_module(self, target: str) -> Any:
            def time_evaluator(_name: str, _device: Any, number: int, repeat: int) -> Any:
                return lambda *buffers: SimpleNamespace(results=[9e-6, 8e-6, 9e-6][:repeat])

            return SimpleNamespace(time_evaluator=time_evaluator)

        def get_function(self, name: str) -> Any:
            return lambda buffer: events.append(f"{name} {buffer}")

    monkeypatch.setattr(measure_worker, "new_tensor", lambda tvm, spec, device: spec)
    measurer = Measurer()
    measurer._session = Board()
    params = {"path": "c.so", "args": [["float32", [4]], ["float32", [4]]]}
    canary = measurer._watching(params, None)
    assert canary() == canary() == 8e-6
    assert measurer._watching(params, None) is canary
    assert events == ["c.so as canary.so", *[f"{measure_worker.FILL} ((4,), 'float32')"] * 2]
    measurer._drop()
    assert measurer._canary is None


def raising(error: str) -> Any:
    def call(_bytes: int) -> str:
        raise RuntimeError(error)

    return call


@pytest.mark.parametrize(
    ("lacks", "said"),
    [
        (lambda wanted: "" if wanted == 64 << 20 else "?", None),
        (None, None),
        (lambda _: "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY", r"64 MiB .*\(cuMemAlloc: CUDA_ERR"),
        (raising("connection reset"), r"64 MiB for kernels \(connection reset\): end what"),
    ],
)
def test_a_gpu_without_memory_is_the_boards_fault(lacks: Any, said: str | None) -> None:
    """As a crash of each candidate, it would be theirs."""

    def get_function(name: str) -> Any:
        if name != measure_worker.LACKS:
            return lambda: "{}" if "board" in name else 4
        if lacks is None:
            raise AttributeError("another server")
        return lacks

    measurer = Measurer()
    measurer._session = SimpleNamespace(get_function=get_function)
    if said is not None:
        with pytest.raises(MissingError, match=said):
            measurer.facts({"device": "cuda"}, lambda *_: None)
    else:
        assert measurer.facts({"device": "cuda"}, lambda *_: None) == {"threads": 4}
    assert measurer.facts({"device": "cpu"}, lambda *_: None) == {"threads": 4}
