"""The input buffers: where they lie, what fits them, and which outputs are copied."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tvmkd.base.manifest import TensorSpec
from tvmkd.runtime import program
from tvmkd.runtime.program import InputBuffer, InputBuffers, LoadError


def spec(shape: Sequence[int | str], dtype: str = "float32", name: str = "x") -> TensorSpec:
    return TensorSpec(name=name, shape=list(shape), dtype=dtype)


def same(array: Any) -> Any:
    """A DLPack import whose tensor is the array."""
    return array


SHAPES = [(), (1,), (3,), (2, 3), (1, 3, 5, 7), (64,), (65,)]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint8", "int64", "bool"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_buffer_is_aligned_and_has_its_inputs_shape(shape: tuple[int, ...], dtype: str) -> None:
    for _ in range(4):  # numpy's own memory is aligned to 16 bytes: chance may be right once
        buffer = InputBuffer(spec(shape, dtype), same)
        tensor = buffer.tensor
        assert tensor.ctypes.data % 64 == 0
        assert (tensor.shape, str(tensor.dtype)) == (shape, dtype)
        assert tensor.flags.c_contiguous
        assert not tensor.any()
        # All of it is memory of its own.
        tensor[...] = 1
        assert tensor.all()


@pytest.mark.parametrize(("address", "start"), [(0, 0), (1, 63), (63, 1), (64, 0), (16, 48)])
def test_the_buffer_starts_at_the_next_aligned_byte(
    monkeypatch: pytest.MonkeyPatch, address: int, start: int
) -> None:
    """Whatever address numpy's memory has."""
    real = np.zeros
    made: list[np.ndarray] = []

    def zeros(size: int, dtype: Any) -> Any:
        assert dtype is np.uint8
        assert size == 4 * 5 + 64
        room = real(size + 128, np.uint8)
        skipped = (address - room.ctypes.data) % 64
        made.append(room[skipped : skipped + size])
        return made[0]

    monkeypatch.setattr(np, "zeros", zeros)
    tensor = InputBuffer(spec((5,)), same).tensor
    assert tensor.ctypes.data - made[0].ctypes.data == start


@pytest.mark.parametrize(
    ("array", "fits"),
    [
        (np.zeros((2, 3), np.float32), True),
        (np.zeros((3, 2), np.float32).T, True),
        (np.zeros((3, 2), np.float32), False),
        (np.zeros((2, 3, 1), np.float32), False),
        (np.zeros((6,), np.float32), False),
        (np.zeros((2, 3), np.float64), False),
        (np.zeros((2, 3), np.int32), False),
        (np.zeros((2, 3), ">f4"), False),
        ([[0.0] * 3] * 2, False),
        (SimpleNamespace(shape=(2, 3)), False),
        (None, False),
    ],
)
def test_an_array_fits_by_shape_and_dtype(array: Any, fits: bool) -> None:
    assert InputBuffer(spec((2, 3)), same).takes(array) is fits


def test_filling_copies_the_array() -> None:
    buffer = InputBuffer(spec((2, 3)), same)
    array = np.arange(6, dtype=np.float32).reshape(3, 2).T
    tensor = buffer.fill(array)
    assert tensor is buffer.tensor
    np.testing.assert_array_equal(tensor, array)
    array[...] = -1
    assert tensor.tolist() == [[0, 2, 4], [1, 3, 5]]


def test_only_a_view_of_the_buffer_is_held_by_it() -> None:
    buffer = InputBuffer(spec((2, 3)), same)
    assert buffer.holds(buffer.tensor)
    assert buffer.holds(buffer.tensor[1:, 2:])
    assert not buffer.holds(buffer.tensor.copy())
    assert not buffer.holds(InputBuffer(spec((2, 3)), same).tensor)


@pytest.mark.parametrize("free", [0, 1, 2])
def test_one_free_dimension_and_no_input_has_a_buffer(free: int) -> None:
    shapes: list[list[int | str]] = [[1, 4], [1, 4], [1, 4]]
    shapes[free][free % 2] = "batch"
    buffers = InputBuffers([spec(shape) for shape in shapes], same)
    arrays = [np.zeros((1, 4), np.float32)] * 3
    assert buffers.buffers is None
    assert buffers.take(arrays) is False
    assert buffers.fill(arrays) == []
    assert buffers.own(arrays[0]) is arrays[0]


@pytest.mark.parametrize("error", [TypeError, ValueError, BufferError, RuntimeError])
def test_a_dtype_that_dlpack_lacks_means_no_buffers(error: type[Exception]) -> None:
    calls: list[Any] = []

    def second_fails(array: Any) -> Any:
        calls.append(array)
        if len(calls) == 2:
            raise error("no such type")
        return array

    found = InputBuffers([spec((1,)), spec((2,)), spec((3,))], second_fails)
    assert (found.buffers, len(calls)) == (None, 2)
    assert InputBuffers([spec((1,), "no_such_type")], same).buffers is None, "numpy has none either"


def test_another_error_of_dlpack_is_a_fault() -> None:
    def fails(array: Any) -> Any:
        raise KeyError("a fault")

    with pytest.raises(KeyError, match="a fault"):
        InputBuffers([spec((1,))], fails)


X, Y = np.ones((1, 4), np.float32), np.full((2,), 7, np.int64)


@pytest.mark.parametrize(
    ("arrays", "fit"),
    [
        ([X, Y], True),
        ([Y, X], False),
        ([X, X], False),
        ([Y, Y], False),
        ([X], False),
        ([X, Y, Y], False),
        ([], False),
    ],
)
def test_arrays_fit_if_each_fits_its_own_buffer(arrays: list[Any], fit: bool) -> None:
    buffers = InputBuffers([spec((1, 4)), spec((2,), "int64")], same)
    assert buffers.take(arrays) is fit


def test_each_array_goes_to_its_own_buffer_in_order() -> None:
    buffers = InputBuffers([spec((1, 4)), spec((2,), "int64")], same)
    first, second = buffers.fill([X, Y])
    np.testing.assert_array_equal(first, X)
    np.testing.assert_array_equal(second, Y)
    again = buffers.fill([2 * X, 2 * Y])
    assert [id(each) for each in again] == [id(first), id(second)]


@pytest.mark.parametrize("index", [0, 1])
def test_an_output_that_is_an_input_is_copied(index: int) -> None:
    buffers = InputBuffers([spec((1, 4)), spec((2,), "int64")], same)
    output = buffers.fill([X, Y])[index]
    mine = buffers.own(output)
    np.testing.assert_array_equal(mine, output)
    assert not np.may_share_memory(mine, output)
    apart = output.copy()
    assert buffers.own(apart) is apart


def test_an_input_without_elements_has_a_buffer() -> None:
    buffers = InputBuffers([spec((0, 4))], same)
    (tensor,) = buffers.fill([np.zeros((0, 4), np.float32)])
    assert tensor.shape == (0, 4)


def test_no_inputs_are_no_reason_against_buffers() -> None:
    assert InputBuffers([], same).take([])


def test_a_load_error_names_the_version() -> None:
    error = LoadError("no such symbol", "TVM 1")
    assert (str(error), error.tvm) == ("no such symbol", "TVM 1")
    assert InputBuffer.ALIGNMENT == program.InputBuffer.ALIGNMENT == 64
