"""Regions are handed to an engine and returned to TVM if it refuses them; outputs stay the same."""

from __future__ import annotations

from pathlib import Path

import graphs
import pytest
from in_relax import in_relax
from qdq_graphs import Quantised

pytestmark = pytest.mark.timeout(240)
NO_CONVERSION = "TVM cannot convert it to TensorRT"

# In one process: what the stack's files do not reach, a free batch among them.
FREE = """
n = tvm.tirx.Var("n", "int64")
rng = np.random.default_rng(0)
def const(*shape):
    return relax.const(rng.standard_normal(shape).astype("float32"))
x = relax.Var("x", relax.TensorType((n, 3, 6, 6), "float32"))
builder = relax.BlockBuilder()
with builder.function("main", [x]):
    with builder.dataflow():
        y = builder.emit(relax.op.nn.conv2d(x, const(4, 3, 3, 3), padding=1))
        y = builder.emit(relax.op.nn.relu(y))
        z = builder.emit(relax.op.sign(y))
        halves = builder.emit(relax.op.split(z, 2, axis=1))
        a = builder.emit(relax.op.nn.relu(builder.emit(relax.TupleGetItem(halves, 0))))
        b = builder.emit(relax.op.mean(builder.emit(relax.TupleGetItem(halves, 1)), [2, 3]))
        out = builder.emit_output(relax.Tuple([a, b, y]))
    builder.emit_func_output(out)
mod = builder.get()
folder = Path(sys.argv[1])
whole = machine(mod, folder / "whole.so")
handed = offload.offload(mod, "onnxruntime", region.Maker("onnxruntime", TARGET))
split = machine(handed.mod, folder / "split.so")
errors = []
for count in (1, 5, 2):
    given = rng.standard_normal((count, 3, 6, 6)).astype("float32")
    pairs = list(zip(outputs(whole, given), outputs(split, given), strict=True))
    assert all(a.shape == b.shape and a.shape[0] == count for a, b in pairs)
    errors += [float(abs(a - b).max()) for a, b in pairs]
print(json.dumps([errors, handed.report, handed.notes]))
"""


def test_a_free_batch_and_several_outputs_equal_undivided_tvm(tmp_path: Path) -> None:
    errors, report, notes = in_relax(FREE, tmp_path)
    assert len(errors) == 9
    assert max(errors) < 1e-5
    assert report["regions"] == 2
    assert [entry["name"] for entry in report["left"]] == ["sign"]
    assert notes == []


# An engine that refuses regions with a softmax or a sigmoid in them, or all there are.
REFUSING = """
import onnx
path, kinds, folder = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])

class Picky(region.Maker):
    def make(self, model, inputs, outputs):
        for node in onnx.load_from_string(model).graph.node:
            if node.op_type in kinds:
                raise region.Refused(f"no {node.op_type} in {node.name}")
        return super().make(model, inputs, outputs)

model = importer.read(path)
mod = importer.simplify(model.mod)
handed = offload.offload(mod, "onnxruntime", Picky("onnxruntime", TARGET))
target = tvm.target.Target(TARGET["tvm"])
plain, split = (
    machine(importer.fuse(each, target), folder / f"{i}.so")
    for i, each in enumerate((mod, handed.mod))
)
given = np.random.default_rng(0).standard_normal(model.inputs[0]["shape"]).astype("float32")
errors = [float(abs(a - b).max()) for a, b in zip(outputs(plain, given), outputs(split, given))]
print(json.dumps([errors, handed.report, handed.notes]))
"""


def graph_for_refusal(path: Path) -> Path:
    g = graphs.Graph(1, 3, 8, 8)
    g.conv(3, 8)
    g.add("Sign")
    g.conv(8, 8)
    g.add("Softmax", axis=1)
    soft = g.last
    g.add("Sign")
    g.conv(8, 4)
    return g.save(path, soft, g.last)


