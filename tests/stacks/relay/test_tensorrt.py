"""What TensorRT takes of a model; nothing here needs TensorRT, or a TVM that knows it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import graphs
import onnx
import pytest
import relay_stack
from onnx import TensorProto, helper

from tvmkd import targets
from tvmkd.runtime import interpreters
from tvmkd.stacks.client import StackClient

TARGET = targets.load("jetson-nano-gpu").to_dict()
NO_CONVERSION = "TVM cannot convert it to TensorRT"
NO_MATCH = "its arguments do not fit the pattern that TVM looks for"


@pytest.fixture(scope="module")
def stack() -> Iterator[StackClient]:
    with StackClient("relay", relay_stack.relay_python()) as client:
        yield client


def taken(stack: StackClient, model: Path, tensorrt: str = "8.2") -> dict[str, Any]:
    target = {**TARGET, "cuda": {**TARGET["cuda"], "tensorrt": tensorrt}}
    found: dict[str, Any] = stack.lower(model, target, byoc="tensorrt")["byoc"]
    assert found["operators"] == sum(found["offloaded"].values()) + sum(
        entry["count"] for entry in found["left"]
    )
    return found


def reasons(found: dict[str, Any]) -> dict[str, list[str]]:
    return {entry["name"]: entry["reasons"] for entry in found["left"]}


@pytest.mark.parametrize("name", ["separable", "attention", "shuffle", "pooled"])
def test_the_usual_students_go_in_whole(name: str, stack: StackClient, tmp_path: Path) -> None:
    found = taken(stack, graphs.ALL[name](tmp_path / "m.onnx"))
    assert (found["regions"], found["left"], found["mac_share"]) == (1, [], 1.0)
    assert found["version"] == "8.2.0"


def test_operators_are_counted_by_name(stack: StackClient, tmp_path: Path) -> None:
    found = taken(stack, graphs.separable(tmp_path / "m.onnx"))
    assert found["offloaded"]["nn.conv2d"] == 3
    assert found["offloaded"]["nn.dense"] == 1
    assert found["offloaded"]["clip"] == 1


def test_an_operator_that_tensorrt_lacks_splits_the_model(
    stack: StackClient, tmp_path: Path
) -> None:
    g = graphs.Graph(1, 3, 8, 8)
    g.conv(3, 8)
    g.add("ArgMax", axis=1, keepdims=1)
    g.add("Cast", to=TensorProto.FLOAT)
    g.conv(1, 4)
    found = taken(stack, g.save(tmp_path / "m.onnx"))
    assert found["regions"] == 2
    assert found["offloaded"]["nn.conv2d"] == 2
    assert reasons(found) == {"argmax": [NO_CONVERSION], "cast": [NO_CONVERSION]}
    assert found["mac_share"] == 1.0


def test_upstream_s_own_reasons(stack: StackClient, tmp_path: Path) -> None:
    g = graphs.Graph(2, 3, 8, 8)
    g.conv(3, 8)
    g.add("Add", g.weight(2, 8, 8, 8))
    g.conv(8, 8)
    g.add("Erf")
    model = g.save(tmp_path / "m.onnx")
    batched = {"add": ["bug in TRT with adding batched constants."]}
    assert reasons(taken(stack, model)) == batched
    assert reasons(taken(stack, model, tensorrt="6.0")) == {
        **batched,
        "erf": ["requires TensorRT version 7.0.0 or higher."],
    }


def test_what_is_left_for_no_reason_that_upstream_gives(stack: StackClient, tmp_path: Path) -> None:
    g = graphs.Graph(1, 3, 8, 8)
    g.inputs.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 3, 3, 3]))
    g.add("Conv", "w", pads=[1, 1, 1, 1])  # weights that are no constant
    g.conv(3, 9, kernel=1)
    found = taken(stack, g.save(tmp_path / "m.onnx"))
    assert reasons(found) == {"nn.conv2d": [NO_MATCH]}
    # 9 x 3 products a pixel in TVM, 3 x 9 in TensorRT, and its bias.
    assert found["mac_share"] == pytest.approx(27 / (27 + 81))


def test_a_model_without_any_products(stack: StackClient, tmp_path: Path) -> None:
    g = graphs.Graph(1, 8)
    g.add("Relu")
    found = taken(stack, g.save(tmp_path / "m.onnx"))
    assert (found["offloaded"], found["mac_share"]) == ({"nn.relu": 1}, None)


def test_the_module_is_shown_in_regions(stack: StackClient, tmp_path: Path) -> None:
    model = graphs.separable(tmp_path / "m.onnx")
    lowered = stack.lower(model, TARGET, show=True, byoc="tensorrt")
    assert 'Compiler="tensorrt"' in lowered["module"]
    assert 'Composite="tensorrt.nn.conv2d"' in lowered["module"]
    assert lowered["tasks"] == []
    assert lowered["inputs"][0]["shape"] == [1, 3, 20, 20]


def test_the_reason_says_what_to_build(stack: StackClient, tmp_path: Path) -> None:
    reason = taken(stack, graphs.separable(tmp_path / "m.onnx"))["available"]
    if reason is None:
        pytest.skip("this TVM has TensorRT's code generator")
    assert "\n" not in reason
    for part in (
        "-DUSE_CUDA=ON -DUSE_TENSORRT_CODEGEN=ON",
        "-DUSE_TENSORRT_RUNTIME=<TensorRT root>",
        "TVM 0.18 or 0.19",
        "TensorRT 8.2, CUDA 10.2",
    ):
        assert part in reason


START = """
import json, sys
from tvmkd.tuning import tuner_backend
tuner_backend.of("relay").import_compiler()
import numpy as np
import tvm
from tvm import relay
from tvm.relay.op.contrib import tensorrt
from tvmkd.base.errors import MissingError
from tvmkd.stacks.relay import importer as relay_import, tensorrt as relay_tensorrt
"""


def in_relay(script: str, *argv: Path) -> Any:
    """What a script prints last, as JSON, run in the relay stack's interpreter."""
    interpreter = interpreters.find("relay", relay_stack.relay_python())
    done = subprocess.run(
        [interpreter.python, "-c", START + script, *argv],
        env={**os.environ, **interpreter.environment()},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


PARTITION = """
mod = relay_import.read(sys.argv[1]).mod
before = mod.astext()
parts = relay.transform.InferType()(relay_tensorrt.partition(mod))
assert mod.astext() == before
assert not tensorrt.is_tensorrt_compiler_enabled() or relay_tensorrt.available() is None
names = [v for v in parts.get_global_vars() if v.name_hint != "main"]
whole = relay.transform.InlineCompilerFunctionsBoundTo(names)(parts)
given = np.random.default_rng(0).standard_normal((1, 24, 14, 14)).astype("float32")

def outputs(module):
    from tvm.contrib import graph_executor
    with tvm.transform.PassContext(opt_level=3):
        library = relay.build(module, target="llvm -mtriple=x86_64-linux-gnu")
    run = graph_executor.GraphModule(library["default"](tvm.cpu()))
    run.run(x=given)
    return run.get_output(0).numpy()

np.testing.assert_allclose(outputs(whole), outputs(mod), rtol=1e-5, atol=1e-5)
print(json.dumps([list(map(int, parts["main"].checked_type.ret_type.shape)), len(names)]))
"""


def test_a_partitioned_module_has_types_and_computes_the_same(tmp_path: Path) -> None:
    shape, regions = in_relay(PARTITION, graphs.attention(tmp_path / "m.onnx"))
    assert (shape, regions) == ([1, 40, 14, 14], 1)


PRETEND = """
mod = relay_import.read(sys.argv[1]).mod
try:
    relay_tensorrt.compile_with(mod, tvm.target.Target("llvm"))
except MissingError as error:
    assert str(error) == relay_tensorrt.available()
else:
    assert relay_tensorrt.available() is None
seen = []
relay.build = lambda module, target: seen.append((module, target)) or "library"
with relay_tensorrt._assuming(relay_tensorrt.options((8, 2, 1), True)) as pretended:
    assert relay_tensorrt.available() is None
    relay_tensorrt.tensorrt_target = lambda version, fp16: pretended
    found = relay_tensorrt.compile_with(mod, tvm.target.Target("llvm"), (8, 2, 1), True)
assert found == "library"
((module, target),) = seen
assert target[1] is pretended and target[0].kind.name == "llvm"
print(json.dumps([v.name_hint for v in module.get_global_vars()]))
"""


def test_compiling_is_refused_here_and_would_build_the_regions(tmp_path: Path) -> None:
    names = in_relay(PRETEND, graphs.separable(tmp_path / "m.onnx"))
    assert sorted(names) == ["main", "tvmgen_default_tensorrt_main_0"]


MACS = """
def macs(call):
    typed = relay.transform.InferType()(tvm.IRModule.from_expr(call))
    return relay_tensorrt.macs_of(typed["main"].body)

def var(*shape):
    return relay.var("v", shape=shape)

print(json.dumps([
    macs(relay.nn.conv1d(var(2, 6, 10), var(4, 6, 3))),
    macs(relay.nn.conv2d(var(1, 6, 9, 9), var(4, 3, 3, 3), groups=2)),
    macs(relay.nn.conv2d(var(1, 9, 9, 6), var(3, 3, 6, 4), data_layout="NHWC",
                         kernel_layout="HWIO", kernel_size=(3, 3), channels=4)),
    macs(relay.nn.conv2d_transpose(var(1, 6, 5, 5), var(6, 4, 2, 2), strides=(2, 2),
                                   channels=4, kernel_size=(2, 2))),
    macs(relay.nn.dense(var(2, 5, 7), var(3, 7))),
    macs(relay.nn.batch_matmul(var(2, 5, 7), var(2, 3, 7))),
    macs(relay.nn.batch_matmul(var(2, 5, 7), var(2, 7, 3), transpose_b=False)),
    macs(relay.nn.batch_matmul(var(2, 7, 5), var(2, 3, 7), transpose_a=True)),
    macs(relay.nn.relu(var(2, 5))),
]))
"""


def test_multiply_accumulates() -> None:
    assert in_relay(MACS) == [
        2 * 4 * 8 * 6 * 3,
        4 * 7 * 7 * 3 * 9,
        4 * 7 * 7 * 6 * 9,
        6 * 5 * 5 * 4 * 4,
        2 * 5 * 7 * 3,
        *[2 * 5 * 7 * 3] * 3,
        0,
    ]


@pytest.mark.slow
def test_a_residual_network_of_torchvision(stack: StackClient, tmp_path: Path) -> None:
    import torch
    import torchvision

    torch.manual_seed(0)
    network = torchvision.models.resnet18()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.bias)  # else there is nothing to add after folding
    path = tmp_path / "resnet18.onnx"
    torch.onnx.export(network.eval(), (torch.zeros(1, 3, 224, 224),), path, dynamo=True)
    assert onnx.load(path, load_external_data=False).graph.node
    found = taken(stack, path)
    assert (found["regions"], found["left"], found["mac_share"]) == (1, [], 1.0)
    assert found["offloaded"]["nn.conv2d"] == 20
    assert found["offloaded"]["nn.bias_add"] == 20
