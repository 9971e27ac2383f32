"""Which dimensions are free, and how given sizes are written into the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tvmkd.base.errors import InputError
from tvmkd.export import sizes

PATH = Path("m.onnx")
Shape = Sequence[int | str | None] | None


def model(*shapes: Shape, name: str = "x") -> onnx.ModelProto:
    names = [name, *"yzuvw"]
    inputs = [
        helper.make_tensor_value_info(names[at], TensorProto.FLOAT, shape)
        for at, shape in enumerate(shapes)
    ]
    return helper.make_model(helper.make_graph([], "g", inputs, []))


def fixed(entry: onnx.ModelProto, **dims: int) -> list[list[int]]:
    found = sizes.fix(entry, PATH, {name.replace("_", "."): size for name, size in dims.items()})
    return [[dim.dim_value for dim in e.type.tensor_type.shape.dim] for e in found]


def refused(entry: onnx.ModelProto, dims: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        sizes.fix(entry, PATH, dims)
    assert str(caught.value).startswith("m.onnx: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("free", [-1, -2, None, "", "?", "None", "-1", "batch"])
def test_every_way_to_write_a_free_size_takes_one_by_axis(free: int | str | None) -> None:
    assert fixed(model([free, 3]), x_0=4) == [[4, 3]]
    assert fixed(model([free, 3]), _0=4) == [[4, 3]]
    with pytest.raises(InputError, match=r'axis 0 of input "x".*as in --dim'):
        fixed(model([free, 3]))


def test_a_name_stands_for_one_size_in_all_inputs() -> None:
    two = model(["n", 3], ["n", "m"])
    assert fixed(two, n=2, m=5) == [[2, 3], [2, 5]]


def test_one_axis_gives_its_name_a_size() -> None:
    assert fixed(model(["n", 3], ["n", 7]), x_0=2) == [[2, 3], [2, 7]]


def test_a_name_that_stands_for_two_sizes_needs_all_of_its_axes() -> None:
    assert fixed(model(["n"], ["n"]), x_0=2, y_0=3) == [[2], [3]]
    refused(model(["n"], ["n"], ["n"]), {"x.0": 2, "y.0": 3}, "x.0=2 and y.0=3 contradict")


def test_question_marks_are_not_one_name() -> None:
    assert fixed(model(["?", "?"]), x_0=2, x_1=3) == [[2, 3]]


def test_a_fixed_size_may_be_repeated_but_not_changed() -> None:
    assert fixed(model(["n", 3]), x_0=1, x_1=3) == [[1, 3]]
    refused(model([1, 3]), {"x.1": 4}, r"axis 1 .* fixed size 3, not 4")


def test_an_input_without_a_shape_takes_all_axes() -> None:
    assert fixed(model(None), x_0=1, x_1=2) == [[1, 2]]
    refused(model(None), {}, "--shape x:1x3x224x224")
    refused(model(None), {"x.1": 2}, "has no shape")


def test_what_is_not_there_is_named() -> None:
    refused(model(["batch"]), {"bacth": 1}, 'did you mean "batch"')
    refused(model([1]), {"batch": 1}, "it has none")
    refused(model([1, 2]), {"x.2": 1}, 'input "x" has 2 axes, so there is no axis 2')
    refused(model(["n"]), {"n": 0}, "it is at least 1")
    refused(model([0, 2]), {}, "has size 0 on axis 0")


def test_a_name_with_odd_characters_is_quoted_in_the_advice() -> None:
    refused(model(["floor(h/2)"]), {}, r"--dim 'floor\(h/2\)'=1")


def test_an_input_larger_than_the_memory_is_refused() -> None:
    refused(model(["n", 1024]), {"n": 10**11}, r"shape 100000000000x1024 has [\d,]+ GiB, more than")


def test_weights_are_no_inputs() -> None:
    entry = model([1], ["n"])
    entry.graph.initializer.append(helper.make_tensor("y", TensorProto.FLOAT, [1], [0.0]))
    assert fixed(entry) == [[1]]


@pytest.mark.parametrize(
    ("shapes", "dims", "assumed"),
    [
        ([["n", 3]], {}, {"n": 1}),
        ([["n", 3]], {"n": 2}, {}),
        ([["n", 3]], {"x.0": 2}, {}),
        ([["n", 3]], {".0": 2}, {}),
        ([["?", 3], ["n", "m"]], {}, {"x.0": 1, "n": 1}),
        ([["n", 3], [2, "n"]], {"y.1": 4}, {}),
        ([[1, "w"]], {}, {}),
        ([[-1, "w"]], {}, {"x.0": 1}),
        ([[]], {}, {}),
    ],
)
def test_a_free_first_axis_is_one(
    shapes: list[Shape], dims: dict[str, int], assumed: dict[str, int]
) -> None:
    assert sizes.free_batch(model(*shapes), dims) == assumed
