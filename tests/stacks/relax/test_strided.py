"""Views of flat arrays against numpy's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tvmkd.stacks.relax.strided import Strided


def taken(view: Strided, array: np.ndarray) -> np.ndarray:
    flat = array.reshape(-1)
    found = [flat[view.at(place)] for place in itertools.product(*map(range, view.shape))]
    return np.array(found).reshape(view.shape)


ARRAY = np.arange(4 * 3 * 6 * 5).reshape(4, 3, 6, 5)
WHOLE = Strided.whole(ARRAY.shape)


def test_views_are_those_of_numpy() -> None:
    assert np.array_equal(taken(WHOLE, ARRAY), ARRAY)
    assert np.array_equal(taken(WHOLE.transposed([2, 0, 3, 1]), ARRAY), ARRAY.transpose(2, 0, 3, 1))
    assert np.array_equal(taken(WHOLE.swapped(), ARRAY), ARRAY.swapaxes(-1, -2))
    assert np.array_equal(taken(WHOLE.cut(2, 1, 6, 2), ARRAY), ARRAY[:, :, 1:6:2])
    assert np.array_equal(taken(WHOLE.cut(2, -2, 99), ARRAY), ARRAY[:, :, -2:])
    assert np.array_equal(taken(WHOLE.picked(1, 2), ARRAY), ARRAY[:, 2])
    assert np.array_equal(taken(WHOLE.picked(-1, -1), ARRAY), ARRAY[..., -1])


def test_broadcasting_repeats() -> None:
    row = Strided.whole((3, 1, 5)).broadcast((2, 3, 4, 5))
    array = np.arange(15).reshape(3, 1, 5)
    assert np.array_equal(taken(row, array), np.broadcast_to(array, (2, 3, 4, 5)))


@pytest.mark.parametrize(
    "shape", [(4, 3, 30), (12, 6, 5), (2, 2, 3, 2, 3, 1, 5), (360,), (8, 45), (1, 4, 3, 6, 5, 1)]
)
def test_a_whole_array_takes_any_shape(shape: tuple[int, ...]) -> None:
    view = WHOLE.reshaped(shape)
    assert view is not None
    assert np.array_equal(taken(view, ARRAY), ARRAY.reshape(shape))


def test_axes_are_joined_only_where_nothing_moves() -> None:
    # A transformer's queries: [tokens, 3 * heads * size] to [heads, tokens, size].
    split = WHOLE.reshaped((4, 3, 2, 15))
    assert split is not None
    queries = split.transposed([1, 2, 0, 3]).picked(0, 1)
    wanted = ARRAY.reshape(4, 3, 2, 15).transpose(1, 2, 0, 3)[1]
    assert np.array_equal(taken(queries, ARRAY), wanted)
    assert queries.reshaped((8, 15)) is None
    joined = queries.reshaped((1, 2, 2, 2, 3, 5))
    assert joined is not None
    assert np.array_equal(taken(joined, ARRAY), wanted.reshape(1, 2, 2, 2, 3, 5))
    sliced = WHOLE.cut(3, 0, 4)
    assert sliced.reshaped((4, 3, 24)) is None
    assert sliced.reshaped((12, 6, 4)) is not None
