"""GPU targets through the stack: no GPU is needed to build, and what does not pay is refused."""

from __future__ import annotations

from pathlib import Path

import cuda_compilers
import graphs
import onnx
import pytest
import recurrent_models
from onnx import TensorProto, helper

from tvmkd import targets
from tvmkd.base.errors import InputError
from tvmkd.stacks.client import StackClient

MISSING = cuda_compilers.missing()
pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
]
NANO = targets.load("jetson-nano-gpu").to_dict()


@pytest.fixture(scope="module")
def stack(relax_stack: StackClient) -> StackClient:
    return relax_stack


@pytest.mark.parametrize("name", graphs.ALL)
def test_every_graph_becomes_ptx_in_one_library(
    name: str, stack: StackClient, tmp_path: Path
) -> None:
    model = graphs.ALL[name](tmp_path / f"{name}.onnx")
    manifest = stack.build(model, NANO, [], tmp_path / "out")
    assert "its kernels run on cuda" in manifest["check"]["skipped"]
    library = (tmp_path / "out" / "model.so").read_bytes()
    assert library[18] == 0xB7  # EM_AARCH64
    assert b".version 6.4\n.target sm_53\n" in library
    assert b"__CUDACC_RTC__" not in library
    assert b"max.f32" not in library  # it drops NaN
    assert {each["schedule"] for each in manifest["coverage"]["untuned"]} == {"dlight default"}
    facts = [kernel.get("ptxas") for kernel in manifest["coverage"]["kernels"].values()]
    assert any(facts)
    assert all(fact["registers"] <= 255 for fact in facts if fact)


def test_kinds_are_told_by_the_operator(stack: StackClient, tmp_path: Path) -> None:
    lowered = stack.lower(graphs.separable(tmp_path / "m.onnx"), NANO)
    assert {"conv2d", "dense"} <= {task["kind"] for task in lowered["tasks"]}
    assert not any(task["template"] for task in lowered["tasks"])


def test_a_quantised_model_is_refused_with_the_targets_reason(
    stack: StackClient, tmp_path: Path
) -> None:
    scale = [
        onnx.numpy_helper.from_array(onnx.numpy_helper.np.array(value, dtype), name)
        for name, value, dtype in (("s", 0.1, "float32"), ("z", 0, "int8"))
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph(nodes, "q", ends[:1], ends[1:], scale)
    path = tmp_path / "int8.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    with pytest.raises(InputError, match=r"int8.onnx: is an INT8 model .*sm_53 has no dp4a"):
        stack.build(path, NANO, [], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_gpu_gets_recurrent_layers_step_by_step(stack: StackClient, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(recurrent_models.model("GRU", given="B"), path)
    names = [task["name"] for task in stack.lower(path, NANO)["tasks"]]
    assert "gru" not in names
    assert any("matmul" in name for name in names)
