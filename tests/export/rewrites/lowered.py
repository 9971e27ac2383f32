"""Models that are lowered and compared with themselves in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper
from rewriting import close, inputs, run

from tvmkd.export.rewrites import lower


def same(
    model: onnx.ModelProto,
    feeds: dict[str, np.ndarray] | None = None,
    tolerance: float = 1e-6,
    without: str = "",
) -> onnx.ModelProto:
    """The lowered model: it has no node of ``without`` and gives the same outputs."""
    before = model.SerializeToString()
    result, reasons = lower(model, "a.onnx")
    assert model.SerializeToString() == before
    assert reasons == {}
    assert not {node.op_type for node in result.graph.node} & set(without.split())
    assert {node.domain for node in result.graph.node} <= {""}
    feeds = inputs(model) if feeds is None else feeds
    close(run(result, feeds), run(model, feeds), tolerance)
    return result


def left(model: onnx.ModelProto) -> dict[str, str]:
    """Why nothing in the model could be lowered, by node."""
    result, reasons = lower(model, "a.onnx")
    assert [node.op_type for node in result.graph.node] == [n.op_type for n in model.graph.node]
    return reasons


def one(
    operator: str,
    values: list[np.ndarray | None],
    outputs: int = 1,
    *,
    domain: str = "",
    opset: int = 17,
    fed: int = 1,
    **attributes,
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A model of one node, and what to feed it: the first ``fed`` inputs; others are weights."""
    names = [f"x{index}" if value is not None else "" for index, value in enumerate(values)]
    results = [f"y{index}" for index in range(outputs)]
    node = helper.make_node(operator, names, results, "node", domain=domain, **attributes)
    graph = helper.make_graph(
        [node],
        "net",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
            )
            for name, value in zip(names[:fed], values[:fed], strict=True)
        ],
        [onnx.ValueInfoProto(name=name) for name in results],
        [
            numpy_helper.from_array(value, name)
            for name, value in zip(names[fed:], values[fed:], strict=True)
            if name
        ],
    )
    versions = [helper.make_opsetid("", opset)]
    if domain:
        versions.append(helper.make_opsetid(domain, 1))
    model = helper.make_model(graph, opset_imports=versions, ir_version=10)
    return model, dict(zip(names[:fed], values[:fed], strict=True))


def check(operator: str, values: list[np.ndarray | None], tolerance: float = 2e-6, **options):
    """`one`, then `same`: the operator is gone."""
    model, feeds = one(operator, values, **options)
    return same(model, feeds, tolerance, without=operator)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal numbers in float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def integers(*shape: int, kind: type = np.uint8, seed: int = 0) -> np.ndarray:
    """All integers of a type of 8 or 16 bits, at random."""
    limits = np.iinfo(kind)
    rng = np.random.default_rng(seed)
    return rng.integers(limits.min, limits.max + 1, shape).astype(kind)
