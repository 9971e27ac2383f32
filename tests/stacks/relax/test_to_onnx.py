"""A region as an ONNX model: a free batch stays free, outputs keep their order."""

from __future__ import annotations

import pytest
from in_relax import CASES, in_relax

pytestmark = pytest.mark.timeout(240)

FREE = """
import onnxruntime, tempfile
n = tvm.tirx.Var("n", "int64")
mod = built([(n, 2, 4, 4)], lambda x: op.reshape(nn.relu(x), (n, 32)))
model, (name,), (out,) = to_onnx.region(mod["main"])
dims = [[d.dim_param or d.dim_value for d in each.type.tensor_type.shape.dim]
        for each in (*model.graph.input, *model.graph.output)]
session = onnxruntime.InferenceSession(model.SerializeToString())
shapes = [session.run(None, {name: np.ones((k, 2, 4, 4), "float32")})[0].shape for k in (1, 3)]
print(json.dumps([dims, shapes]))
"""


def test_a_free_batch_stays_free() -> None:
    dims, shapes = in_relax(CASES + FREE)
    assert dims == [["n", 2, 4, 4], ["n", 32]]
    assert shapes == [[1, 32], [3, 32]]


TUPLES = """
x = relax.Var("x", relax.TensorType((2, 6), "float32"))
builder = relax.BlockBuilder()
with builder.function("main", [x]):
    with builder.dataflow():
        a = builder.emit(op.split(x, 2, axis=1))
        out = builder.emit_output(relax.Tuple([a, x]))
    builder.emit_func_output(out)
try:
    to_onnx.region(builder.get()["main"])
except onnx_operators.Unsupported as error:
    nested = str(error)
builder = relax.BlockBuilder()
with builder.function("main", [x]):
    with builder.dataflow():
        out = builder.emit_output(relax.Tuple([x, x, builder.emit(nn.relu(x))]))
    builder.emit_func_output(out)
model, _, outs = to_onnx.region(builder.get()["main"])
import onnxruntime
given = np.array([[-1.0] * 6, [2.0] * 6], "float32")
found = onnxruntime.InferenceSession(model.SerializeToString()).run(outs, {"in0": given})
print(json.dumps([nested, [each[:, 0].tolist() for each in found]]))
"""


def test_outputs_that_are_inputs_and_tuples_in_tuples() -> None:
    nested, found = in_relax(CASES + TUPLES)
    assert nested == "an output of it is a nested tuple"
    assert found == [[-1.0, 2.0], [-1.0, 2.0], [0.0, 2.0]]
