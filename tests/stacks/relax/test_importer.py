"""ONNX into Relax: shapes in and out, clipping as one operator, and one-line refusals."""

from __future__ import annotations

from pathlib import Path

import graphs
import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    from tvmkd.base.errors import InputError
    from tvmkd.stacks.relax import importer


@inside("relax")
def test_upstream_s_clip_is_back_after_an_import(tmp_path: Path) -> None:
    from tvm.relax.frontend.onnx import onnx_frontend

    before = onnx_frontend._get_convert_map
    importer.read(graphs.clipped(tmp_path / "m.onnx", 0.0, 1.0))
    assert onnx_frontend._get_convert_map is before


@inside("relax")
def test_inputs_and_outputs_have_names_shapes_and_dtypes(tmp_path: Path) -> None:
    model = importer.read(graphs.shuffle(tmp_path / "m.onnx"))
    assert model.inputs == [{"name": "x", "shape": [1, 24, 8, 8], "dtype": "float32"}]
    assert [out["shape"] for out in model.outputs] == [[1, 12, 8, 8], [1, 12]]
    assert {out["dtype"] for out in model.outputs} == {"float32"}
    assert model.sha256 == model.info.sha256
    assert model.fused is None


@inside("relax")
def test_what_cannot_be_imported_is_one_line_with_the_file(tmp_path: Path) -> None:
    g = graphs.Graph(2, 3)
    g.nodes.append(graphs.helper.make_node("Strange", ["x"], ["y"], domain="mine"))
    g.last = "y"
    path = tmp_path / "odd.onnx"
    graph = graphs.helper.make_graph(
        g.nodes, "graph", g.inputs, [graphs.helper.make_tensor_value_info("y", 1, [2, 3])]
    )
    opsets = [graphs.helper.make_opsetid("", 18), graphs.helper.make_opsetid("mine", 1)]
    graphs.onnx.save(graphs.helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    with pytest.raises(InputError) as caught:
        importer.read(path)
    assert str(path) in str(caught.value)
    assert "Strange" in str(caught.value)
    assert "\n" not in str(caught.value)
