from __future__ import annotations

import pytest
import torch
from onnx_files import convolution, save
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.export.parity import flatten, parity

SHAPE = (1, 3, 8, 8)


class Net(nn.Module):
    def __init__(self, model) -> None:
        super().__init__()
        from onnx import numpy_helper

        kernel = numpy_helper.to_array(model.graph.initializer[0])
        self.kernel = nn.Parameter(torch.from_numpy(kernel.copy()))

    def forward(self, x):
        return torch.relu(nn.functional.conv2d(x, self.kernel))


def test_equal_ones_pass_at_any_batch(tmp_path):
    model = convolution(batch="batch")
    path = save(model, tmp_path / "m.onnx")
    assert parity(Net(model), path, SHAPE, True, "net") < 1e-4


def test_one_changed_weight_is_found(tmp_path):
    model = convolution()
    network = Net(model)
    path = save(model, tmp_path / "m.onnx")
    with torch.no_grad():
        network.kernel[2, 1, 1, 1] += 0.05
    with pytest.raises(InputError, match=r'net: "out" differs .* by'):
        parity(network, path, SHAPE, False, "net")


def test_nan_is_never_equal(tmp_path):
    model = convolution()
    network = Net(model)
    path = save(model, tmp_path / "m.onnx")
    with torch.no_grad():
        network.kernel[0, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="NaN or infinite in PyTorch already"):
        parity(network, path, SHAPE, False, "net")


def test_another_number_of_outputs_or_shape(tmp_path):
    model = convolution()
    path = save(model, tmp_path / "m.onnx")

    class Two(Net):
        def forward(self, x):
            return super().forward(x), x

    class Flat(Net):
        def forward(self, x):
            return super().forward(x).flatten(1)

    with pytest.raises(InputError, match="2 outputs, the exported file 1"):
        parity(Two(model), path, SHAPE, False, "net")
    with pytest.raises(InputError, match=r"shape \(1, 144\) in PyTorch, \(1, 4, 6, 6\)"):
        parity(Flat(model), path, SHAPE, False, "net")


def test_a_file_that_onnx_runtime_refuses(tmp_path):
    model = convolution()
    path = save(convolution(activation="Nonsense"), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="ONNX Runtime refuses"):
        parity(Net(model), path, SHAPE, False, "net")


def test_outputs_of_any_structure():
    a, b = torch.zeros(1), torch.ones(2)
    assert [list(t.shape) for t in flatten({"x": a, "y": [b, None]})] == [[1], [2]]
