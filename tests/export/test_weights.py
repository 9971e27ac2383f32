from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import convolution, save, weights

from tvmkd.base.errors import InputError
from tvmkd.export import check
from tvmkd.export.weights import check_external, check_finite, load, load_external


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


def place(path, **facts: str):
    """Changes where the file says that its weights are."""
    model = onnx.load(str(path), load_external_data=False)
    (tensor,) = model.graph.initializer
    kept = {entry.key: entry.value for entry in tensor.external_data} | facts
    del tensor.external_data[:]
    for key, value in kept.items():
        if value:
            tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    "facts",
    [{"offset": "abc"}, {"offset": "-4"}, {"length": "-1"}, {"length": "1e3"}, {"length": "8"}],
)
def test_a_damaged_place_of_weights_is_one_line(tmp_path, facts):
    path = save(convolution(), tmp_path / "m.onnx", external=True)
    place(path, **facts)
    with pytest.raises(InputError, match=r'weight "kernel": its place in m\.onnx\.data is damaged'):
        check(path)


def test_without_a_length_the_shape_says_how_much_there_must_be(tmp_path):
    path = save(convolution(), tmp_path / "m.onnx", external=True)
    place(path, length="")
    assert check(path).external
    data = tmp_path / "m.onnx.data"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"m\.onnx\.data: cut short"):
        check(path)


def test_external_weights_are_read_into_the_model(tmp_path):
    path = save(convolution(), tmp_path / "m.onnx", external=True)
    model = onnx.load(str(path), load_external_data=False)
    assert check_external(model, path) == [tmp_path / "m.onnx.data"]
    load_external(model, path)
    (tensor,) = model.graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), weights())
    assert not check_external(model, path)


def test_a_file_elsewhere_is_loaded_with_the_weights_beside_the_users(tmp_path):
    path = save(convolution(), tmp_path / "m.onnx", external=True)
    (tmp_path / "work").mkdir()
    compiled = tmp_path / "work" / "n.onnx"
    compiled.write_bytes(path.read_bytes())
    (kernel,) = load(compiled, path).graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(kernel), weights())


def test_weights_above_a_size_stay_outside(tmp_path):
    path = save(convolution(), tmp_path / "m.onnx", external=True)
    for most, location in ((431, TensorProto.EXTERNAL), (432, TensorProto.DEFAULT)):
        model = onnx.load(path, load_external_data=False)
        load_external(model, path, most)
        assert model.graph.initializer[0].data_location == location
