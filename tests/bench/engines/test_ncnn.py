from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from peers import check, prepared, unknown

from tvmkd.base.errors import InputError
from tvmkd.bench.engines.ncnn import NcnnEngine, batches, layers

NEEDED = NcnnEngine.lacks_package("ncnn")


def test_the_axis_of_the_batch_is_read_from_the_script() -> None:
    script = """
            ex.input("in0", ncnn.Mat(in0.numpy(), batch_index=0).clone())
            ex.input("in1", ncnn.Mat(in1.numpy(), batch_index=233).clone())
            _, out0 = ex.extract("out0")
            out.append(torch.from_numpy(out0.numpy(batch_index=1)))
"""
    assert batches(script) == {"in0": 0, "in1": 233, "out0": 1}


def test_each_type_of_layer_is_listed_once() -> None:
    param = "7767517\n3 3\nInput  in0  0 1 in0\nReLU a 1 1 in0 1\nReLU b 1 1 1 out0\n"
    assert layers(param) == ["Input", "ReLU"]


@pytest.mark.skipif(NEEDED is not None, reason=str(NEEDED))
def test_runs_in_fp32_on_the_given_threads(tmp_path: Path) -> None:
    engine = check("ncnn", tmp_path)
    facts = engine.facts()
    assert (facts["num_threads"], facts["reduced_precision"]) == (1, [])
    assert (engine.size_bytes() or 0) > 4 * 12


@pytest.mark.skipif(NEEDED is not None, reason=str(NEEDED))
def test_a_file_that_it_does_not_convert_is_named_with_the_reason(tmp_path: Path) -> None:
    path = unknown(tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"m\.onnx: not converted: .*my\.ops:Foo"):
        prepared("ncnn", path, {"x": np.zeros((1, 3), np.float32)})
    with pytest.raises(InputError, match=r"no inputs of float64 \(input x\)"):
        prepared("ncnn", path, {"x": np.zeros((1, 3))})


@pytest.mark.skipif(NEEDED is not None, reason=str(NEEDED))
def test_a_layer_that_it_lacks_is_named(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["x", "patches"], ["a"]),
            helper.make_node("Transpose", ["a"], ["b"], perm=[0, 1, 3, 5, 2, 4]),
            helper.make_node("Reshape", ["b", "flat"], ["y"]),
        ],
        "unfold",
        [value("x", TensorProto.FLOAT, [1, 4, 8, 8])],
        [value("y", TensorProto.FLOAT, [1, 4, 4, 16])],
        [
            helper.make_tensor("patches", TensorProto.INT64, [6], [1, 4, 4, 2, 4, 2]),
            helper.make_tensor("flat", TensorProto.INT64, [4], [1, 4, 4, 16]),
        ],
    )
    path = tmp_path / "m.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    with pytest.raises(InputError, match=r"m\.onnx: ncnn has no layer for .*: Tensor\.reshape"):
        prepared("ncnn", path, {"x": np.ones((1, 4, 8, 8), np.float32)})
