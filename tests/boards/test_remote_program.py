"""What runs a library on a board, over a TVM that is not there."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tvmkd.base.errors import InputError
from tvmkd.boards.remote_program import GraphExecutor, RemoteProgram, VirtualMachine


class Tensor:
    def __init__(self, value: float) -> None:
        self.value = value

    def numpy(self) -> np.ndarray:
        return np.array([self.value])


class FakeMachine:
    """Relax's virtual machine: one output unless told otherwise."""

    many = False

    def __init__(self, module: Any, device: Any) -> None:
        self.log: list[Any] = [module, device]

    def set_input(self, name: str, *tensors: Any) -> None:
        self.log.append((name, tensors))

    def invoke_stateful(self, name: str) -> None:
        self.log.append(name)

    def get_outputs(self, name: str) -> Any:
        return [Tensor(1.0), Tensor(2.0)] if self.many else Tensor(1.0)

    def time_evaluator(self, name: str, device: Any, number: int, repeat: int) -> Any:
        assert (name, device, number) == ("invoke_stateful", "cpu", 1)
        return lambda function: SimpleNamespace(results=[5e-5] * repeat)


class FakeGraph:
    """Relay's graph executor with two outputs."""

    def __init__(self, module: Any) -> None:
        self.module = self
        self.inputs: dict[int, Any] = {}
        self.runs = 0

    def set_input(self, index: int, tensor: Any) -> None:
        self.inputs[index] = tensor

    def run(self) -> None:
        self.runs += 1

    def get_num_outputs(self) -> int:
        return 2

    def get_output(self, index: int) -> Tensor:
        return Tensor(float(index + self.runs))

    def time_evaluator(self, name: str, device: Any, number: int, repeat: int) -> Any:
        assert (name, device, number) == ("run", "cpu", 1)
        return lambda: SimpleNamespace(results=[2e-5] * repeat)


@pytest.fixture(autouse=True)
def _fake_tvm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, attribute, value in (
        ("tvm.runtime.vm", "VirtualMachine", FakeMachine),
        ("tvm.contrib.graph_executor", "GraphModule", FakeGraph),
    ):
        module = ModuleType(name)
        setattr(module, attribute, value)
        monkeypatch.setitem(sys.modules, name, module)
        parent = name.rpartition(".")[0]
        for known in (parent, parent.rpartition(".")[0]):
            monkeypatch.setitem(sys.modules, known, ModuleType(known))


def test_a_virtual_machine_gives_one_output_or_several(monkeypatch: pytest.MonkeyPatch) -> None:
    program: RemoteProgram = VirtualMachine("module", "cpu")
    program.set_inputs(["a", "b"])
    assert [array.tolist() for array in program.run()] == [[1.0]]
    monkeypatch.setattr(FakeMachine, "many", True)
    assert [array.tolist() for array in program.run()] == [[1.0], [2.0]]
    assert program.time(3) == [5e-5] * 3


def test_a_graph_executor_gives_all_outputs_in_order() -> None:
    program: RemoteProgram = GraphExecutor({"default": lambda device: device}, "cpu")
    program.set_inputs(["a", "b"])
    assert [array.tolist() for array in program.run()] == [[1.0], [2.0]]
    assert program.time(2) == [2e-5] * 2


def test_a_function_of_the_board_runs_the_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def count(*arguments: Any) -> int:
        calls.append(arguments)
        return 7

    monkeypatch.setattr(FakeMachine, "module", "machine", raising=False)
    machine: RemoteProgram = VirtualMachine("library", "cpu")
    assert machine.call_with(count) == 7
    graph = GraphExecutor({"default": lambda device: device}, "cpu")
    assert graph.call_with(count) == 7
    assert calls == [("machine", "invoke_stateful", "main"), (graph._graph, "run")]


def test_a_model_that_needs_the_virtual_machine_of_relay_is_refused() -> None:
    class NoGraph:
        def __getitem__(self, name: str) -> Any:
            raise AttributeError(name)

    with pytest.raises(InputError, match=r"shapes that depend on the data.*tvmkd\.load"):
        GraphExecutor(NoGraph(), "cpu")
