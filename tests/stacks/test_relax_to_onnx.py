"""Each operator computes in ONNX what it computes in TVM; what ONNX cannot say is refused."""

from __future__ import annotations

from typing import Any

import pytest
from in_relax import in_relax

pytestmark = pytest.mark.timeout(240)

# Each case: the shapes of its inputs, and what is made of them.
CASES = """
def const(*shape):
    return relax.const(np.random.default_rng(len(shape)).uniform(0.5, 1.5, shape).astype("float32"))

op, nn = relax.op, relax.op.nn
unary = ["nn.relu", "nn.silu", "sigmoid", "tanh", "exp", "log", "sqrt", "abs", "negative", "sin",
         "cos", "atan", "ceil", "floor", "erf"]
binary = ["add", "subtract", "multiply", "divide", "power", "maximum", "minimum"]
IMAGE = (2, 6, 9, 8)

def named(name):
    found = op
    for part in name.split("."):
        found = getattr(found, part)
    return found

CASES = {
    **{name: ([IMAGE], named(name)) for name in unary},
    **{name: ([IMAGE, (6, 1, 8)], named(name)) for name in binary},
    "of a constant": ([IMAGE], lambda x: op.add(x, relax.const(0.5, "float32"))),
    "softmax": ([(2, 3, 4)], lambda x: nn.softmax(x, axis=1)),
    "batch_flatten": ([IMAGE], nn.batch_flatten),
    "expand_dims": ([(2, 3)], lambda x: op.expand_dims(x, [0, -1])),
    "squeeze": ([(2, 1, 3, 1)], lambda x: op.squeeze(x, [1])),
    "squeeze all": ([(2, 1, 3, 1)], op.squeeze),
    "permute_dims": ([(2, 3, 4)], lambda x: op.permute_dims(x, [1, 2, 0])),
    "permute_dims back": ([(2, 3, 4)], op.permute_dims),
    "max_pool2d": ([IMAGE], lambda x: nn.max_pool2d(x, (3, 2), (2, 1), (1, 0, 1, 1))),
    "max_pool2d up": ([IMAGE], lambda x: nn.max_pool2d(x, (3, 3), (2, 2), ceil_mode=True)),
    "avg_pool2d": ([IMAGE], lambda x: nn.avg_pool2d(x, (3, 2), (2, 1), (1, 0, 1, 1))),
    "avg_pool2d padded": (
        [IMAGE], lambda x: nn.avg_pool2d(x, (3, 3), (2, 1), (1, 1, 1, 1), count_include_pad=True)),
    "avg_pool2d up": ([(1, 2, 9, 9)], lambda x: nn.avg_pool2d(x, (3, 3), (2, 2), ceil_mode=True)),
    "max_pool3d": ([(1, 2, 5, 6, 7)], lambda x: nn.max_pool3d(x, (2, 3, 2), (2, 1, 1))),
    "avg_pool3d": ([(1, 2, 5, 6, 7)], lambda x: nn.avg_pool3d(x, (2, 3, 2), (2, 1, 1))),
    "adaptive_avg_pool2d": ([IMAGE], lambda x: nn.adaptive_avg_pool2d(x, (1, 1))),
    "adaptive_avg_pool2d even": ([IMAGE], lambda x: nn.adaptive_avg_pool2d(x, (3, 2))),
    **{name: ([IMAGE], lambda x, f=named(name): f(x, [1, 3], keepdims=True))
       for name in ("sum", "prod", "max", "min", "mean")},
    "sum of all": ([IMAGE], op.sum),
    "mean of all": ([IMAGE], op.mean),
    "concat": ([(2, 3), (2, 5)], lambda *x: op.concat(list(x), axis=1)),
    "split": ([(2, 7)], lambda x: op.split(x, [2, 3], axis=1)),
    "split into one": ([(2, 7)], lambda x: op.split(x, 1, axis=1)),
    "split and joined": ([(2, 8)], lambda x: op.concat(op.split(x, 2, axis=1), axis=0)),
    "conv1d": ([(2, 6, 9)], lambda x: nn.conv1d(x, const(4, 6, 3), strides=2, padding=1)),
    "conv2d": ([IMAGE], lambda x: nn.conv2d(
        x, const(4, 3, 3, 2), strides=(2, 1), padding=(1, 0, 2, 1), dilation=(1, 2), groups=2)),
    "conv3d": ([(1, 2, 5, 6, 7)], lambda x: nn.conv3d(x, const(3, 2, 2, 3, 2))),
    "conv2d_transpose": ([IMAGE], lambda x: nn.conv2d_transpose(
        x, const(6, 4, 3, 2), strides=(2, 2), padding=(1, 0, 1, 0), output_padding=(1, 0))),
    "matmul": ([(2, 3, 4), (4, 5)], op.matmul),
    "reshape": ([IMAGE], lambda x: op.reshape(x, (2, 54, 8))),
    "layer_norm": ([(2, 3, 8)], lambda x: nn.layer_norm(x, const(8), const(8), axes=[-1])),
    "layer_norm unscaled": ([(2, 3, 8)], lambda x: nn.layer_norm(
        x, const(8), const(8), axes=[-1], center=False, scale=False)),
    "clip": ([IMAGE], lambda x: op.clip(x, 0.7, 1)),
    "strided_slice": ([IMAGE], lambda x: op.strided_slice(x, [1, 2], [0, 1], [6, 9], [2, 3])),
    "strided_slice by one": ([IMAGE], lambda x: op.strided_slice(x, [1], [-4], [5])),
    "resize2d": ([IMAGE], lambda x: op.image.resize2d(x, (18, 20))),
    "resize2d nearest": ([IMAGE], lambda x: op.image.resize2d(
        x, (18, 16), method="nearest_neighbor", coordinate_transformation_mode="asymmetric",
        rounding_method="floor")),
}

def built(shapes, make, dtype="float32"):
    params = [relax.Var(f"x{i}", relax.TensorType(shape, dtype)) for i, shape in enumerate(shapes)]
    builder = relax.BlockBuilder()
    with builder.function("main", params):
        with builder.dataflow():
            value = builder.emit(make(*params))
            result = builder.emit_output(value)
        builder.emit_func_output(result)
    return builder.get()
"""
COMPARE = """
import onnxruntime, onnx, tempfile
rng, worst = np.random.default_rng(0), {}
with tempfile.TemporaryDirectory() as folder:
    for index, (name, (shapes, make)) in enumerate(CASES.items()):
        mod = built(shapes, make)
        model, inputs, outs = relax_to_onnx.region(mod["main"])
        onnx.checker.check_model(model, full_check=True)
        assert model.opset_import[0].version == 13
        arrays = [rng.uniform(0.5, 1.5, shape).astype("float32") for shape in shapes]
        wanted = outputs(machine(mod, f"{folder}/{index}.so"), *arrays)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        found = session.run(outs, dict(zip(inputs, arrays)))
        assert [a.shape for a in found] == [a.shape for a in wanted], name
        worst[name] = max(float(abs(a - b).max()) for a, b in zip(found, wanted))
print(json.dumps(worst))
"""


