"""The schedule of softmax, normalisation and reductions over rows."""

from __future__ import annotations

from typing import Any

import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    import template_cases as cases
    from template_cases import PARALLEL, VECTORIZED, loops, scope, tensor

    from tvmkd.stacks.relax import row_kernels
    from tvmkd.stacks.relax.templates import rows
    from tvmkd.stacks.relax.templates.cpu import Cpu

SIZES = (21, 64, 197)


def softmax(size: int, log: bool = False) -> list[Any]:
    x = tensor(6, size)
    return [x, row_kernels.softmax(x, log)]


@pytest.mark.parametrize("size", SIZES)
@inside("relax")
def test_members_compute_what_the_kernel_does(size: int) -> None:
    cases.check_members(softmax(size), operator=False)
    cases.check_members(softmax(size, log=True), operator=False)
    x, gamma, beta = tensor(6, size), tensor(size, name="g"), tensor(size, name="b")
    cases.check_members(
        [x, gamma, beta, row_kernels.layer_norm(x, gamma, beta, 1e-5)], operator=False
    )
    cases.check_members([x, row_kernels.reduction(x, "variance")], operator=False)


@inside("relax")
def test_threads_take_rows() -> None:
    def flags(threads: int) -> list[tuple[bool, int]]:
        found = rows.configs(cases.schedule(*softmax(64)), Cpu(threads=threads))
        return [(config["parallel"], config["rows"]) for config in found]

    assert flags(2) == [(flag, step) for flag in (True, False) for step in (1, 2, 3)]
    assert {flag for flag, _ in flags(1)} == {False}
    assert rows.configs(cases.schedule(*cases.pooling()), Cpu()) == []


@inside("relax")
def test_a_row_stays_in_registers_and_on_the_stack() -> None:
    made = cases.applied(rows, {"parallel": True, "rows": 2}, *softmax(64))
    assert loops(made, "softmax")[:2] == [(PARALLEL, 3), (0, 2)]
    assert loops(made, "softmax")[-1] == (VECTORIZED, 16)
    assert loops(made, "most_row_lanes_update")[-1] == (VECTORIZED, 16)
    assert {scope(made, name) for name in ("powers", "most_row_lanes_update", "exp_row_total")} == {
        "local"
    }
    long = cases.applied(rows, {"parallel": False, "rows": 1}, *softmax(rows.ON_STACK + 8))
    assert scope(long, "powers") == "global"
