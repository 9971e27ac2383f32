"""Words of neighbouring values: each value is multiplied with its sign."""

from __future__ import annotations

import numpy as np
import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    from relax_graphs import computed
    from tvm import te

    from tvmkd.stacks.relax.interleave import product, word


@pytest.mark.parametrize(("dtype", "group"), [("uint8", 4), ("int16", 2)])
@inside("relax")
def test_the_values_of_a_word(dtype: str, group: int) -> None:
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(0)
    values = rng.choice([limits.min, limits.max, 3, 100], (40, group)).astype(dtype)

    def packed(x: te.Tensor) -> te.Tensor:
        return te.compute((40,), lambda i: word([x[i, q] for q in range(group)]))

    words = computed(packed, values)
    assert words.dtype == np.int32
    np.testing.assert_array_equal(words.view(dtype).reshape(40, group), values)
    weights = rng.integers(-128, 128, (40, group)).astype(np.int8)
    found = computed(
        lambda x, w: te.compute((40,), lambda i: product(x[i], [w[i, q] for q in range(group)])),
        words, weights,
    )  # fmt: skip
    np.testing.assert_array_equal(found, (values.astype(np.int32) * weights).sum(1))
