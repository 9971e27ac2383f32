from __future__ import annotations

import models
import numpy as np
import onnx
import pytest

from tvmkd.export.value_ranges import Values, values_of

TABLE = np.zeros((50, 4), np.float32)


def found(nodes: list[onnx.NodeProto], kind: int = models.INT64, **weights) -> Values:
    model = models.model(
        nodes, [models.value("ids", kind, [1, 3])], [models.value("y", 0)], **weights
    )
    return values_of(onnx.shape_inference.infer_shapes(model), "ids")


@pytest.mark.parametrize(
    ("nodes", "weights", "size"),
    [
        ([models.node("Gather", "t ids", "y")], {"t": TABLE}, 50),
        ([models.node("Gather", "t ids", "y", axis=-1)], {"t": TABLE}, 4),
        ([models.node("GatherElements", "t ids", "y", axis=1)], {"t": TABLE}, 4),
        ([models.node("OneHot", "ids d v", "y")], {"d": np.array(7), "v": np.array([0, 1])}, 7),
        ([models.node("Add", "ids one", "y")], {"one": np.array(1)}, None),
    ],
)
def test_an_index_stays_inside_what_it_points_into(nodes, weights, size: int | None) -> None:
    assert found(nodes, **weights).size == size


@pytest.mark.parametrize(
    ("kind", "at", "expected"),
    [
        ("BitShift", 1, Values(8)), ("Pow", 1, Values(4)), ("Tile", 1, Values(2)),
        ("BitShift", 0, Values(None)), ("Div", 1, Values(None, least=1)), ("Div", 0, Values(None)),
    ],
)  # fmt: skip
def test_operands_stay_where_the_result_is_defined(kind: str, at: int, expected: Values) -> None:
    inputs = "other ids" if at else "ids other"
    assert found([models.node(kind, inputs, "y")], other=np.array([3, 4, 5])) == expected


def test_an_index_is_followed_through_casts_and_reshapes_to_the_smallest_table() -> None:
    nodes = [
        models.node("Cast", "ids", "c", to=models.INT64),
        models.node("Unsqueeze", "c a", "u"),
        models.node("Gather", "small u", "y"),
        models.node("Gather", "t ids", "other"),
    ]
    weights = {"a": np.array([0]), "small": TABLE[:9], "t": TABLE}
    assert found(nodes, onnx.TensorProto.INT32, **weights) == Values(9)


def test_an_index_inside_a_branch_counts() -> None:
    body = onnx.helper.make_graph(
        [models.node("Gather", "t ids", "row")], "b", [], [models.value("row")]
    )
    nodes = [models.node("If", "flag", "y", then_branch=body, else_branch=body)]
    assert found(nodes, t=TABLE, flag=np.array(True)).size == 50


def test_constants_that_it_is_compared_with_are_points() -> None:
    nodes = [
        models.node("Equal", "ids two", "e"),
        models.node("Constant", "", "limit", value_ints=[3]),
        models.node("Less", "five ids", "y"),
    ]
    values = found(nodes, two=np.array(2), five=np.array([5]))
    assert values == Values(None, (2, 5))
