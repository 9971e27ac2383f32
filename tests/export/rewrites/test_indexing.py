"""Operators that choose elements by position; sizes that depend on the data are refused."""

from __future__ import annotations

import numpy as np
import pytest
from lowered import check, left, numbers, one
from rewriting import run

from tvmkd.export.rewrites import lower


@pytest.mark.parametrize("time", [0, 1])
def test_sequences_are_reversed_up_to_their_lengths(time):
    shape = (4, 3, 2) if time == 0 else (3, 4, 2)
    lengths = np.array([1, 4, 3])
    check("ReverseSequence", [numbers(*shape), lengths], time_axis=time, batch_axis=1 - time)


@pytest.mark.parametrize("options", [{}, {"axis": 1}, {"axis": -2}])
def test_a_constant_condition_chooses(options):
    check("Compress", [numbers(3, 3), np.array([True, False, True])], **options)


def test_sizes_that_depend_on_data_are_named():
    data = "gives a number of elements that depends on the data"
    model, _ = one("Compress", [numbers(3, 3), np.array([True, False, True])], fed=2)
    assert left(model) == {"node": f"Compress {data}"}
    assert left(one("NonZero", [numbers(3)])[0]) == {"node": f"NonZero {data}"}
    numbers_ = [np.array(value, np.float32) for value in (0, 5, 1)]
    assert left(one("Range", numbers_)[0]) == {"node": f"Range {data}"}
    assert left(one("Range", numbers_, fed=0)[0]) == {}
    random = one("RandomNormalLike", [numbers(3)])[0]
    assert left(random) == {
        "node": "RandomNormalLike is random: its outputs differ from run to run"
    }


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_new_rows_of_a_cache(mode):
    past, new = numbers(2, 1, 5, 3), numbers(2, 1, 2, 3, seed=1)
    first = np.array([1, 4 if mode == "circular" else 3])
    model, feeds = one("TensorScatter", [past, new, first], opset=24, mode=mode)
    result, reasons = lower(model, "a.onnx")
    assert reasons == {}
    result.opset_import[0].version = 20
    wanted = past.copy()
    for batch in range(2):
        for row in range(2):
            wanted[batch, 0, (first[batch] + row) % 5] = new[batch, 0, row]
    np.testing.assert_array_equal(run(result, feeds)[0], wanted)


def test_a_slice_of_nothing_is_a_constant():
    bounds = [np.array([value]) for value in (0, 5, 0, -1)]
    check("Slice", [numbers(10), *bounds])
    assert left(one("Slice", [numbers(10), *(np.array([value]) for value in (0, 5))])[0]) == {}
