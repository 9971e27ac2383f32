"""Softmax, normalisation and reductions over rows against their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from in_tvm import INSIDE, inside
from scipy import special

if INSIDE:
    from relax_graphs import const, module, operators, run
    from tvm import relax

    from tvmkd.stacks.relax import row_kernels
    from tvmkd.stacks.relax.row_kernels import legalizations

    op, nn = relax.op, relax.op.nn

RNG = np.random.default_rng(0)


def lowered(mod: Any) -> Any:
    return relax.transform.LegalizeOps(legalizations())(mod)


def legalized(shape: tuple[int, ...], make: Any) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The kernels of an operator, an input, and the output."""
    mod = lowered(module([shape], make))
    x = RNG.standard_normal(shape).astype(np.float32) * 3 + 5
    (found,) = run(mod, [x])
    return operators(mod), x, found


# One lane, eight, sixteen and thirty-two; with and without a rest.
SIZES = (5, 16, 21, 64, 67, 128, 197)


@pytest.mark.parametrize("size", SIZES)
@inside("relax")
def test_softmax_and_its_logarithm(size: int) -> None:
    kernels, x, found = legalized((2, 3, size), lambda x: nn.softmax(x, -1))
    np.testing.assert_allclose(found, special.softmax(x, -1), rtol=1e-5, atol=1e-7)
    assert ("reshape" in kernels) == (size >= row_kernels.LEAST)
    _, x, found = legalized((4, size), lambda x: nn.log_softmax(x, 1))
    np.testing.assert_allclose(found, special.log_softmax(x, -1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
@inside("relax")
def test_normalisation(size: int) -> None:
    gamma, beta = (const(size, low=low).value.numpy() for low in (0.5, -2.0))

    def layer(x: Any) -> Any:
        return nn.layer_norm(x, relax.const(gamma), relax.const(beta), axes=-1, epsilon=1e-3)

    _, x, found = legalized((2, 3, size), layer)
    scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(found, scaled * gamma + beta, rtol=1e-4, atol=1e-4)

    def rms(x: Any) -> Any:
        return nn.rms_norm(x, relax.const(gamma), axes=[-1], epsilon=1e-3)

    _, x, found = legalized((6, size), rms)
    size_of = np.sqrt((x * x).mean(-1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(found, x / size_of * gamma, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["sum", "mean", "max", "min", "variance"])
@inside("relax")
def test_reductions_of_the_last_axes(kind: str) -> None:
    numpy_kind = "var" if kind == "variance" else kind
    cases: list[tuple[tuple[int, ...], list[int], bool]] = [
        ((3, 7, 9), [1, 2], False),
        ((2, 5, 40), [2], True),
        ((33,), [0], False),
    ]
    for shape, axes, keep in cases:
        _, x, found = legalized(
            shape, lambda x, a=axes, k=keep: getattr(op, kind)(x, a, keepdims=k)
        )
        wanted = getattr(np, numpy_kind)(x.astype(np.float64), tuple(axes), keepdims=keep)
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


@inside("relax")
def test_two_axes_are_normalised_as_one_row() -> None:
    gamma, beta = const(4, 9), const(4, 9, low=-1.0)
    kernels, x, found = legalized(
        (3, 4, 9), lambda x: nn.layer_norm(x, gamma, beta, axes=[1, 2], epsilon=1e-5)
    )
    assert "layer_norm" in kernels
    centred = x - x.mean((1, 2), keepdims=True)
    scaled = centred / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
    wanted = scaled * gamma.value.numpy() + beta.value.numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@inside("relax")
def test_what_is_no_row_is_tvms_own() -> None:
    for make in (
        lambda x: nn.softmax(x, 1),
        lambda x: op.mean(x, [1]),
        lambda x: op.sum(x, [0, 2]),
    ):
        mod = lowered(module([(2, 32, 20)], make))
        assert "reshape" not in operators(mod)
    whole = lowered(module([(2, 40)], lambda x: op.sum(x, [1]), "int32"))
    assert "reshape" not in operators(whole)


@inside("relax")
def test_partial_results_hide_an_additions_latency() -> None:
    assert [row_kernels.lanes_for(n) for n in (15, 16, 31, 32, 127, 128)] == [1, 8, 8, 16, 16, 32]
