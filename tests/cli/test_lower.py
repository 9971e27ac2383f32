from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import relay_stack
import toys

pytestmark = pytest.mark.usefixtures("warm_worker")


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    return toys.onnx_file(tmp_path / "m.onnx")


@pytest.fixture(params=["relax", "relay"])
def stack(request: pytest.FixtureRequest) -> list[str]:
    """The options for a stack."""
    if request.param == "relax":
        return ["--stack", "relax"]
    return ["--stack", "relay", "--stack-python", relay_stack.relay_python()]


@pytest.fixture
def relay() -> list[str]:
    return ["--stack", "relay", "--stack-python", relay_stack.relay_python()]


def test_the_tasks_as_a_table(tvmkd: Any, onnx: Path, stack: list[str]) -> None:
    done = tvmkd("lower", onnx, *stack)
    assert done.code == 0, done.err
    head, *rows = [line.split() for line in done.out.splitlines() if line.strip()]
    assert head == ["kind", "weight", "GFLOP", "name"]
    (dense,) = [row for row in rows if row[0] == "dense"]
    assert dense[1] == "1"
    # 8 x 8 products and sums, and what of the activation is fused into it.
    assert 128e-9 <= float(dense[2]) <= 160e-9
    assert "GFLOP in all" in done.out


def test_the_same_as_json(tvmkd: Any, onnx: Path, stack: list[str]) -> None:
    done = tvmkd("lower", onnx, *stack, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert any(task["kind"] == "dense" for task in found["tasks"])
    assert found["inputs"] == [{"name": "x", "shape": [1, 8], "dtype": "float32"}]
    assert found["module"] is None


def test_the_module_as_text(tvmkd: Any, onnx: Path, stack: list[str]) -> None:
    done = tvmkd("lower", onnx, *stack, "--show")
    assert done.code == 0, done.err
    sign = "def @main(%x: Tensor[(1, 8), float32]" if "relay" in stack else "@R.function"
    assert sign in done.out


def test_a_free_size_that_is_given(tvmkd: Any, tmp_path: Path, stack: list[str]) -> None:
    free = toys.onnx_file(tmp_path / "free.onnx", shape=("batch", 8))
    done = tvmkd("lower", free, *stack, "--dim", "batch=3", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["inputs"][0]["shape"] == [3, 8]
    assert "is free" not in done.err
    done = tvmkd("lower", free, *stack)
    assert done.err.count("batch is free: batch=1 is used (--dim batch=N for another)") == 1


def test_a_model_that_is_not_there(tvmkd: Any, tmp_path: Path, stack: list[str]) -> None:
    done = tvmkd("lower", tmp_path / "m.onnx", *stack)
    assert done.code == 4
    assert done.line.startswith(f"{tmp_path / 'm.onnx'}: ")


def test_an_unknown_target(tvmkd: Any, onnx: Path) -> None:
    done = tvmkd("lower", onnx, "--target", "jetson-nanno")
    assert done.code == 4
    assert 'did you mean "jetson-nano"?' in done.line


def test_what_tensorrt_takes(tvmkd: Any, onnx: Path, relay: list[str]) -> None:
    done = tvmkd("lower", onnx, *relay, "--byoc", "tensorrt")
    assert done.code == 0, done.err
    assert done.out.startswith(
        "TensorRT 8.2.0 takes 2 of 2 operators, in 1 region, 100.0% of the multiply-accumulates\n"
        "in TensorRT: 1 nn.dense, 1 nn.relu\n"
    )
    assert "left in TVM" not in done.out
    found = json.loads(tvmkd("lower", onnx, *relay, "--byoc", "tensorrt", "--json").out)
    reason = found["byoc"]["available"]
    assert (f"cannot be built here: {reason}" in done.out) == (reason is not None)


def test_what_tensorrt_leaves(tvmkd: Any, tmp_path: Path, relay: list[str]) -> None:
    model = toys.onnx_file(tmp_path / "m.onnx", operator="Sign")
    done = tvmkd("lower", model, *relay, "--byoc", "tensorrt")
    assert done.code == 0, done.err
    assert "takes 1 of 2 operators, in 1 region," in done.out
    assert "left in TVM:\n  1 sign: TVM cannot convert it to TensorRT\n" in done.out
    done = tvmkd("lower", model, *relay, "--byoc", "tensorrt", "--json")
    left = json.loads(done.out)["byoc"]["left"]
    assert left == [{"name": "sign", "count": 1, "reasons": ["TVM cannot convert it to TensorRT"]}]


def test_a_board_s_gpu_needs_no_tvm_for_it(tvmkd: Any, onnx: Path, relay: list[str]) -> None:
    done = tvmkd(
        "lower", onnx, *relay, "--byoc", "tensorrt", "--target", "jetson-nano-gpu", "--show"
    )
    assert done.code == 0, done.err
    assert 'Compiler="tensorrt"' in done.out


def test_what_an_engine_takes_in_relax(tvmkd: Any, onnx: Path, tmp_path: Path) -> None:
    done = tvmkd("lower", onnx, "--byoc", "tensorrt", "--target", "jetson-nano-gpu")
    assert done.code == 0, done.err
    assert done.out == (
        "TensorRT takes 2 of 2 operators, in 1 region, 100.0% of the multiply-accumulates\n"
        "in TensorRT: 1 matmul, 1 nn.relu\n"
    )
    model = toys.onnx_file(tmp_path / "m.onnx", operator="Sign")
    done = tvmkd("lower", model, "--byoc", "onnxruntime")
    assert done.out.startswith("ONNX Runtime takes 1 of 2 operators, in 1 region,")
    assert "left in TVM:\n  1 sign: TVM cannot convert it to TensorRT\n" in done.out


def test_an_engine_that_the_stack_does_not_have_is_wrong_usage(tvmkd: Any, onnx: Path) -> None:
    done = tvmkd("lower", onnx, "--stack", "relay", "--byoc", "onnxruntime")
    assert done.code in (2, 5)  # 5 where there is no interpreter with the relay stack
    if done.code == 2:
        assert (
            "the relay stack cannot offload to onnxruntime; give --byoc one of tensorrt"
            in done.line
        )
