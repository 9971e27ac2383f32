from __future__ import annotations

import dataclasses
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
