"""A profile put together from measurements that are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tvmkd.bench.kernel_profile import KernelProfile, attributed, profile
from tvmkd.bench.roofline import Roofline

LIMITS = Roofline(gflops=100.0, gbps=10.0, threads=2)
OUTPUTS = {"n0": ["t0"], "n1": ["t1"], "n2": ["t2"], "n3": ["t3"]}
PEERS = [
    {"name": "t1_nchwc", "op": "Conv", "us": 7.0},
    {"name": "n2", "op": "Gemm", "us": 5.0},
    {"name": "ReorderOutput", "op": "ReorderOutput", "us": 2.0},
    {"name": "n3", "op": "Softmax", "us": 1.0},
]


def row(kernel: str, us: float, *nodes: list[str], **more: Any) -> dict[str, Any]:
    return {
        "kernel": kernel, "calls": len(nodes), "us": us, "share": us / 20,
        "each_nodes": list(nodes),
        "each_us": [us / len(nodes)] * len(nodes), "starts_us": [0.0] * len(nodes), **more,
    }  # fmt: skip


ROWS: list[dict[str, Any]] = [
    row("conv", 8.0, ["n0", "n1"], flop=4000, bytes=100, gflops=50.0, kind="conv2d"),
    row("step", 3.0, ["n2"]),
    row("dense", 4.0, ["n2"], flop=100, bytes=100, gflops=5.0),
    row("other", 1.0, []),
    {"kernel": "(between kernels)", "calls": 1, "us": 4.0, "share": 0.2, "places": [],
     "run_us": 20.0},
]  # fmt: skip


def made(rows: list[dict[str, Any]] = ROWS) -> KernelProfile:
    return profile(Path("m.onnx"), Path("out"), rows, PEERS, OUTPUTS, LIMITS)


def test_a_node_of_onnx_runtime_is_found_by_name_or_output_without_what_it_adds() -> None:
    times, other = attributed([*PEERS, {"name": "t0_fused_nchwc", "op": "", "us": 0.5}], OUTPUTS)
    assert times == {"n0": 0.5, "n1": 7.0, "n2": 5.0, "n3": 1.0}
    assert other == 2.0


def test_a_kernel_has_its_nodes_its_share_of_the_limit_and_the_time_of_its_peer() -> None:
    conv, step, dense, other, between = made().kernels
    assert (conv.nodes, conv.kind, conv.peer_us) == (["n0", "n1"], "conv2d", 7.0)
    assert conv.intensity == 40.0  # above the knee of 10: limited by 100 GFLOP/s
    assert conv.of_limit == pytest.approx(0.5)
    assert dense.intensity == 1.0  # below: limited by 10 GB/s
    assert dense.of_limit == pytest.approx(0.5)
    assert (step.peer_us, dense.peer_us) == (None, None)  # they compute one node together
    assert (other.nodes, other.peer_us, other.of_limit) == ([], None, None)
    assert (between.us, between.nodes) == (4.0, [])


def test_the_sums_are_those_of_the_run_and_of_all_nodes() -> None:
    found = made()
    assert (found.run_us, found.peer_us, found.peer_other_us) == (20.0, 15.0, 3.0)
    assert made(ROWS[:4]).run_us == 16.0
    stored = found.to_dict()
    assert stored["roofline"] == {"gflops": 100.0, "gbps": 10.0, "threads": 2}
    assert stored["kernels"][0]["name"] == "conv"
