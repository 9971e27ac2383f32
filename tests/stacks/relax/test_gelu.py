"""GELU in the orders in which files spell it out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from in_tvm import INSIDE, inside
from scipy import special

if INSIDE:
    import tvm
    from relax_graphs import module, operators, run
    from tvm import relax

    from tvmkd.stacks.relax import gelu
    from tvmkd.stacks.relax.row_kernels import legalizations

    op = relax.op

ROOT = math.sqrt(2)


def c(value: float) -> Any:
    return relax.const(np.float32(value))


def emitted(value: Any) -> Any:
    return relax.BlockBuilder.current().emit(value)


def up_to(x: Any, half: float = 1 / ROOT, one: float = 1.0) -> Any:
    return emitted(op.add(emitted(op.erf(emitted(op.multiply(x, c(half))))), c(one)))


def product(*factors: Any) -> Any:
    first, *rest = factors
    for each in rest:
        first = emitted(op.multiply(first, each))
    return first


FORMS: dict[str, Any] = {
    "half first": lambda x: product(x, c(0.5), up_to(x)),
    "half last": lambda x: product(x, up_to(x), c(0.5)),
    "half of the sum": lambda x: product(x, product(up_to(x), c(0.5))),
    "the other way round": lambda x: product(c(0.5), product(up_to(x), x)),
    "divided": lambda x: product(
        emitted(op.add(c(1), emitted(op.erf(emitted(op.divide(x, c(ROOT))))))), x, c(0.5)
    ),
}
OTHERS: dict[str, Any] = {
    "another factor": lambda x: product(x, c(0.25), up_to(x)),
    "another scale": lambda x: product(x, c(0.5), up_to(x, 0.5)),
    "another sum": lambda x: product(x, c(0.5), up_to(x, one=2.0)),
    "squared": lambda x: product(x, x, c(0.5), up_to(x)),
    "of another": lambda x: product(emitted(op.exp(x)), c(0.5), up_to(x)),
}


def made(make: Any) -> Any:
    return module([(4, 100)], make)


@pytest.mark.parametrize("form", FORMS)
@inside("relax")
def test_forms_become_one_operator(form: str) -> None:
    found = gelu.gelu(made(FORMS[form]))
    assert operators(found) == ["nn.gelu"]
    target = tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v3"})
    with target:
        lowered = relax.transform.LegalizeOps(legalizations())(found)
    assert operators(lowered) == ["gelu"]


@pytest.mark.parametrize("form", OTHERS)
@inside("relax")
def test_what_is_no_gelu_stays(form: str) -> None:
    mod = made(OTHERS[form])
    assert gelu.gelu(mod).same_as(mod)


@inside("relax")
def test_parts_that_others_read_stay() -> None:
    def make(x: Any) -> Any:
        total = up_to(x)
        return relax.Tuple([product(x, c(0.5), total), total])

    mod = made(make)
    found = gelu.gelu(mod)
    assert operators(found)[-1] == "nn.gelu" or "nn.gelu" in operators(found)
    x = np.linspace(-5, 5, 400, dtype=np.float32).reshape(4, 100)
    for got, wanted in zip(run(found, [x]), run(mod, [x]), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)
    np.testing.assert_allclose(run(found, [x])[0], x * special.ndtr(x.astype(float)), atol=1e-6)
