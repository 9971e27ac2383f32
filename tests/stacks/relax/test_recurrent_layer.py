"""Tiles, threads and weights of recurrent layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    from tvmkd.stacks.relax.recurrent_layer import Layer, in_tiles, packed, planned
    from tvmkd.stacks.relax.templates.cpu import Cpu

    AVX2, AVX512 = Cpu(threads=2), Cpu(threads=2, lanes=16, registers=32)


def layer(
    kind: str, hidden: int, cpu: Any, *, steps: int = 100, batch: int = 1, **more: Any
) -> Any:
    return planned(Layer(kind, steps, batch, hidden, **{"backward": (False,), **more}), cpu)


@inside("relax")
def test_sums_hide_an_addition_s_latency_and_leave_no_vector_empty() -> None:
    assert (layer("LSTM", 128, AVX512).lanes, layer("LSTM", 128, AVX512).vectors) == (16, 2)
    assert (layer("LSTM", 128, AVX2).lanes, layer("LSTM", 128, AVX2).vectors) == (8, 2)
    assert layer("GRU", 128, AVX512).vectors == 2
    assert layer("RNN", 128, AVX512).vectors == 8
    odd = layer("LSTM", 99, AVX512)
    assert (odd.lanes, odd.vectors, odd.tiles, odd.width, odd.depth) == (16, 1, 7, 112, 100)


@inside("relax")
def test_sums_of_all_rows_stay_in_registers() -> None:
    for kind in ("LSTM", "GRU", "RNN"):
        for cpu in (AVX2, AVX512):
            for batch in (1, 2, 3, 64):
                found = layer(kind, 64, cpu, batch=batch)
                assert 1 <= found.rows <= batch
                # No part of the batch is much smaller than the others.
                assert -(-batch // found.rows) * found.rows - batch < -(-batch // found.rows)
                assert found.rows * found.gates * found.vectors <= cpu.in_registers(found.lanes)


@inside("relax")
def test_threads_are_used_where_they_pay() -> None:
    two = (False, True)
    assert layer("LSTM", 128, AVX2, backward=two).threads == "sequences"
    assert layer("LSTM", 8, AVX2, backward=two).threads == ""
    assert layer("LSTM", 128, AVX2).threads == ""
    assert layer("LSTM", 512, AVX2).threads == "tiles"
    assert layer("LSTM", 512, Cpu(), backward=two).threads == ""
    many = layer("GRU", 128, AVX512, batch=4)
    assert (many.rows, many.threads) == (2, "sequences")


@pytest.mark.parametrize("after", [True, False])
@inside("relax")
def test_the_product_of_the_packed_weights_is_that_of_the_original(after: bool) -> None:
    what = Layer("GRU", 1, 1, 5, (False, True), after, lanes=2, vectors=2)
    rng = np.random.default_rng(0)
    recurrent = rng.standard_normal((2, 15, 5)).astype(np.float32)
    state = rng.standard_normal(5).astype(np.float32)
    padded = np.pad(state, (0, what.depth - 5))
    for gates, array in zip(what.products, packed(what, recurrent), strict=True):
        got = np.einsum("k,dtkn->dtn", padded, array).reshape(2, what.tiles, len(gates), 4)
        wanted = in_tiles(what, np.einsum("k,dnk->dn", state, recurrent))
        np.testing.assert_allclose(got, wanted[:, :, list(gates)], rtol=1e-5, atol=1e-6)
    filled = in_tiles(what, recurrent)
    assert filled.shape == (2, 2, 3, 4, 5)
    np.testing.assert_array_equal(filled[:, 1, :, 1:], 0)
    np.testing.assert_array_equal(filled[1, 1, 2, 0], recurrent[1, 14])