@pytest.mark.slow
def test_each_operator_computes_the_same() -> None:
    worst = in_relax(CASES + COMPARE)
    assert len(worst) > 50
    assert {name: error for name, error in worst.items() if error > 1e-4} == {}


COVERED = """
from tvm.relax.backend.contrib import tensorrt
print(json.dumps(sorted({
    str(pattern.pattern.op.expr.name) for pattern in tensorrt.get_patterns_with_prefix("tensorrt")
    } - set(relax_to_onnx._CONVERT))))
"""


def test_every_operator_of_upstream_s_patterns_is_known_but_one() -> None:
    # It moves data by any formula; what comes from ONNX has none.
    assert in_relax(COVERED) == ["relax.layout_transform"]


REFUSED = """
n, m = tvm.tirx.Var("n", "int64"), tvm.tirx.Var("m", "int64")
cases = {
    "int64": ([(2, 3)], lambda x: op.add(x, x), "int64"),
    "cast": ([(2, 3)], lambda x: op.astype(x, "int32")),
    "weights": ([IMAGE, (4, 6, 3, 3)], nn.conv2d),
    "layout": ([IMAGE], lambda x: nn.conv2d(
        x, const(3, 3, 8, 4), data_layout="NHWC", kernel_layout="HWIO")),
    "uneven": ([IMAGE], lambda x: nn.adaptive_avg_pool2d(x, (2, 2))),
    "mean rounded up": ([IMAGE], lambda x: nn.avg_pool2d(x, (2, 2), (2, 2), ceil_mode=True)),
    "dilated": ([IMAGE], lambda x: nn.max_pool2d(x, (2, 2), dilation=(2, 2))),
    "free sizes": ([(n, m, 4)], lambda x: op.reshape(x, (m, n, 4))),
    "free axis": ([(n, 4)], lambda x: op.split(x, 2, axis=0)),
    "free image": ([(m, 2, n, n)], lambda x: op.image.resize2d(x, (8, 8))),
    "another": ([(2, 3)], op.sign),
}
said = {}
for name, case in cases.items():
    call = built(*case)["main"].body.blocks[0].bindings[0].value
    said[name] = relax_to_onnx.unfit(call)
    try:
        relax_to_onnx.region(built(*case)["main"])
    except relax_to_onnx.Unsupported as error:
        assert name in ("int64", "cast") or str(error) == said[name], (error, said[name])
    else:
        raise AssertionError(name)
print(json.dumps(said))
"""


