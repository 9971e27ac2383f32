from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from small_nets import net

from tvmkd.base.errors import InputError
from tvmkd.tensorrt.options import BuildOptions
from tvmkd.tensorrt.profiles import free_inputs, ranges

WHERE = Path("net.onnx")


def two_inputs() -> onnx.ModelProto:
    def entry(name: str, shape: list[int | str | None]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    inputs = [entry("a", ["N", 3, "width"]), entry("b", [None, 4]), entry("c", [5])]
    graph = helper.make_graph([], "g", inputs, [])
    return helper.make_model(graph)


def test_a_fixed_model_needs_no_profile(tmp_path: Path) -> None:
    assert ranges(onnx.load(net(tmp_path / "m.onnx")), BuildOptions(), WHERE) == {}


def test_a_free_batch_has_three_shapes(tmp_path: Path) -> None:
    model = onnx.load(net(tmp_path / "m.onnx", "N"))
    found = ranges(model, BuildOptions(batch=(1, 4, 8)), WHERE)
    assert found == {"x": tuple((n, 3, 16, 16) for n in (1, 4, 8))}


def test_other_free_dimensions_get_one_size() -> None:
    model = two_inputs()
    assert free_inputs(model) == {"a": ["N", 3, "width"], "b": ["b.0", 4], "c": [5]}
    found = ranges(model, BuildOptions(batch=(1, 2, 4), dims={"width": 7, "b.0": 9}), WHERE)
    assert found == {"a": ((1, 3, 7), (2, 3, 7), (4, 3, 7)), "b": ((9, 4),) * 3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (BuildOptions(), 'dimension "N" of input "a" is free: give --batch 1:4:8'),
        (BuildOptions(batch=(1, 2, 4)), 'dimension "width" .* give --dim width=SIZE'),
        (BuildOptions(dims={"height": 4}), 'no free dimension "height"'),
    ],
)
def test_a_free_size_without_a_value_is_named(options: BuildOptions, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ranges(two_inputs(), options, WHERE)


def test_a_batch_for_a_fixed_model_is_refused(tmp_path: Path) -> None:
    model = onnx.load(net(tmp_path / "m.onnx"))
    with pytest.raises(InputError, match="its batch is fixed; export it with --dynamic-batch"):
        ranges(model, BuildOptions(batch=(1, 2, 4)), WHERE)
