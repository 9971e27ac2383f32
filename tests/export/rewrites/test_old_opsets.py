"""Models of old opsets mean the same in opset 13, in bodies of control flow too."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from lowered import numbers, one
from rewriting import close, inputs, run, text

from tvmkd.export.rewrites.old_opsets import raise_old
from tvmkd.export.site import Refused


def raised(model: onnx.ModelProto, feeds: dict[str, np.ndarray] | None = None) -> onnx.ModelProto:
    before = model.SerializeToString()
    result = raise_old(model, "a.onnx")
    assert model.SerializeToString() == before
    assert [entry.version for entry in result.opset_import if not entry.domain] == [13]
    feeds = inputs(model) if feeds is None else feeds
    close(run(result, feeds), run(model, feeds), 1e-6)
    return result


X = numbers(2, 3, 4, 4)


@pytest.mark.parametrize(
    ("opset", "operator", "values", "options"),
    [
        (12, "Squeeze", [numbers(1, 3, 1)], {"axes": [0, -1]}),
        (11, "Unsqueeze", [X], {"axes": [0, -1]}),
        (11, "ReduceSum", [X], {"axes": [1, -1], "keepdims": 0}),
        (9, "ReduceSum", [X], {}),
        (9, "Slice", [X], {"starts": [1, -2], "ends": [9, -1], "axes": [1, 3]}),
        (9, "Slice", [X], {"starts": [0, 1], "ends": [1, 3]}),
        (9, "TopK", [X], {"k": 2, "axis": 1, "outputs": 2}),
        (10, "Clip", [X], {"min": -0.5}),
        (7, "Clip", [X], {"max": 0.5, "min": -0.25}),
        (10, "Pad", [X], {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "value": 1.5}),
        (9, "Pad", [X], {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "mode": "reflect"}),
        (11, "Dropout", [X], {"ratio": 0.3}),
        (7, "Dropout", [X], {}),
        (10, "Scatter", [X, np.zeros((1, 1, 1, 2), np.int64), numbers(1, 1, 1, 2)], {"axis": 1}),
        (12, "Softmax", [X], {}),
        (12, "LogSoftmax", [X], {"axis": 2}),
        (11, "Hardmax", [X], {"axis": 0}),
        (11, "Softmax", [X], {"axis": 3}),
        (7, "Upsample", [X], {"scales": [1.0, 1.0, 2.0, 3.0], "mode": "nearest"}),
        (7, "Upsample", [X], {"scales": [1.0, 1.0, 2.0, 2.0], "mode": "linear"}),
        (9, "Upsample", [X, np.array([1, 1, 2, 2], np.float32)], {}),
        (10, "Resize", [X, np.array([1, 1, 1.7, 2], np.float32)], {"mode": "linear"}),
        (10, "Resize", [X, np.array([1, 1, 2.5, 2], np.float32)], {}),
        (10, "Resize", [X, np.array([1, 1, 0.6, 0.5], np.float32)], {}),
        (7, "BatchNormalization", [X, *np.abs(numbers(4, 3))], {}),
        (7, "PRelu", [X, numbers(3, 1, 1)], {}),
    ],
)
def test_each(opset, operator, values, options):
    raised(*one(operator, values, opset=opset, **options))


def test_parts_and_bodies():
    model = text(
        """(float[2, 6] x, bool c) => (float y, float z) {
            a, z = Split<axis = 1, split = [4, 2]>(x)
            y = If(c) <then_branch = one () => (float p) { p = Unsqueeze<axes = [0]>(a) },
                       else_branch = other () => (float q) { r = Softmax<axis = 0>(a)
                                                             q = Unsqueeze<axes = [0]>(r) }>
        }""",
        opset=11,
        ir=6,
    )
    for flag in (True, False):
        feeds = inputs(model) | {"c": np.array(flag)}
        raised(model, feeds)


def test_a_newer_model_is_itself():
    model, _ = one("Relu", [X], opset=13)
    assert raise_old(model, "a.onnx") is model


def test_before_opset_7_channels_had_their_slopes_and_axes_their_defaults():
    model, _ = one("PRelu", [X, np.array([0.1, 0.2, 0.3], np.float32)], opset=6)
    got = run(raise_old(model, "a.onnx"), {"x0": X})[0]
    slopes = np.array([0.1, 0.2, 0.3], np.float32).reshape(3, 1, 1)
    np.testing.assert_allclose(got, np.where(X < 0, X * slopes, X), rtol=1e-6)
    model, _ = one("Concat", [X, X], opset=1)
    assert run(raise_old(model, "a.onnx"), {"x0": X})[0].shape == (2, 6, 4, 4)


def test_what_has_no_new_form_is_named():
    scales = np.array([1, 1, 0.5, 2], np.float32)
    with pytest.raises(Refused, match=r"^Resize shrinks one axis and enlarges another"):
        raise_old(one("Resize", [X, scales], opset=10)[0], "a.onnx")
    model, _ = one("BatchNormalization", [X, *np.abs(numbers(4, 3))], opset=7, spatial=0)
    with pytest.raises(Refused, match=r"^BatchNormalization has spatial=0"):
        raise_old(model, "a.onnx")
