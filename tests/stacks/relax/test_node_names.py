"""The ONNX nodes of a GPU's kernels, through fusion and for equal kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphs
import onnx
from in_tvm import INSIDE, inside

from tvmkd import targets

if INSIDE:
    from tvmkd.stacks.relax import cuda, importer, node_names
    from tvmkd.stacks.relax.stack import tvm_target


def named(path: Path) -> Any:
    goal = tvm_target(targets.load("jetson-orin-nano").to_dict())
    with node_names.importing() as names:
        model = importer.read(path)
    return node_names.read(cuda.fuse(node_names.noted(model.mod, names), goal))


@inside("relax")
def test_each_kernel_has_the_nodes_that_it_computes(tmp_path: Path) -> None:
    found = named(graphs.separable(tmp_path / "m.onnx"))
    # A convolution, its activation, and what follows them.
    assert [nodes for _, nodes in found] == [
        ("n0", "n1"),
        ("n2", "n3"),
        ("n4", "n5"),
        ("n6",),
        ("n7",),
        ("n8",),
    ]
    assert found[0][0] == "fused_conv2d_add_relu"


@inside("relax")
def test_equal_kernels_have_nodes_of_their_own(tmp_path: Path) -> None:
    g = graphs.Graph(1, 8, 6, 6)
    for _ in range(3):
        g.conv(8, 8)
        g.add("Relu")
    g.add("Transpose", perm=[0, 2, 3, 1])
    found = named(g.save(tmp_path / "m.onnx"))
    kernels = [kernel for kernel, _ in found]
    assert len(set(kernels[:3])) == 1
    assert [nodes for _, nodes in found] == [("n0", "n1"), ("n2", "n3"), ("n4", "n5"), ("n6",)]


@inside("relax")
def test_names_are_those_of_the_file(tmp_path: Path) -> None:
    """With dots, twice the same, and none at all."""
    g = graphs.Graph(1, 8, 6, 6)
    g.conv(8, 8)
    g.add("Sigmoid")
    g.add("Softmax", axis=1)
    g.add("MaxPool", kernel_shape=[2, 2])
    path = g.save(tmp_path / "m.onnx")
    model = onnx.load(path)
    for node, name in zip(model.graph.node, ("/model.0/Conv", "same", "same", ""), strict=True):
        node.name = name
    onnx.save(model, path)
    nodes = [name for _, names in named(path) for name in names]
    assert nodes == ["/model.0/Conv", "same", "same", "MaxPool"]


@inside("relax")
def test_a_node_that_gives_a_tuple(tmp_path: Path) -> None:
    """The importer makes one of a LayerNormalization."""
    g = graphs.Graph(1, 6, 16)
    g.add("LayerNormalization", g.weight(16), g.weight(16), axis=-1)
    g.add("MatMul", g.weight(16, 16))
    assert [nodes for _, nodes in named(g.save(tmp_path / "m.onnx"))] == [("n0",), ("n1",)]


@inside("relax")
def test_several_outputs(tmp_path: Path) -> None:
    found = named(graphs.shuffle(tmp_path / "m.onnx"))
    assert [nodes for _, nodes in found] == [
        ("n0",),
        ("n1",),
        ("n2", "n3", "n4", "n5", "n6"),
        ("n7",),
        ("n8",),
    ]


@inside("relax")
def test_without_names_nothing_is_said(tmp_path: Path) -> None:
    goal = tvm_target(targets.load("jetson-orin-nano").to_dict())
    model = importer.read(graphs.separable(tmp_path / "m.onnx"))
    assert node_names.read(cuda.fuse(model.mod, goal)) == []


@inside("relax")
def test_kernels_that_were_added_have_none() -> None:
    known = [("conv", ("a",)), ("conv", ("b",)), ("relu", ("c",))]
    kernels = ["conv", "sort", "conv", "relu", "conv"]
    assert node_names.along(kernels, known) == [("a",), (), ("b",), ("c",), ()]
