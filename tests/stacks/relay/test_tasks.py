"""Targets, hardware and tasks of the Relay stack."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from in_tvm import INSIDE, inside

from tvmkd.base.errors import TvmkdError

if INSIDE:
    import numpy as np
    import tvm
    from tvm import relay

    from tvmkd.stacks.relay import tasks
    from tvmkd.tuning.autoscheduler_log import task_key

X86 = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64-v3", "num-cores": 4}


def target(**changes: Any) -> dict[str, Any]:
    spec = {**X86, **changes}
    return {"name": "mine", "tvm": {key: each for key, each in spec.items() if each is not None}}


@inside("relay")
def test_a_kind_that_this_tvm_cannot_compile_for_is_refused() -> None:
    for kind in ("llvm", "c"):
        assert tasks.tvm_target({"tvm": {"kind": kind}}).kind.name == kind
    with pytest.raises(TvmkdError, match=r"^target mine: this TVM 0\..* is built without cuda"):
        tasks.tvm_target(target(kind="cuda"))


@inside("relay")
def test_arm_targets_get_the_schedules_for_arm() -> None:
    for triple, device in (
        ("aarch64-linux-gnu", "arm_cpu"),
        ("armv7l-linux-gnueabihf", "arm_cpu"),
        ("x86_64-linux-gnu", ""),
    ):
        goal = target(mtriple=triple, mcpu=None)
        assert tasks.tvm_target(goal).attrs.get("device", "") == device
        assert "device" not in goal["tvm"], "the target itself stays as it is"
    own = target(mtriple="aarch64-linux-gnu", mcpu=None, device="mine")
    assert tasks.tvm_target(own).attrs["device"] == "mine"


@inside("relay")
def test_cores_and_vectors_of_the_processor() -> None:
    for spec, cores, vector in (
        ({}, 4, 32),
        ({"mcpu": "x86-64-v4"}, 4, 64),
        ({"mcpu": "x86-64-v2"}, 4, 16),
        ({"num-cores": None}, 1, 32),
        ({"mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a57"}, 4, 16),
        ({"mtriple": "aarch64-linux-gnu", "mcpu": None}, 4, 16),
    ):
        found = tasks.hardware(target(**spec))
        assert (found.num_cores, found.vector_unit_bytes, found.cache_line_bytes) == (
            cores, vector, 64,
        ), spec  # fmt: skip


@inside("relay")
def test_kernels_are_recognised_by_their_names() -> None:
    for text, kind in (
        ("PaddedInput DepthwiseConv2d", "depthwise"),
        ("conv2d_transpose_nhwc", "conv2d_transpose"),
        ("conv2d_nhwc", "conv2d"),
        ("T_matmul_NT", "dense"),
        ("T_batch_matmul_NT batch_matmul", "batch_matmul"),
        ("adaptive_pool_sum", "pooling"),
        ("T_softmax_maxelem", "reduction"),
    ):
        assert tasks.kind_of(SimpleNamespace(compute_dag=text)) == kind
    for desc, name in (
        ("vm_mod_fused_nn_conv2d,fused_nn_conv2d_1", "fused_nn_conv2d"),
        ("fused_nn_dense", "fused_nn_dense"),
    ):
        assert tasks.name_of(SimpleNamespace(desc=desc)) == name


def convolutions() -> Any:
    """Two convolutions that are the same kernel, a dense layer, and an exponential."""
    x = relay.var("x", shape=(1, 8, 8, 4))
    y = x
    for _ in range(2):
        weight = relay.const(np.ones((3, 3, 4, 4), np.float32))
        layouts = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
        y = relay.nn.relu(relay.nn.conv2d(y, weight, padding=1, channels=4, **layouts))
    y = relay.nn.dense(relay.nn.batch_flatten(y), relay.const(np.ones((3, 256), np.float32)))
    outputs = relay.Tuple([y, relay.exp(x)])
    return relay.transform.InferType()(tvm.IRModule.from_expr(outputs))


@inside("relay")
def test_tasks_are_the_distinct_kernels_with_a_sum_most_work_first() -> None:
    found = tasks.tasks_of(convolutions(), target())
    assert [(task.kind, task.weight) for task in found] == [("conv2d", 2), ("dense", 1)]
    conv, dense = found
    assert conv.flop >= 2 * 8 * 8 * 4 * 3 * 3 * 4
    assert dense.flop == 2 * 3 * 256
    assert conv.key == task_key(conv.mod.workload_key)
    assert "conv2d" in conv.name
    assert "relu" in conv.name, "what follows is fused"
    assert conv.mod.hardware_params.vector_unit_bytes == 32
    assert str(conv.target.kind) == "llvm"