def test_a_region_that_is_refused_stays_in_tvm_with_a_note(tmp_path: Path) -> None:
    model = graph_for_refusal(tmp_path / "m.onnx")
    errors, report, notes = in_relax(REFUSING, model, '["Softmax"]', tmp_path)
    assert max(errors) < 1e-5
    refusal = "ONNX Runtime refuses its region: no Softmax in Softmax_2"
    assert notes == ["ONNX Runtime refuses a region of 3 operators: no Softmax in Softmax_2"]
    assert report["regions"] == len(report["carried"]) == 2
    left = {entry["name"]: (entry["count"], entry["reasons"]) for entry in report["left"]}
    assert left == {
        "sign": (2, [NO_CONVERSION]),
        "nn.softmax": (1, [refusal]),
        "nn.conv2d": (1, [refusal]),
        "add": (1, [refusal]),
    }


def test_a_model_of_which_everything_is_refused_is_plain_tvm(tmp_path: Path) -> None:
    model = graph_for_refusal(tmp_path / "m.onnx")
    errors, report, notes = in_relax(REFUSING, model, '["Conv"]', tmp_path)
    assert max(errors) == 0.0
    assert (report["regions"], report["carried"], report["mac_share"]) == (0, [], 0.0)
    assert len(notes) == 3


def test_a_refused_region_may_have_several_outputs(tmp_path: Path) -> None:
    model = graphs.shuffle(tmp_path / "m.onnx")
    errors, report, notes = in_relax(REFUSING, model, '["Split"]', tmp_path)
    assert errors == [0.0, 0.0]
    assert (report["regions"], len(notes)) == (0, 1)


TAKEN_BY_TVM = """
seen = []
tvm.register_global_func("relax.ext.tensorrt", lambda *given: seen.append(given) or [])
tensorrt._COMPILED_IN = True
assert offload.maker_for("tensorrt", TARGET) is None
assert offload.maker_for("onnxruntime", TARGET) is not None
mod = importer.simplify(importer.read(sys.argv[1]).mod)
handed = offload.offload(mod, "tensorrt", None)
((functions, options, constants),) = seen
print(json.dumps([len(functions), handed.report, handed.notes]))
"""


def test_a_tvm_with_its_own_code_generator_uses_that(tmp_path: Path) -> None:
    count, report, notes = in_relax(TAKEN_BY_TVM, graphs.split_in_two(tmp_path / "m.onnx"))
    assert (count, report["codegen"], notes) == (2, "tvm", [])
    assert [region["form"] for region in report["carried"]] == ["graph", "graph"]


QUANTISED = """
import onnx
from tvmkd.stacks.relax import quantized_regions
class Picky(region.Maker):
    def make(self, model, inputs, outputs):
        if sys.argv[2] in {node.op_type for node in onnx.load_from_string(model).graph.node}:
            raise region.Refused(f"no {sys.argv[2]}")
        return super().make(model, inputs, outputs)

mod = importer.read(sys.argv[1]).mod
mod = quantized_regions.simplified(mod, importer.simplify, False)
handed = offload.offload(mod, "onnxruntime", Picky("onnxruntime", TARGET))
print(json.dumps([handed.report, handed.notes]))
"""


def test_quantised_tensors_are_left_to_tvm_as_a_whole(tmp_path: Path) -> None:
    g = Quantised(1, 3, 12, 12, activation="int8", bits=8)
    g.qdq(0.03, 0)
    g.quantised_conv(3, 8, unit=0.03)
    g.add("Sign")
    g.qdq(0.03, 0)
    g.quantised_conv(8, 8, unit=0.03)
    g.add("Softmax", axis=1)
    path = g.save(tmp_path / "m.onnx")
    report, notes = in_relax(QUANTISED, path, "Softmax")
    assert (report["regions"], report["carried"], report["precision"]) == (0, [], "fp32")
    assert notes[-1].startswith("TVM compiles the whole model: a region that ONNX Runtime refuses")
    assert in_relax(QUANTISED, path, "Tanh")[0]["regions"] == 2
