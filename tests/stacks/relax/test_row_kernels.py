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


def legalized(shape: tuple[int, ...], *make: Any) -> tuple[list[str], np.ndarray, list[np.ndarray]]:
    """The kernels of a few operators, their input, and their outputs: compiled at once."""
    mod = lowered(module([shape], lambda x: relax.Tuple([_emitted(each(x)) for each in make])))
    x = RNG.standard_normal(shape).astype(np.float32) * 3 + 5
    return operators(mod), x, run(mod, [x])


def _emitted(value: Any) -> Any:
    return relax.BlockBuilder.current().emit(value)


# One lane; eight, sixteen and thirty-two with a rest; no rest.
@pytest.mark.parametrize("size", [5, 21, 67, 197, 128])
@inside("relax")
def test_softmax_and_normalisation(size: int) -> None:
    gamma, beta = (const(size, low=low).value.numpy() for low in (0.5, -2.0))
    factors = relax.const(gamma), relax.const(beta)
    kernels, x, found = legalized(
        (2, 3, size),
        lambda x: nn.softmax(x, -1),
        lambda x: nn.log_softmax(x, 2),
        lambda x: nn.layer_norm(x, *factors, axes=-1, epsilon=1e-3),
        lambda x: nn.rms_norm(x, factors[0], axes=[-1], epsilon=1e-3),
    )
    assert ("reshape" in kernels) == (size >= row_kernels.LEAST)
    softmax, log_softmax, layer, rms = found
    np.testing.assert_allclose(softmax, special.softmax(x, -1), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(log_softmax, special.log_softmax(x, -1), rtol=1e-5, atol=1e-5)
    scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(layer, scaled * gamma + beta, rtol=1e-4, atol=1e-4)
    size_of = np.sqrt((x * x).mean(-1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(rms, x / size_of * gamma, rtol=1e-4, atol=1e-5)


KINDS = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "variance": np.var}


@pytest.mark.parametrize(
    ("shape", "axes", "keep"),
    [((3, 7, 9), [1, 2], False), ((2, 5, 40), [2], True), ((33,), [0], False)],
)
@inside("relax")
def test_reductions_of_the_last_axes(shape: list[int], axes: list[int], keep: bool) -> None:
    makers = [lambda x, k=kind: getattr(op, k)(x, axes, keepdims=keep) for kind in KINDS]
    _, x, found = legalized(tuple(shape), *makers)
    for reduce, output in zip(KINDS.values(), found, strict=True):
        wanted = reduce(x.astype(np.float64), tuple(axes), keepdims=keep)
        np.testing.assert_allclose(output, wanted, rtol=1e-5)


@inside("relax")
def test_two_axes_are_normalised_as_one_row() -> None:
    gamma, beta = const(4, 9), const(4, 9, low=-1.0)
    kernels, x, (found,) = legalized(
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


@inside("relax")
def test_large_logits_and_equal_elements_lose_nothing() -> None:
    mod = lowered(
        module(
            [(2, 197)],
            lambda x: relax.Tuple(
                [
                    _emitted(nn.log_softmax(x, -1)),
                    _emitted(nn.layer_norm(x, const(197), const(197, low=0.0), axes=-1)),
                ]
            ),
        )
    )
    x = np.stack([np.full(197, 1e6), np.full(197, 33333.3)]).astype(np.float32)
    logs, norm = run(mod, [x])
    np.testing.assert_allclose(logs, -np.log(197), rtol=1e-6)
    np.testing.assert_allclose(norm, np.tile(const(197, low=0.0).value.numpy(), (2, 1)), atol=1e-3)
