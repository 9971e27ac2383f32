"""The ONNX node at which TVM's importer failed, from a traceback like the importer's."""

from __future__ import annotations

import pytest
from onnx import NodeProto, helper

from tvmkd.stacks.failed_node import failed_at, named


def _construct_nodes(node: NodeProto, inner: NodeProto | None = None) -> None:
    """Raises from a frame like that of TVM's importer; with ``inner``: in the body of a loop."""
    if inner is not None:
        _construct_nodes(inner)
    raise ValueError("no")


def test_the_innermost_node_is_found() -> None:
    outer = helper.make_node("Loop", [], ["a"], name="loop")
    inner = helper.make_node("Resize", ["x"], ["y"])
    with pytest.raises(ValueError, match="no") as caught:
        _construct_nodes(outer)
    assert named(failed_at(caught.value)) == 'Loop (node "loop")'
    with pytest.raises(ValueError, match="no") as caught:
        _construct_nodes(outer, inner)
    assert named(failed_at(caught.value)) == 'Resize (node "y")'


def test_an_error_from_elsewhere_has_no_node() -> None:
    assert failed_at(ValueError("x")) is None
    assert named(None) == "it"
    assert named(helper.make_node("Loop", [], [])) == 'Loop (node "?")'
