"""Wrong kernels are planted where a check of the whole tensor's magnitude does not see them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from in_tvm import INSIDE, inside
from onnx import TensorProto, helper, numpy_helper

if INSIDE:
    import tvm
    from relax_graphs import PLAIN, run

    from tvmkd.base.agreement import Verdict, compare
    from tvmkd.stacks.check import Reference
    from tvmkd.stacks.relax import importer


def saved(path: Path, nodes, inputs, shape: list[int], **weights: np.ndarray) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


IMAGE = ("x", TensorProto.FLOAT, [1, 3, 12, 12])
node = helper.make_node


def detector(path: Path, activation: str) -> Path:
    """Boxes in pixels and class scores in one tensor."""
    rng = np.random.default_rng(0)
    nodes = [
        node("Conv", ["x", "wb"], ["b"]),
        node("Mul", ["b", "pixels"], ["boxes"]),
        node("Conv", ["x", "wc"], ["c"]),
        node(activation, ["c"], ["scores"]),
        node("Concat", ["boxes", "scores"], ["both"], axis=1),
        node("Reshape", ["both", "sizes"], ["y"]),
    ]
    return saved(
        path, nodes, [IMAGE], [1, 6, 144],
        wb=rng.standard_normal((4, 3, 1, 1)).astype(np.float32),
        wc=rng.standard_normal((2, 3, 1, 1)).astype(np.float32),
        pixels=np.float32(640), sizes=np.array([1, 6, 144]),
    )  # fmt: skip


def kelvin(path: Path, pool: str) -> Path:
    """A small signal on an offset of 1000."""
    nodes = [
        node(pool, ["x"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Mul", ["p", "tenth"], ["s"]),
        node("Add", ["s", "offset"], ["y"]),
    ]
    weights = {"tenth": np.float32(0.1), "offset": np.float32(1000)}
    return saved(path, nodes, [IMAGE], [1, 3, 6, 6], **weights)


def branching(path: Path, kind: str) -> Path:
    """A branch that no mode of 0 or 1 takes."""
    bodies = [
        helper.make_graph(
            [node(each, ["x"], [each])],
            each,
            [],
            [helper.make_tensor_value_info(each, TensorProto.FLOAT, IMAGE[2])],
        )
        for each in (kind, "Neg")
    ]
    nodes = [
        node("Equal", ["mode", "two"], ["c"]),
        node("If", ["c"], ["y"], then_branch=bodies[0], else_branch=bodies[1]),
    ]
    mode = ("mode", TensorProto.INT64, [])
    return saved(path, nodes, [IMAGE, mode], IMAGE[2], two=np.array(2))


def verdicts(folder: Path, make: Callable[[Path, str], Path], right: str, wrong: str) -> list:
    """The verdict on the library of the right model, and on that with the wrong kernel."""
    path = make(folder / f"{right}.onnx", right)
    target = tvm.target.Target(PLAIN)
    found: list[Verdict] = []
    for each in (path, make(folder / f"{wrong}.onnx", wrong)):
        model = importer.read(each)
        lowered = importer.fuse(model.mod, target)
        reference = Reference("relax", path, model.inputs)
        outputs = {}
        for number, sample in enumerate(reference.samples):
            (got,) = run(lowered, [sample[name] for name in reference.names], target)
            outputs[f"{number}.0"] = got
        found.append(compare(reference.outputs, outputs))
    return found


@inside("relax")
def test_a_wrong_kernel_is_found_in_each_place(tmp_path: Path) -> None:
    for make, right, wrong in (
        (detector, "Sigmoid", "HardSigmoid"),
        (kelvin, "AveragePool", "MaxPool"),
        (branching, "Relu", "Abs"),
    ):
        good, bad = verdicts(tmp_path, make, right, wrong)
        assert good.agrees, (right, good.reason)
        assert not bad.agrees, wrong
        assert 'output "y" differs' in bad.reason
