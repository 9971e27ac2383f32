from __future__ import annotations

import onnx
import torch
from onnx import helper, numpy_helper
from onnx_files import convolution
from torch import nn

from tvmkd.export import export
from tvmkd.export.fusion import fusion


def test_what_the_exporter_folds_is_counted(tmp_path):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1))
    path = export(network, tmp_path / "m.onnx", (1, 1, 8, 8))
    found = fusion(onnx.load(path))
    assert (found.convolutions, found.activations, found.problem()) == (2, 1, None)
    assert found.line().startswith("2 convolutions, all with their batch normalisation folded, 1 ")


def test_a_normalisation_that_stayed_is_named(tmp_path):
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.conv(x)
            return torch.relu(self.norm(y)) + y.sigmoid()

    found = fusion(onnx.load(export(Shared(), tmp_path / "m.onnx", (1, 1, 8, 8))))
    assert len(found.normalisations) == 1
    problem = found.problem()
    assert problem is not None
    assert f"batch normalisation is not folded: {found.normalisations[0]}" in problem


def test_an_activation_that_is_not_alone_is_named():
    model = convolution()
    assert fusion(model).activations == 1
    model.graph.node.append(helper.make_node("Neg", ["mid"], ["other"], name="reader"))
    found = fusion(model)
    assert (found.activations, found.shared) == (0, ("last",))
    assert "others read the convolution before it: last" in str(found.problem())


def test_branches_count():
    body = convolution().graph
    del body.input[:]
    outer = helper.make_graph(
        [helper.make_node("If", ["cond"], ["y"], then_branch=body, else_branch=body)],
        "outer",
        [],
        [],
        [numpy_helper.from_array(numpy_helper.np.array(True), "cond")],
    )
    assert fusion(helper.make_model(outer)).convolutions == 2
