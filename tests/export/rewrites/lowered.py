"""A model as text, lowered, and compared with itself in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
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
    feeds = inputs(model) if feeds is None else feeds
    close(run(result, feeds), run(model, feeds), tolerance)
    return result


def left(model: onnx.ModelProto) -> dict[str, str]:
    """Why nothing in the model could be lowered, by node."""
    result, reasons = lower(model, "a.onnx")
    assert [node.op_type for node in result.graph.node] == [n.op_type for n in model.graph.node]
    return reasons
