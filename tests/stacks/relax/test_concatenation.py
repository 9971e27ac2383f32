"""Concatenations of the last axis: their values, and that vectors need no condition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    import template_cases as cases
    import tvm
    from relax_graphs import module, operators, run
    from tvm import relax

    from tvmkd.stacks.relax.concatenation import concatenate
    from tvmkd.stacks.relax.row_kernels import legalizations
    from tvmkd.stacks.relax.templates import elementwise
    from tvmkd.stacks.relax.templates.cpu import Cpu

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("counts", [(8, 8), (24, 40), (3, 5), (16, 8, 32), (1, 1, 1, 1), (58, 58)])
@inside("relax")
def test_parts_of_many_sizes(counts: tuple[int, ...]) -> None:
    arrays = [RNG.standard_normal((2, 3, n)).astype(np.float32) for n in counts]
    mod = module([a.shape for a in arrays], lambda *x: relax.op.concat(list(x), axis=-1))
    lowered = relax.transform.LegalizeOps(legalizations())(mod)
    assert operators(lowered) == ["concatenate"]
    (found,) = run(lowered, arrays)
    np.testing.assert_array_equal(found, np.concatenate(arrays, -1))


@inside("relax")
def test_every_schedule_keeps_the_values() -> None:
    parts = [cases.tensor(4, 6, n, name=f"x{n}") for n in (24, 36)]
    cases.check_members([*parts, concatenate(*parts)])


@inside("relax")
def test_vectors_lie_in_one_part() -> None:
    parts = [cases.tensor(4, 24, name="a"), cases.tensor(4, 40, name="b")]
    tensors: list[Any] = [*parts, concatenate(*parts)]
    for config in elementwise.configs(cases.schedule(*tensors), Cpu()):
        assert 8 % config["width"] == 0
        made = cases.applied(elementwise, config, *tensors)
        ir = str(tvm.tirx.build(made.mod, target="llvm").inspect_source("ll"))
        assert "x float>" in ir, "no vectors"


@inside("relax")
def test_other_axes_are_as_they_were() -> None:
    for axis, shape in ((0, (3, 8)), (1, (2, 3, 8))):
        mod = module([shape, shape], lambda *x, a=axis: relax.op.concat(list(x), axis=a))
        arrays = [RNG.standard_normal(shape).astype(np.float32) for _ in range(2)]
        lowered = relax.transform.LegalizeOps(legalizations())(mod)
        (found,) = run(lowered, arrays)
        np.testing.assert_array_equal(found, np.concatenate(arrays, axis))
