"""Shapes that are refused, and places in the shared memory that do not overlap."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from fake_models import fault_of, spec, tensor

from tvmkd.base.errors import InputError
from tvmkd.deploy.serving.tensors import (
    ALIGNMENT,
    DATATYPES,
    MOST_RANK,
    Layout,
    by_name,
    places_of,
    tensors,
)


def test_sizes_are_numpys() -> None:
    for datatype, (dtype, size) in DATATYPES.items():
        if dtype != "bfloat16":
            assert np.dtype(dtype).itemsize == size, datatype
    assert DATATYPES["BF16"][1] == 2


def test_metadata_and_bytes() -> None:
    fixed = tensor("x", (2, 3), "int64")
    assert fixed.metadata() == {"name": "x", "datatype": "INT64", "shape": [2, 3]}
    assert (fixed.fixed, fixed.nbytes) == (True, 48)
    free = tensor("x", ("n", 3))
    assert free.metadata()["shape"] == [-1, 3]
    assert not free.fixed
    assert tensor("scalar", ()).nbytes == 4


@pytest.mark.parametrize("dtype", ["complex64", "str", "float8_e4m3fn"])
def test_a_type_that_the_protocol_lacks(dtype: str) -> None:
    with pytest.raises(InputError, match=f"folder: 'x' is {dtype}"):
        tensors([spec("x", dtype=dtype)], "folder")


def test_too_many_dimensions() -> None:
    tensors([spec("x", [1] * MOST_RANK)], "folder")
    with pytest.raises(InputError, match=f"folder: 'x' has more than {MOST_RANK}"):
        tensors([spec("x", [1] * (MOST_RANK + 1))], "folder")


@pytest.mark.parametrize(
    ("datatype", "shape"),
    [
        ("FP64", [2, 3]),
        (None, [2, 3]),
        ("FP32", [3, 2]),
        ("FP32", [6]),
        ("FP32", [2, 3, 1]),
        ("FP32", [2.0, 3]),
        ("FP32", [True, 3]),
        ("FP32", [-1, 3]),
        ("FP32", [2**63, 3]),
        ("FP32", "23"),
        ("FP32", {"2": 3}),
        ("FP32", None),
        ("FP32", [2, [3]]),
        ("FP32", [10**400] * 50),
    ],
)
def test_a_shape_that_does_not_fit(datatype: Any, shape: Any) -> None:
    fault = fault_of(tensor("x", (2, 3)).check, datatype, shape, {})
    assert fault.status == 400
    assert fault.message.startswith("input 'x': ")
    assert len(fault.message) < 300


def test_true_is_no_size() -> None:
    for wanted in (tensor("x", (1,)), tensor("x", ("n",))):
        assert wanted.check("FP32", [1], {}) == (1,)
        assert fault_of(wanted.check, "FP32", [True], {}).status == 400


def test_a_free_dimension_has_one_size_in_a_request() -> None:
    free: dict[str, int] = {}
    assert tensor("x", ("n", 4)).check("FP32", [7, 4], free) == (7, 4)
    assert free == {"n": 7}
    assert tensor("y", (2, "n")).check("FP32", (2, 7), free) == (2, 7)
    assert fault_of(tensor("z", ("n",)).check, "FP32", [8], free).status == 400
    assert tensor("v", ("m",)).check("FP32", [0], free) == (0,)
    assert fault_of(tensor("square", ("k", "k")).check, "FP32", [2, 3], {}).status == 400


def overlaps(places: list[tuple[int, int]]) -> bool:
    ordered = sorted(places)
    return any(first[1] > second[0] for first, second in itertools.pairwise(ordered))


def test_a_layout_of_fixed_tensors() -> None:
    inputs = (tensor("a", (1,), "bool"), tensor("b", (100,)), tensor("c", ()))
    outputs = (tensor("d", (3, 5)), tensor("e", (4096,)))
    layout = Layout.of(inputs, outputs, 2048, 10)
    places = [(0, 2048), (layout.dims_offset, layout.dims_offset + 5 * 8 * MOST_RANK)]
    for at, each in zip(
        (*layout.input_offsets, *layout.output_offsets), (*inputs, *outputs), strict=True
    ):
        assert at % ALIGNMENT == 0
        places.append((at, at + each.nbytes))
    assert not overlaps(places)
    assert max(end for _, end in places) <= layout.output_end <= layout.size
    assert layout.size % 4096 == 0
    assert layout.fixed


def test_a_layout_with_free_dimensions_has_room_for_the_most() -> None:
    inputs = (tensor("a", ("n",)), tensor("b", (3,)))
    outputs = (tensor("c", ("n",)),)
    layout = Layout.of(inputs, outputs, 2048, 1000)
    assert not layout.fixed
    start, end = layout.input_offsets[0], layout.output_start
    assert start >= layout.dims_offset + 3 * 8 * MOST_RANK
    # However the most bytes are split between the tensors, they fit in.
    for first in (0, 1, 65, 500, 999, 1000):
        places = places_of([first, 1000 - first], start, end)
        assert places[1] + 1000 - first <= end
    assert places_of([1000], layout.output_start, layout.output_end) == [layout.output_start]
    assert layout.output_end <= layout.size


def test_places_that_do_not_fit() -> None:
    assert places_of([10, 64, 1], 128, 257) == [128, 192, 256]
    for nbytes in ([10, 64, 2], [130], [2**62]):
        fault = fault_of(places_of, nbytes, 128, 257)
        assert fault.status == 413
        assert "--max-body" in fault.message
    assert places_of([], 0, 0) == []


def test_by_name() -> None:
    assert by_name([tensor("b"), tensor("a")]) == {"b": 0, "a": 1}
