from __future__ import annotations

import models
import numpy as np
import onnx
import pytest

from tvmkd.export.outputs import OutputFacts, facts_of, sources

X = models.value("x", shape=[1, 4])
SCALE = np.float32(0.1)


def facts(nodes: list[onnx.NodeProto], *outputs: onnx.ValueInfoProto, **weights) -> list:
    return facts_of(models.model(nodes, [X], list(outputs), **weights))


def test_each_output_has_the_precision_of_what_computes_it() -> None:
    q = models.value("q", onnx.TensorProto.INT8)
    nodes = [
        models.node("Relu", "x", "plain"),
        models.node("QuantizeLinear", "x s", "q"),
        models.node("DequantizeLinear", "q s", "back"),
        models.node("Cast", "x", "h", to=models.HALF),
        models.node("Exp", "h", "e"),
        models.node("Cast", "e", "f", to=models.FLOAT),
    ]
    found = facts(nodes, models.value("plain"), q, models.value("back"), models.value("f"), s=SCALE)
    assert [(each.name, each.precision) for each in found] == [
        ("plain", "float32"), ("q", "qdq"), ("back", "qdq"), ("f", "float16"),
    ]  # fmt: skip
    assert [each.quantised for each in found] == [False, True, False, False]


def test_an_integer_is_of_a_quantiser_behind_operators_that_move_it() -> None:
    nodes = [models.node("QuantizeLinear", "x s z", "q"), models.node("Flatten", "q", "y")]
    (found,) = facts(nodes, models.value("y", onnx.TensorProto.UINT8), s=SCALE, z=np.uint8(3))
    assert found.quantised
    nodes = [models.node("Cast", "x", "y", to=onnx.TensorProto.UINT8)]
    (found,) = facts(nodes, models.value("y", onnx.TensorProto.UINT8))
    assert not found.quantised


@pytest.mark.parametrize(
    ("kind", "outputs", "attributes", "name", "expected"),
    [
        ("ArgMax", "y", {"axis": 1}, "y", ("r", 1)),
        ("ArgMin", "y", {}, "y", ("r", 0)),
        ("TopK", "v y", {"axis": -1}, "y", ("r", -1)),
        ("TopK", "y v", {}, "y", ("", 0)),
    ],
)
def test_indices_have_the_tensor_that_they_point_into(
    kind: str, outputs: str, attributes, name: str, expected
) -> None:
    inputs = "r k" if kind == "TopK" else "r"
    nodes = [models.node("Relu", "x", "r"), models.node(kind, inputs, outputs, **attributes),
             models.node("Squeeze", name, "out")]  # fmt: skip
    (found,) = facts(nodes, models.value("out", models.INT64), k=np.array([1]))
    assert (found.source, found.axis) == expected


@pytest.mark.parametrize(
    ("kind", "source"), [(models.FLOAT, "r"), (models.HALF, "r"), (models.BOOL, "")]
)
def test_indices_stay_indices_in_another_type_that_holds_them(kind: int, source: str) -> None:
    nodes = [models.node("Relu", "x", "r"), models.node("ArgMax", "r", "i", axis=1),
             models.node("Cast", "i", "out", to=kind)]  # fmt: skip
    (found,) = facts(nodes, models.value("out", kind))
    assert found.source == source


def test_sources_are_named_once() -> None:
    one, other = OutputFacts("a", "float32", source="x"), OutputFacts("b", "float32")
    assert sources([one, other, one]) == ["x"]
