from __future__ import annotations

import numpy as np
import pytest
import torch

from tvmkd.base.errors import InputError
from tvmkd.runtime import device_arrays


def test_arrays_of_the_cpu_are_not_on_a_gpu() -> None:
    assert not device_arrays.on_gpu(np.zeros(3))
    assert not device_arrays.on_gpu(torch.zeros(3))
    assert not device_arrays.on_gpu([1.0])


@pytest.mark.parametrize(
    ("array", "dtype", "contiguous"),
    [
        (torch.zeros(2, 3), "float32", True),
        (torch.zeros(2, 3, dtype=torch.float16)[1:], "float16", True),
        (torch.zeros(3, 2).T, "float32", False),
        (torch.zeros(2, 6, dtype=torch.int64)[:, ::2], "int64", False),
        (torch.zeros(1, 4, 1, dtype=torch.uint8), "uint8", True),
        (torch.zeros(0, 4), "float32", True),
        (torch.zeros(()), "float32", True),
    ],
)
def test_where_an_array_lies(
    array: torch.Tensor, dtype: str, contiguous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_arrays, "LEGACY", None)  # torch's CPU has no streams
    found = device_arrays.look(array)
    assert found.shape == tuple(array.shape)
    assert (found.dtype, found.device, found.contiguous) == (dtype, 0, contiguous)
    if array.numel():
        assert found.address == array.data_ptr()


def test_a_tensor_with_a_gradient_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_arrays, "LEGACY", None)
    with pytest.raises(InputError, match=r"cannot be used \(DLPack\): .*grad"):
        device_arrays.look(torch.zeros(3, requires_grad=True))


def test_outputs_are_of_the_library_of_the_inputs() -> None:
    library = device_arrays.library_of(torch.zeros(1))
    made = library.empty(torch.zeros(1), [2, 3], "float16")
    assert (tuple(made.shape), made.dtype, made.device.type) == ((2, 3), torch.float16, "cpu")
    with pytest.raises(InputError, match=r"arrays of numpy on the GPU: .*torch and cupy only"):
        device_arrays.library_of(np.zeros(1))
