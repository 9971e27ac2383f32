"""Attention's tensor expression against its definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from in_tvm import INSIDE, inside
from scipy import special

if INSIDE:
    from relax_graphs import computed

    from tvmkd.stacks.relax import vector_math
    from tvmkd.stacks.relax.attention_kernel import Attention, Operand, Step, kernel
    from tvmkd.stacks.relax.strided import Strided

RNG = np.random.default_rng(0)
HEADS, ROWS, COLUMNS, INNER, SIZE = 2, 5, 11, 3, 4
Q, K, V = (
    RNG.standard_normal(shape).astype(np.float32) * 2
    for shape in ((HEADS, ROWS, INNER), (HEADS, COLUMNS, INNER), (HEADS, COLUMNS, SIZE))
)


def made(
    arrays: list[np.ndarray], steps: tuple[Any, ...] = (), order: tuple[int, ...] = (0, 1, 2)
) -> np.ndarray:
    """The kernel's output for whole arrays, eight queries at a time."""
    vector_math.install()
    operands = [Operand(place, Strided.whole(a.shape)) for place, a in enumerate(arrays)]
    what = Attention(*operands[:3], scale=0.7, steps=steps, order=order, block=8)
    return computed(lambda *sources: kernel(what, sources), *[a.reshape(-1) for a in arrays])


def scores(q: np.ndarray = Q) -> np.ndarray:
    return 0.7 * np.einsum("hmk,hnk->hmn", q.astype(np.float64), K)


def weighted(values: np.ndarray) -> np.ndarray:
    return special.softmax(values, -1) @ V.astype(np.float64)


@inside("relax")
def test_a_block_that_is_not_full_and_a_number_of_keys_without_divisors() -> None:
    np.testing.assert_allclose(made([Q, K, V]), weighted(scores()), rtol=1e-5, atol=1e-6)


@inside("relax")
def test_the_output_has_any_order() -> None:
    found = made([Q, K, V], order=(1, 0, 2))
    np.testing.assert_allclose(found, weighted(scores()).transpose(1, 0, 2), rtol=1e-5, atol=1e-6)
    found = made([Q, K, V], order=(0, 2, 1))
    np.testing.assert_allclose(found, weighted(scores()).swapaxes(1, 2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["add", "subtract", "multiply", "divide"])
@inside("relax")
def test_scores_change_before_the_softmax(kind: str) -> None:
    more = RNG.uniform(0.5, 2, (HEADS, ROWS, COLUMNS)).astype(np.float32)
    steps = (Step(kind, Operand(3, Strided.whole(more.shape))), Step("add", 0.25))
    changed = getattr(np, kind)(scores(), more)
    np.testing.assert_allclose(
        made([Q, K, V, more], steps), weighted(changed), rtol=1e-5, atol=1e-6
    )


@inside("relax")
def test_a_constant_may_have_rows_for_a_whole_block() -> None:
    more = RNG.uniform(0.5, 2, (HEADS, ROWS, COLUMNS)).astype(np.float32)
    padded = np.pad(more, [(0, 0), (0, 8 - ROWS), (0, 0)]).swapaxes(1, 2).copy()
    view = Strided.whole(padded.shape).swapped().cut(1, 0, ROWS)
    found = made([Q, K, V, padded], (Step("add", Operand(3, view, filled=True)),))
    np.testing.assert_allclose(found, weighted(scores() + more), rtol=1e-5, atol=1e-6)


@inside("relax")
def test_keys_are_hidden_by_truth_values_for_all_queries() -> None:
    seen = np.arange(COLUMNS) % 3 != 1
    view = Strided.whole((COLUMNS,)).broadcast((HEADS, ROWS, COLUMNS))
    for kind, given in (("keep", seen), ("drop", ~seen)):
        found = made([Q, K, V, given], (Step(kind, Operand(3, view), -np.inf),))
        wanted = weighted(np.where(seen, scores(), -np.inf))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@inside("relax")
def test_large_scores_do_not_overflow_and_hidden_rows_are_nan_as_in_onnx() -> None:
    large = (Q * 1000).astype(np.float32)
    np.testing.assert_allclose(made([large, K, V]), weighted(scores(large)), rtol=1e-4, atol=1e-4)
    hidden = np.zeros((HEADS, ROWS, COLUMNS), np.float32)
    hidden[0, 1] = -np.inf
    found = made([Q, K, V, hidden], (Step("add", Operand(3, Strided.whole(hidden.shape))),))
    assert np.isnan(found[0, 1]).all()
    assert np.isfinite(found[1]).all()
    assert np.isfinite(found[0, 2:]).all()
