"""Simple schedules for kernels that have no template."""

from __future__ import annotations

import math
from typing import Any

import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    import numpy as np
    import template_cases as cases
    from template_cases import PARALLEL, UNROLLED, VECTORIZED, loops, tensor
    from tvm import topi

    from tvmkd.stacks.relax.templates import plain, plain_space
    from tvmkd.stacks.relax.templates.cpu import Cpu


def kernel(which: str) -> list[Any]:
    if which == "product":
        left, right = tensor(2, 3, 9), tensor(2, 9, 16, name="y")
        return [left, right, topi.nn.batch_matmul(left, right, transpose_b=False)]
    if which == "channels first":
        x = tensor(1, 3, 8, 10)
        return [x, topi.nn.pool2d(x, (3, 3), (2, 2), (1, 1), (1, 1, 1, 1), "max", layout="NCHW")]
    x = tensor(2, 5, 7)
    return [x, topi.nn.softmax(x, axis=1)]


@pytest.mark.parametrize("which", ["product", "channels first", "several sums"])
@inside("relax")
def test_members_compute_what_the_kernel_does(which: str) -> None:
    mod = cases.module(*kernel(which))
    space = plain_space(mod, Cpu(threads=2))
    assert space is not None
    found = [member for member in map(space.member, range(space.size or 0)) if member is not None]
    assert found
    wanted, *outputs = cases.run([mod, *(found[i].schedule.mod for i in (0, -1))])
    for output in outputs:
        np.testing.assert_allclose(output, wanted, rtol=1e-5)


@inside("relax")
def test_sums_side_by_side_in_vectors() -> None:
    config = {"parallel": True, "width": 16, "tile": 4}
    made = cases.applied(plain, config, *kernel("product"))
    block = cases.names(made)[0]
    assert loops(made, block)[0] == (PARALLEL, 2)
    assert (VECTORIZED, 16) in loops(made, block)


@inside("relax")
def test_only_the_tile_is_straight_line_code() -> None:
    x = tensor(1, 64, 56, 56)
    pool = topi.nn.pool2d(x, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), "max", layout="NCHW")
    made = cases.applied(plain, {"parallel": True, "width": 8, "tile": 4}, x, pool)
    for block in cases.names(made):
        unrolled = [extent for kind, extent in loops(made, block) if kind == UNROLLED]
        assert math.prod(unrolled) <= 4


@inside("relax")
def test_threads_come_first_where_there_is_much_to_do() -> None:
    def flags(*tensors: Any, threads: int = 2) -> list[bool]:
        return [
            c["parallel"] for c in plain.configs(cases.schedule(*tensors), Cpu(threads=threads))
        ]

    little, much = cases.scaled(4, 24), cases.scaled(64, 512)
    assert flags(*little) == sorted(flags(*little))
    assert flags(*much) == sorted(flags(*much), reverse=True)
    assert set(flags(*much, threads=1)) == {False}
