from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import convolution, save, weights

from tvmkd.base.errors import InputError
from tvmkd.export import check
from tvmkd.export.weights import check_finite


def planted(value: float, kind: type = np.float32) -> np.ndarray:
    values = weights().astype(kind)
    values[1, 0, 2, 2] = value
    values[3, 0, 0, 0] = value
    return values


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize(
    ("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")]
)
def test_bad_weights_are_named_and_counted(tmp_path, external, value, word):
    path = save(convolution(planted(value)), tmp_path / "m.onnx", external=external)
    with pytest.raises(InputError, match=f'weight "kernel": 2 of 108 values are {word}'):
        check(path)


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_precisions(tmp_path, kind):
    model = convolution(planted(np.nan, kind))
    with pytest.raises(InputError, match="kernel"):
        check_finite(model, tmp_path / "m.onnx")


def test_bfloat16(tmp_path):
    model = convolution()
    bad = helper.make_tensor("kernel", TensorProto.BFLOAT16, [2], [1.0, float("nan")])
    model.graph.initializer[0].CopyFrom(bad)
    with pytest.raises(InputError, match="1 of 2"):
        check_finite(model, tmp_path / "m.onnx")


def test_a_mask_may_be_minus_infinity_but_not_nan(tmp_path):
    def masked(value: float) -> onnx.ModelProto:
        mask = numpy_helper.from_array(np.array([0, value], np.float32), "mask")
        graph = helper.make_graph(
            [
                helper.make_node("Constant", [], ["fill"], value=mask),
                helper.make_node("Add", ["x", "fill"], ["y"]),
            ],
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)

    check_finite(masked(-np.inf), tmp_path / "m.onnx")
    with pytest.raises(InputError, match='"fill": 1 of 2 values are NaN'):
        check_finite(masked(np.nan), tmp_path / "m.onnx")


def test_integers_are_never_nan(tmp_path):
    model = convolution()
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 2]), "shape"))
    check_finite(model, tmp_path / "m.onnx")


@pytest.mark.parametrize("location", ["/etc/passwd", "../m.data", ""])
def test_data_outside_the_folder_is_not_read(tmp_path, location):
    path = save(convolution(), tmp_path / "m.onnx", external=True)
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="outside the model's folder"):
        check(path)
