"""Each operator computes in ONNX what it computes in TVM; what ONNX cannot say is refused."""

from __future__ import annotations

import pytest
from in_relax import CASES, in_relax

pytestmark = pytest.mark.timeout(240)

COMPARE = """
import onnxruntime, onnx, tempfile
rng, worst = np.random.default_rng(0), {}
with tempfile.TemporaryDirectory() as folder:
    for index, (name, (shapes, make)) in enumerate(CASES.items()):
        mod = built(shapes, make)
        model, inputs, outs = to_onnx.region(mod["main"])
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
    } - set(onnx_operators._CONVERT))))
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
    "indices": ([(2, 3)], lambda x: op.take(x, relax.const([0, 3], "int64"), axis=1)),
    "from the end": ([(2, 3)], lambda x: op.take(x, relax.const(-1, "int64"), axis=1)),
    "free rows": ([(n, 3)], lambda x: op.take(x, relax.const([0], "int64"), axis=0)),
}
said = {}
for name, case in cases.items():
    call = built(*case)["main"].body.blocks[0].bindings[0].value
    said[name] = to_onnx.unfit(call)
    try:
        to_onnx.region(built(*case)["main"])
    except onnx_operators.Unsupported as error:
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
        "indices": "its indices are not all inside of the axis",
        "from the end": "its indices are not all inside of the axis",
        "free rows": "its indices are not all inside of the axis",
    }
