from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tvmkd.base.errors import InputError
from tvmkd.bench import inputs

SIGNATURE: list[dict[str, Any]] = [
    {"name": "x", "shape": ["batch", 3], "dtype": "float32"},
    {"name": "ids", "shape": [2], "dtype": "int64"},
]


def _sample(**changes: Any) -> dict[str, np.ndarray]:
    return {"x": np.zeros((1, 3), np.float32), "ids": np.zeros(2, np.int64), **changes}


SHAPES = {"x": (4, 3), "ids": (2,)}


def test_the_signature_gets_the_shapes_of_the_model() -> None:
    found = inputs.resolve(SIGNATURE, SHAPES)
    assert [tensor["shape"] for tensor in found] == [[4, 3], [2]]
    assert [tensor["dtype"] for tensor in found] == ["float32", "int64"]


def test_random_samples_repeat_with_the_seed_and_differ_from_each_other() -> None:
    tensors = inputs.resolve(SIGNATURE, SHAPES)
    first, again = (inputs.random_samples(tensors, 2, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first[1]["x"], again[1]["x"])
    assert not np.array_equal(first[0]["x"], first[1]["x"])
    assert first[0]["x"].dtype == np.float32
    assert set(np.unique(first[0]["ids"])) <= {0, 1}


def test_given_samples_come_in_the_models_order_and_contiguous() -> None:
    backwards = {"ids": np.zeros(2, np.int64), "x": np.zeros((3, 1), np.float32).T}
    (sample,) = inputs.check([backwards], SIGNATURE)
    assert list(sample) == ["x", "ids"]
    assert sample["x"].flags.c_contiguous


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "no samples"),
        ([{"y": np.zeros(1)}], "sample 0 has y; the model takes x, ids"),
        ([_sample(x=np.zeros((1, 3)))], "'x' is float64; the model takes float32"),
        ([_sample(x=np.zeros((1, 4), np.float32))], r"shape \[1, 4\]; the model takes"),
        ([_sample(x=np.zeros(3, np.float32))], r"shape \[3\]"),
        ([_sample(), _sample(x=np.zeros((2, 3), np.float32))], "'x' of sample 1"),
    ],
)
def test_samples_that_do_not_fit(samples: list[dict[str, np.ndarray]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        inputs.check(samples, SIGNATURE)