def test_what_does_not_fit_is_refused_with_the_reason() -> None:
    said = in_relax(CASES + REFUSED)
    assert said == {
        "int64": "it takes int64, regions only FP32 and FP16",
        "cast": "astype is not put into ONNX",
        "weights": "its weights are no constant",
        "layout": "its layout is NHWC, not NCHW",
        "uneven": "its windows differ: [9, 8] to [2, 2]",
        "mean rounded up": "it rounds up the size of a mean's windows",
        "dilated": "its windows are dilated",
        "free sizes": "more than one of its sizes is free",
        "free axis": "it cuts an axis that is free",
        "free image": "the size of its image is free",
        "another": "sign is not put into ONNX",
    }


FREE = """
import onnxruntime, tempfile
n = tvm.tirx.Var("n", "int64")
mod = built([(n, 2, 4, 4)], lambda x: op.reshape(nn.relu(x), (n, 32)))
model, (name,), (out,) = relax_to_onnx.region(mod["main"])
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


TUPLES: Any = """
x = relax.Var("x", relax.TensorType((2, 6), "float32"))
builder = relax.BlockBuilder()
with builder.function("main", [x]):
    with builder.dataflow():
        a = builder.emit(op.split(x, 2, axis=1))
        out = builder.emit_output(relax.Tuple([a, x]))
    builder.emit_func_output(out)
try:
    relax_to_onnx.region(builder.get()["main"])
except relax_to_onnx.Unsupported as error:
    nested = str(error)
builder = relax.BlockBuilder()
with builder.function("main", [x]):
    with builder.dataflow():
        out = builder.emit_output(relax.Tuple([x, x, builder.emit(nn.relu(x))]))
    builder.emit_func_output(out)
model, _, outs = relax_to_onnx.region(builder.get()["main"])
import onnxruntime
given = np.array([[-1.0] * 6, [2.0] * 6], "float32")
found = onnxruntime.InferenceSession(model.SerializeToString()).run(outs, {"in0": given})
print(json.dumps([nested, [each[:, 0].tolist() for each in found]]))
"""


def test_outputs_that_are_inputs_and_tuples_in_tuples() -> None:
    nested, found = in_relax(CASES + TUPLES)
    assert nested == "a tuple in a tuple comes out of it"
    assert found == [[-1.0, 2.0], [-1.0, 2.0], [0.0, 2.0]]
