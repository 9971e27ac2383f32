"""What kernels read and write, with tensors that are arrays."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest

from tvmkd.stacks.relax import recorder
from tvmkd.stacks.relax.recorder import Recorder, tensors_of


class Tensor:
    """A tensor of TVM's; a linked constant has no handle."""

    def __init__(self, array: np.ndarray, handle: int = 1) -> None:
        self.array, self.handle = array, handle
        self.shape, self.dtype = array.shape, array.dtype

    def __chandle__(self) -> int:
        return self.handle


@pytest.fixture(autouse=True)
def arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_array", lambda tensor: tensor.array)


def saved(tmp_path: Path) -> Path:
    g = graphs.Graph(1, 3)
    g.add("Relu")
    return g.save(tmp_path / "m.onnx")


def test_a_kernel_s_last_argument_is_copied_and_sizes_are_added_up(tmp_path: Path) -> None:
    x, y = np.array([[1.0, -2.0, 3.0]], np.float32), np.zeros((1, 3), np.float32)
    weight = Tensor(np.zeros(100, np.float64), handle=0)
    found = Recorder(Tensor)
    for before in (True, False):
        assert found(None, "vm.builtin.alloc_storage", before, None, 64) == 0
        y[:] = np.maximum(x, 0)
        assert found(None, "relu", before, None, Tensor(x), Tensor(x), weight, Tensor(y)) == 0
    assert found(None, "nothing", False, None, 7) == 0
    y[:] = 9
    assert [call.output.tolist() for call in found.calls] == [[[1.0, 0.0, 3.0]], []]
    assert found.sizes == [12 + 12 + 800, 0]
    rows = [{"places": [0]}, {"places": [1]}, {"places": []}]
    path = saved(tmp_path)
    found.complete(rows, path, {graph_input(path): x})
    (name,) = [node.name or node.output[0] for node in onnx.load(str(path)).graph.node]
    assert rows == [
        {"places": [0], "bytes": 824, "each_nodes": [[name]]},
        {"places": [1], "bytes": 0, "each_nodes": [[]]},
        {"places": []},
    ]


def test_a_run_that_took_another_way_adds_nothing(tmp_path: Path) -> None:
    rows = [{"places": [0, 1]}]
    Recorder(Tensor).complete(rows, tmp_path / "gone.onnx", {})
    assert rows == [{"places": [0, 1]}]


def test_what_onnx_runtime_cannot_run_has_no_tensors(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert tensors_of(onnx.load(str(path)), path, {"other": np.zeros(1, np.float32)}) == {}


def graph_input(path: Path) -> str:
    return str(onnx.load(str(path)).graph.input[0].name)
