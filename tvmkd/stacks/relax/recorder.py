"""Records what each kernel of a run reads and writes, and finds its ONNX nodes with that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd.stacks.relax.kernel_times import is_kernel
from tvmkd.stacks.relax.origins import Call, find


class Recorder:
    """An instrument for one run of a virtual machine.

    Args:
        tensor: the class of the tensors that kernels get.

    Attributes:
        calls: the calls of kernels.
        sizes: bytes of the arguments of each.
    """

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor
        self.calls: list[Call] = []
        self.sizes: list[int] = []

    def __call__(self, _func: Any, symbol: str, before: bool, _result: Any, *args: Any) -> int:
        """Notes a kernel's arguments when it has ended; its last one is an output."""
        if before or not is_kernel(str(symbol)):
            return 0
        tensors = [arg for arg in args if isinstance(arg, self._tensor)]
        # A linked constant has only a header (`tvmkd.stacks.relax.constants`), no object of TVM's.
        linked = [arg for arg in tensors if not arg.__chandle__()]
        arrays = [_array(arg) for arg in tensors if arg.__chandle__()]
        known = [array for array in arrays if array is not None]
        if not known:
            self.calls.append(Call([], 0, np.empty(0)))
            self.sizes.append(0)
            return 0
        *read, written = known
        places = [array.ctypes.data for array in read]
        # Memory is used again by later kernels, so what is in it is copied.
        self.calls.append(Call(places, written.ctypes.data, written.copy()))
        sizes = {array.ctypes.data: array.nbytes for array in known}
        self.sizes.append(sum(sizes.values()) + sum(map(_size, linked)))
        return 0

    def complete(
        self, rows: Sequence[dict[str, Any]], onnx: Path, sample: Mapping[str, np.ndarray]
    ) -> None:
        """Adds ``bytes`` and ``each_nodes`` to the rows of `tvmkd.stacks.relax.kernel_times.rows`.

        Args:
            rows: of the same model; a run that took another way is left as it is.
            onnx: the model.
            sample: the inputs of the recorded run.
        """
        if sum(len(row["places"]) for row in rows) != len(self.calls):
            return
        import onnx as onnx_format

        model = onnx_format.load(str(onnx), load_external_data=False)
        find(model, {**sample, **tensors_of(model, onnx, sample)}, self.calls)
        for row in rows:
            if row["places"]:
                row["bytes"] = self.sizes[row["places"][0]]
                row["each_nodes"] = [self.calls[place].nodes for place in row["places"]]


def _size(tensor: Any) -> int:
    return int(math.prod(tensor.shape)) * np.dtype(str(tensor.dtype)).itemsize


def _array(tensor: Any) -> np.ndarray | None:
    try:
        array: np.ndarray = np.from_dlpack(tensor)
        return array
    except (TypeError, ValueError, BufferError, RuntimeError):  # bfloat16, an empty tensor
        return None


def tensors_of(model: Any, onnx: Path, sample: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What every node of a model computes, by ONNX Runtime; nothing where it cannot run it so.

    Args:
        model: an ``onnx.ModelProto``; it gets more outputs.
        onnx: its file.
        sample: an array for each input.
    """
    from onnx import ValueInfoProto

    from tvmkd.base.onnx_runtime import open_session

    present = {entry.name for entry in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name]
    model.graph.output.extend(ValueInfoProto(name=name) for name in names if name not in present)
    try:
        data = model.SerializeToString()
        session = open_session(data, str(onnx), threads=1, optimize=False, weights=onnx.parent)
        found = session.run(names, dict(sample))
    except Exception:  # ONNX Runtime's have no common base class; protobuf: over 2 GB
        return {}
    return {
        name: value
        for name, value in zip(names, found, strict=True)
        if isinstance(value, np.ndarray)
    }
