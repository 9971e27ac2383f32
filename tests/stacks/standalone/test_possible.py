from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from tvmkd import targets
from tvmkd.base.errors import UsageError
from tvmkd.base.exits import Exits
from tvmkd.base.frame_description import FrameOptions
from tvmkd.stacks.standalone import possible

HOST, GPU = targets.load("host"), targets.load("jetson-nano-gpu")
RISCV = dataclasses.replace(
    HOST, name="board", toolchain=targets.Toolchain("riscv64-linux-gnu", "2.35")
)


@pytest.mark.parametrize(
    ("target", "changes", "reason"),
    [
        (HOST, {"stack": "relay"}, "it is for --stack relax"),
        (HOST, {"byoc": "onnxruntime"}, "--byoc onnxruntime needs TVM's runtime"),
        (RISCV, {}, "it is for x86_64 and aarch64, and board is riscv64"),
        (GPU, {"frames": FrameOptions()}, "pre-processing is for CPU targets, .* runs on cuda"),
        (GPU, {"exits": Exits((0.5,))}, "early exits are for CPU targets, .* runs on cuda"),
    ],
)
def test_what_is_refused(target: targets.Target, changes: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=f"^--runtime standalone: {reason}$"):
        possible.check(target, **{"stack": "relax", "byoc": None, **changes})


@pytest.mark.parametrize("target", [HOST, GPU, targets.load("jetson-nano")])
def test_what_is_not(target: targets.Target) -> None:
    possible.check(target, "relax", None)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "its kernels run on an NVIDIA GPU, and there is none here"),
        ("5.0", "it is built for sm_53, and this GPU has 5.0"),
        ("5.3", None),
        ("12.0", None),
    ],
)
def test_whether_a_gpu_here_runs_it(
    found: str | None, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = None if found is None else SimpleNamespace(compute_capability=found)
    monkeypatch.setattr(possible.device, "find", lambda: gpu)
    here = dataclasses.replace(GPU, host=HOST.tvm, toolchain=HOST.toolchain)
    assert possible.why_not_here(here, "standalone") == reason
    assert possible.why_not_here(HOST, "standalone") is None
