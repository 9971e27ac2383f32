"""ONNX Runtime runs what TVM's importer lacks: the library computes what the file does."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from graphs import Graph
from in_relax import in_relax
from in_tvm import INSIDE, inside
from onnx import TensorProto, helper

if INSIDE:
    from tvmkd.base.errors import InputError
    from tvmkd.stacks.relax import importer
    from tvmkd.stacks.relax.outside import merged

pytestmark = pytest.mark.timeout(240)


def detector(path: Path) -> Path:
    """An operator that TVM lacks between convolutions, and places of a number that depends on the
    data at the end, where ReverseSequence and NonZero stand for what detectors have.
    """
    g = Graph(2, 3, 8, 8)
    first = g.conv(3, 4)
    g.nodes.append(helper.make_node("Constant", [], ["lens"], value_ints=[3, 4]))
    turned = g.add("ReverseSequence", "lens", batch_axis=0, time_axis=1)
    second = g.conv(4, 4)
    g.add("Round")
    g.add("NonZero")
    g.add("Transpose", perm=[1, 0])
    return g.save(path, first, turned, second, g.add("Cast", to=TensorProto.FLOAT))


SCRIPT = """
import onnxruntime
path, folder = sys.argv[1], Path(sys.argv[2])
model = importer.read(path, hand_over=True)
target = tvm.target.Target(TARGET["tvm"])
handed = offload.offload(
    importer.simplify(model.mod), "onnxruntime", region.Maker("onnxruntime", TARGET)
)
machines = [
    machine(importer.fuse(each, target), folder / f"{i}.so")
    for i, each in enumerate((model.mod, handed.mod))
]
session = onnxruntime.InferenceSession(path)
errors = []
for seed in range(2):
    given = np.random.default_rng(seed).standard_normal((2, 3, 8, 8)).astype("float32")
    wanted = session.run(None, {"x": given})
    for each in machines:
        found = outputs(each, given)
        assert [a.dtype for a in found] == [a.dtype for a in wanted]
        assert [a.shape for a in found] == [a.shape for a in wanted]
        errors += [float(abs(a - b).max()) for a, b in zip(found, wanted)]
print(json.dumps([errors, model.outputs, model.outside.report(), model.outside.notes(),
                  handed.report]))
"""


def test_a_library_with_parts_computes_what_the_file_does(tmp_path: Path) -> None:
    errors, outputs, report, notes, handed = in_relax(
        SCRIPT, detector(tmp_path / "m.onnx"), tmp_path
    )
    assert max(errors) < 1e-4
    assert [each["shape"] for each in outputs[:3]] == [[2, 4, 8, 8]] * 3
    assert outputs[3] == {"name": outputs[3]["name"], "dtype": "float32",
                          "shape": [f"{outputs[3]['name']}.0", 4]}  # fmt: skip
    assert (report["engine"], report["codegen"], report["regions"]) == ("onnxruntime", "tvmkd", 2)
    assert report["offloaded"] == {"ReverseSequence": 1, "NonZero": 1, "Transpose": 1, "Cast": 1}
    assert list(report["by_itself"]) == ["ReverseSequence", "NonZero"]
    assert [each["operators"] for each in report["carried"]] == [1, 3]
    assert "4 nodes" in notes[0]
    assert "needs Python" in notes[0]
    assert handed["regions"] >= 1


@inside("relax")
def test_elsewhere_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ReverseSequence"):
        importer.read(detector(tmp_path / "m.onnx"))


@inside("relax")
def test_what_onnx_runtime_cannot_load_either_is_refused_with_tvm_s_reason(tmp_path: Path) -> None:
    info = helper.make_tensor_value_info("x", 1, [2])
    node = helper.make_node("Strange", ["x"], ["y"], domain="mine")
    graph = helper.make_graph([node], "g", [info], [helper.make_tensor_value_info("y", 1, [2])])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    path = tmp_path / "odd.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    with pytest.raises(InputError, match=r"unsupported operator mine::Strange"):
        importer.read(path, hand_over=True)


@inside("relax")
def test_a_model_that_tvm_imports_has_nothing_outside(tmp_path: Path) -> None:
    g = Graph(1, 3, 8, 8)
    g.conv(3, 4)
    assert importer.read(g.save(tmp_path / "m.onnx"), hand_over=True).outside is None


@inside("relax")
def test_two_reports_are_one(tmp_path: Path) -> None:
    one = {"engine": "tensorrt", "regions": 1, "operators": 9, "offloaded": {"relu": 2},
           "carried": [1], "left": []}  # fmt: skip
    two = {"engine": "onnxruntime", "regions": 2, "operators": 7, "offloaded": {"NonZero": 3},
           "carried": [2, 3], "by_itself": {"NonZero": "why"}}  # fmt: skip
    both = merged(one, two)
    assert both["engine"] == "tensorrt"
    assert (both["regions"], both["operators"], both["carried"]) == (3, 12, [1, 2, 3])
    assert both["offloaded"] == {"NonZero": 3, "relu": 2}
    assert both["by_itself"] == {"NonZero": "why"}
    assert merged(None, two) is two
    assert merged(one, None) is one
    assert merged(None, None) is None


SHAPED = """
import onnx, onnxruntime
path, folder = sys.argv[1], Path(sys.argv[2])
model = importer.read(path, hand_over=True)
target = tvm.target.Target(TARGET["tvm"])
library = machine(importer.fuse(model.mod, target), folder / "m.so")
given = np.arange(6, dtype="float32").reshape(2, 3) - 2
(want,) = onnxruntime.InferenceSession(path).run(None, {"x": given})
(got,) = outputs(library, given)
print(json.dumps([want.shape == got.shape, float(abs(want - got).max()),
                  model.outside.report()["offloaded"]]))
"""


def test_what_computes_a_shape_goes_with_the_part_that_reads_it(tmp_path: Path) -> None:
    text = """<ir_version: 9, opset_import: ["" : 18]>
        g (float[2, 3] x) => (int64[K, 2] y) {
            s = Shape(x)
            n = NonZero(x)
            t = Transpose(n)
            y = Mul(t, s)
        }"""
    path = tmp_path / "m.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    same_shape, error, operators = in_relax(SHAPED, path, tmp_path)
    assert same_shape
    assert error == 0
    assert operators == {"NonZero": 1, "Transpose": 1, "Mul": 1, "Shape": 1}
