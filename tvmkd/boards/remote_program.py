"""A compiled model in a session with a board: inputs set once, then run and timed there.

One class a stack, named by its entry in `tvmkd.base.stack_registry`. TVM is imported when an object
is made.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from tvmkd.base.errors import InputError
from tvmkd.boards import board_clock


class RemoteProgram(Protocol):
    """A loaded library on a board."""

    def set_inputs(self, tensors: list[Any]) -> None:
        """Sets all inputs: tensors on the board, in the model's order."""

    def run(self) -> list[np.ndarray]:
        """Runs once; the outputs as arrays."""

    def time(self, count: int) -> list[float]:
        """Seconds of each of ``count`` runs, by the board's clock."""

    def call_with(self, function: Any) -> Any:
        """Calls a function of the board's, which takes a module, the name of what runs the model
        once, and its arguments.
        """


class VirtualMachine:
    """A Relax virtual machine on the board."""

    def __init__(self, module: Any, device: Any) -> None:
        from tvm.runtime.vm import VirtualMachine

        self._machine, self._device = VirtualMachine(module, device), device

    def set_inputs(self, tensors: list[Any]) -> None:
        """Sets all inputs: tensors on the board, in the model's order."""
        self._machine.set_input("main", *tensors)

    def run(self) -> list[np.ndarray]:
        """Runs once; the outputs as arrays."""
        self._machine.invoke_stateful("main")
        result = self._machine.get_outputs("main")
        many = [result] if hasattr(result, "numpy") else list(result)
        return [output.numpy() for output in many]

    def time(self, count: int) -> list[float]:
        """Seconds of each of ``count`` runs, by the board's clock."""
        timer = self._machine.time_evaluator(
            "invoke_stateful", self._device, number=1, repeat=count
        )
        return board_clock.seconds(lambda: timer("main"))

    def call_with(self, function: Any) -> Any:
        """Calls a function with the virtual machine, ``invoke_stateful`` and ``main``."""
        return function(self._machine.module, "invoke_stateful", "main")


class GraphExecutor:
    """A Relay graph executor on the board."""

    def __init__(self, module: Any, device: Any) -> None:
        from tvm.contrib.graph_executor import GraphModule

        try:
            create = module["default"]
        except AttributeError:
            raise InputError(
                "this model has shapes that depend on the data, and such a model cannot run over "
                "RPC; copy the artifact to the board and run it there with tvmkd.load"
            ) from None
        self._graph, self._device = GraphModule(create(device)), device

    def set_inputs(self, tensors: list[Any]) -> None:
        """Sets all inputs: tensors on the board, in the model's order."""
        for index, tensor in enumerate(tensors):
            self._graph.set_input(index, tensor)

    def run(self) -> list[np.ndarray]:
        """Runs once; the outputs as arrays."""
        self._graph.run()
        count = range(self._graph.get_num_outputs())
        return [self._graph.get_output(index).numpy() for index in count]

    def time(self, count: int) -> list[float]:
        """Seconds of each of ``count`` runs, by the board's clock."""
        timer = self._graph.module.time_evaluator("run", self._device, number=1, repeat=count)
        return board_clock.seconds(timer)

    def call_with(self, function: Any) -> Any:
        """Calls a function with the graph executor and ``run``."""
        return function(self._graph.module, "run")
