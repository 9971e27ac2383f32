"""What the two executors are called with, and whose memory the outputs are in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_tvm
import numpy as np
import pytest
from fake_tvm import Tensor

from tvmkd.base.manifest import TensorSpec
from tvmkd.runtime import relay_program as programs
from tvmkd.runtime.program import Program
from tvmkd.runtime.relay_program import RelayGraph, RelayMachine, relay_program

X, Y = np.ones((1, 4), np.float32), np.full((1, 4), 3, np.float32)


class Graph:
    """The fake's graph executor: ``x0 + x1`` and ``x0 - x1``, always in the same memory."""

    def __init__(self, made: Any) -> None:
        self.made = made
        self.inputs: dict[str, Tensor] = {}
        self.own = {
            name: Tensor(np.zeros((1, 4), np.float32), dlpack=DLPACK["works"])
            for name in ("x0", "x1")
        }
        self.bound: dict[str, Tensor] = {}
        self.outputs = [
            Tensor(np.zeros((1, 4), np.float32), dlpack=DLPACK["works"]) for _ in range(2)
        ]
        self.outputs += [Tensor(self.own[name].array.reshape(2, 2)) for name in VIEWED]
        self.module = {"run": self.run}

    def set_input_zero_copy(self, name: str, tensor: Tensor) -> None:
        self.bound[name] = tensor

    def set_input(self, name: str, tensor: Tensor) -> None:
        self.inputs[name] = tensor
        self.own[name].array[...] = tensor.array

    def get_input(self, name: str) -> Tensor:
        return self.own[name]

    def get_num_outputs(self) -> int:
        return len(self.outputs)

    def get_output(self, index: int) -> Tensor:
        return self.outputs[index]

    def run(self) -> None:
        first, second = ({**self.bound, **self.inputs}[name].array for name in ("x0", "x1"))
        self.outputs[0].array[...] = first + second
        self.outputs[1].array[...] = first - second
        self.inputs.clear()


DLPACK = {"works": True}
VIEWED: list[str] = []  # inputs of which an output is a view
LIBRARY: dict[str, Any] = {"type_key": "GraphExecutorFactory"}


class Library(SimpleNamespace):
    """A loaded library."""

    def __getitem__(self, name: str) -> Callable[[str], str]:
        assert name == "default"
        return lambda device: f"{self.path} on {device}"


class Machine:
    """The fake's virtual machine."""

    def __init__(self, module: Any, device: Any) -> None:
        self.made = (module.path, device)

    def invoke(self, name: str, *tensors: Tensor) -> Any:
        assert name == "main"
        return MODEL[0](*tensors)


MODEL: list[Callable[..., Any]] = []


@pytest.fixture(autouse=True)
def _tvm(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tvm.install(
        monkeypatch,
        tvm={
            "cpu": lambda: "cpu",
            "nd": SimpleNamespace(array=fake_tvm.copied, from_dlpack=fake_tvm.same),
        },
        tvm__contrib={},
        tvm__contrib__graph_executor={"GraphModule": Graph},
        tvm__runtime={"load_module": lambda path: Library(path=path, **LIBRARY)},
        tvm__runtime__vm={"VirtualMachine": Machine},
    )
    monkeypatch.setattr(programs, "importing", contextlib.nullcontext)
    monkeypatch.setitem(LIBRARY, "type_key", "GraphExecutorFactory")
    monkeypatch.setitem(DLPACK, "works", True)
    VIEWED.clear()


def specs(*shapes: tuple[int | str, ...]) -> list[TensorSpec]:
    return [
        TensorSpec(name=f"x{number}", shape=list(shape), dtype="float32")
        for number, shape in enumerate(shapes or ((1, 4), (1, 4)))
    ]


def graph(*shapes: tuple[int | str, ...]) -> Any:
    made = relay_program(Path("out/model.so"), specs(*shapes))
    assert isinstance(made, RelayGraph)
    return made


def machine() -> Program:
    LIBRARY["type_key"] = "VMExecutable"
    made = relay_program(Path("out/model.so"), specs())
    assert isinstance(made, RelayMachine)
    assert made._machine.made == ("out/model.so", "cpu")
    return made


def test_the_library_s_kind_decides_on_the_executor() -> None:
    assert graph()._graph.made == "out/model.so on cpu"
    machine()


def test_every_input_is_bound_to_its_own_buffer() -> None:
    made = graph()
    assert sorted(made._graph.bound) == ["x0", "x1"]
    for fit in range(2):
        assert made.takes([X, Y])
        summed, difference = made.run([X * fit, Y], True)
        np.testing.assert_array_equal(summed, X * fit + Y)
        np.testing.assert_array_equal(difference, X * fit - Y)
    assert not made.takes([X])
    assert not made.takes([X, Y.astype(np.float64)])


def test_an_output_that_is_a_view_of_an_input_follows_it() -> None:
    VIEWED[:] = ["x1"]
    made = graph()
    assert sorted(made._graph.bound) == ["x0"]
    kept = []
    for fit in (True, False, True):
        summed, _, viewed = made.run([X, Y + len(kept)], fit)
        np.testing.assert_array_equal(summed, X + Y + len(kept))
        kept.append(viewed)
    assert [viewed[0, 0] for viewed in kept] == [3, 4, 5]
    assert {viewed.shape for viewed in kept} == {(2, 2)}


def test_a_free_dimension_is_set_by_name() -> None:
    made = graph(("batch", 4), ("batch", 4))
    assert made._graph.bound == {}
    assert not made.takes([X, Y])
    summed, difference = made.run([X, Y])
    assert (summed[0, 0], difference[0, 0]) == (4, -2)


@pytest.mark.parametrize("arrays", [[X], [X, Y, Y], []])
def test_a_wrong_number_of_arrays_is_an_error(arrays: list[Any]) -> None:
    with pytest.raises(ValueError, match="zip"):
        graph(("batch", 4), ("batch", 4)).run(arrays)


@pytest.mark.parametrize("dlpack", [True, False])
def test_outputs_survive_the_next_run(dlpack: bool) -> None:
    DLPACK["works"] = dlpack
    made = graph()
    first = made.run([X, Y], True)
    second = made.run([X, X], True)
    assert [output[0, 0] for output in first] == [4, -2]
    assert [output[0, 0] for output in second] == [2, 0]
    assert all(output.flags.writeable for output in (*first, *second))


def test_the_virtual_machine_has_no_buffers() -> None:
    made = machine()
    assert not made.takes([X, Y])
    MODEL[:] = [lambda first, second: Tensor(first.array - second.array)]
    for fit in (True, False):
        (output,) = made.run([X, Y], fit)
        np.testing.assert_array_equal(output, X - Y)


@pytest.mark.parametrize("kind", [list, tuple])
def test_several_outputs_of_the_virtual_machine_stay_in_order(kind: Any) -> None:
    MODEL[:] = [lambda first, second: kind([second, first])]
    outputs = machine().run([X, Y])
    assert [output[0, 0] for output in outputs] == [3, 1]


@pytest.mark.parametrize("error", [TypeError, ValueError, BufferError, RuntimeError])
def test_an_output_that_dlpack_cannot_pass_is_read_anew_each_time(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    fake_tvm.without_dlpack(monkeypatch, error("no such type"))
    array = np.ones(3, np.float32)
    read = programs._view(Tensor(array))
    array[0] = 5
    assert read().tolist() == [5, 1, 1]
