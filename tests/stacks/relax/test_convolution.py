"""Which kernel a convolution becomes; `test_layout` checks that they compute the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    from tvm import relax

    from tvmkd.stacks.relax import convolution
    from tvmkd.stacks.relax.templates.cpu import Cpu


def attrs(**more: Any) -> Any:
    same = {"strides": [1, 1], "dilation": [1, 1], "padding": [1, 1, 1, 1], "groups": 1}
    return SimpleNamespace(**{**same, **more})


def made(
    weight: tuple[int, ...], size: int = 8, cpu: Any = None, **more: Any
) -> tuple[list[str], int]:
    """The kernels of a convolution of one image, and how often its input was asked for."""
    given = attrs(**more)
    builder, asked = relax.BlockBuilder(), 0
    x = relax.Var("x", relax.TensorType((1, size, size, weight[1] * given.groups), "float32"))

    def image() -> Any:
        nonlocal asked
        asked += 1
        return x

    with builder.function("main", [x]):
        with builder.dataflow():
            result = convolution.convolution(
                builder, image, np.ones(weight, np.float32), given, 1, [size, size], cpu or Cpu()
            )
            out = builder.emit_output(x if result is None else result)
        builder.emit_func_output(out)
    names = {name.name_hint for name in builder.get().functions} - {"main"}
    return sorted(names), asked


@inside("relax")
def test_the_kernel_for_each_kind() -> None:
    assert made((8, 4, 3, 3)) == (["conv2d"], 1)
    assert made((16, 1, 3, 3), groups=8) == (["depthwise_conv2d"], 1)
    assert made((32, 8, 3, 3), groups=2) == (["grouped_conv2d"], 1)
    assert made((32, 32, 3, 3), 16)[0] == ["winograd_input", "winograd_output", "winograd_product"]
    assert made((32, 32, 3, 3), 16, strides=[2, 2])[0] == ["conv2d"]


@inside("relax")
def test_the_core_decides_the_tiles() -> None:
    short = {"lanes": 4, "registers": 32, "fma": 1, "by_lane": True}
    kinds = ["winograd_input", "winograd_output", "winograd_product"]
    assert made((64, 16, 3, 3), 28)[0] == ["conv2d"], "the rule asks for 32 channels"
    assert made((64, 16, 3, 3), 28, Cpu(**short, line=25.0))[0] == kinds
    assert made((64, 16, 3, 3), 28, Cpu(**short, line=1000.0))[0] == ["conv2d"]


@inside("relax")
def test_an_input_is_not_moved_for_nothing() -> None:
    assert made((9, 2, 3, 3), groups=9) == ([], 0)


@pytest.mark.parametrize(
    ("shape", "other", "out", "ours"),
    [
        ((2, 4, 6), (2, 6, 8), [2, 4, 8], True),
        ((2, 3, 6), (2, 6, 8), [2, 3, 8], False),  # few rows
        ((2, 4, 6), (2, 6, 7), [2, 4, 7], False),  # few columns
        ((2, 4, 6), (1, 6, 8), [2, 4, 8], False),  # one matrix for all
    ],
)
@inside("relax")
def test_which_products_of_computed_matrices_are_packed(
    shape: list[int], other: list[int], out: list[int], ours: bool
) -> None:
    builder = relax.BlockBuilder()
    x, y = (
        relax.Var(name, relax.TensorType(size, "float32"))
        for name, size in (("x", shape), ("y", other))
    )
    with builder.function("main", [x, y]):
        with builder.dataflow():
            found = convolution.batch_matmul(builder, x, y, out, 8)
            result = builder.emit_output(x if found is None else found)
        builder.emit_func_output(result)
    assert (found is not None) == ours
