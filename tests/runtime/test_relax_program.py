"""What the virtual machine is called with, and whose memory the outputs are in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_tvm
import numpy as np
import pytest
from fake_tvm import Tensor

from tvmkd.base.manifest import TensorSpec
from tvmkd.byoc import regions
from tvmkd.runtime import relax_runtime
from tvmkd.runtime.relax_program import RelaxProgram

X, Y = np.ones((1, 4), np.float32), np.full((1, 4), 3, np.float32)


class Machine:
    """The fake's virtual machine: it keeps what it was made and called with."""

    def __init__(self, library: Path) -> None:
        self.library = library
        self.calls: list[tuple[Tensor, ...]] = []

    def __getitem__(self, name: str) -> Callable[..., Any]:
        assert name == "main"
        return self._main

    def _main(self, *tensors: Tensor) -> Any:
        self.calls.append(tensors)
        return MODEL[0](*tensors)


MODEL: list[Callable[..., Any]] = []


@pytest.fixture(autouse=True)
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Machine]]:
    """The virtual machines that were made."""
    found: list[Machine] = []

    def machine(library: Path) -> Machine:
        found.append(Machine(library))
        return found[-1]

    ffi = SimpleNamespace(from_dlpack=fake_tvm.same, Tensor=Tensor)
    installed: list[Any] = []
    monkeypatch.setattr(relax_runtime, "load", lambda: ffi)
    monkeypatch.setattr(relax_runtime, "machine", machine)
    monkeypatch.setattr(relax_runtime, "tensor", fake_tvm.copied)
    monkeypatch.setattr(regions, "install", lambda *args: installed.append(args))
    # The default model adds.
    MODEL[:] = [lambda first, second: Tensor(first.array + second.array)]
    yield found
    assert installed == [(ffi, fake_tvm.copied)] * len(found)


def program(*shapes: tuple[int | str, ...]) -> RelaxProgram:
    specs = [
        TensorSpec(name=f"x{number}", shape=list(shape), dtype="float32")
        for number, shape in enumerate(shapes or ((1, 4), (1, 4)))
    ]
    return RelaxProgram(Path("out/model.so"), specs)


def test_the_library_is_opened_once(machines: list[Machine]) -> None:
    program()
    assert [machine.library for machine in machines] == [Path("out/model.so")]


@pytest.mark.parametrize("fit", [True, False])
def test_arrays_reach_main_in_order(machines: list[Machine], fit: bool) -> None:
    made = program()
    (output,) = made.run([X, Y], fit)
    np.testing.assert_array_equal(output, X + Y)
    MODEL[:] = [lambda first, second: [Tensor(first.array - second.array)]]
    (output,) = made.run([X, Y], fit)
    np.testing.assert_array_equal(output, X - Y)
    assert len(machines[0].calls) == 2


def test_only_arrays_that_fit_use_the_buffers(machines: list[Machine]) -> None:
    made = program()
    assert made.takes([X, Y])
    assert not made.takes([X, Y[0]])
    for fit in (True, True, False, False):
        made.run([X, Y], fit)
    first, second, third, fourth = [
        [tensor.array.ctypes.data for tensor in call] for call in machines[0].calls
    ]
    assert first == second
    assert not set(first) & set(third)
    assert third != fourth


def test_a_free_dimension_is_run_without_buffers() -> None:
    made = program(("batch", 4), ("batch", 4))
    assert not made.takes([X, Y])
    (output,) = made.run([np.vstack([X, X]), np.vstack([Y, Y])])
    assert output.tolist() == [[4.0] * 4] * 2


@pytest.mark.parametrize("kind", [list, tuple])
def test_several_outputs_stay_in_order(kind: Any) -> None:
    MODEL[:] = [lambda first, second: kind([Tensor(-first.array), Tensor(-second.array)])]
    outputs = program().run([X, Y])
    assert [output[0, 0] for output in outputs] == [-1, -3]


@pytest.mark.parametrize("index", [0, 1])
def test_an_output_that_is_an_input_survives_the_next_run(index: int) -> None:
    MODEL[:] = [lambda *tensors: [tensors[index], Tensor(tensors[0].array * 2)]]
    made = program()
    passed, doubled = made.run([X, Y], True)
    made.run([X * 9, Y * 9], True)
    np.testing.assert_array_equal(passed, (X, Y)[index])
    np.testing.assert_array_equal(doubled, X * 2)
