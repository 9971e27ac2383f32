"""TVM's runtime without the package ``tvm``: tensors of all kinds, and what their memory is."""

from __future__ import annotations

from typing import Any

import fake_tvm
import ml_dtypes
import numpy as np
import pytest
from fake_tvm import Tensor

from tvmkd.runtime import relax_runtime
from tvmkd.runtime.relax_runtime import array_of, outputs_of, tensor

KINDS = ("float32", "float64", "float16", "int8", "uint8", "int32", "int64", "uint64", "bool")


@pytest.mark.parametrize("kind", [*KINDS, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(2, 3), (1,), (), (0, 4)])
def test_a_tensor_holds_what_the_array_did(kind: Any, shape: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(kind)
    found = array_of(tensor(array))
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()


def test_a_tensor_has_memory_of_its_own_in_the_order_of_c() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    turned = tensor(array.T)
    array[:] = 7
    assert array_of(turned).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert array_of(turned).ctypes.data % 64 == 0, "kernels load whole vectors"


def test_one_output_or_several() -> None:
    one, two = (tensor(np.full(2, value, np.float32)) for value in (1, 2))
    assert [each.tolist() for each in outputs_of(one)] == [[1, 1]]
    several = relax_runtime.load().Array([one, two])
    assert [each.tolist() for each in outputs_of(several)] == [[1, 1], [2, 2]]


def test_a_machine_without_tvm_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    relax_runtime.load.cache_clear()
    with pytest.raises(ImportError, match="no module named 'tvm'"):
        relax_runtime.load()


def test_an_output_is_not_copied_without_need() -> None:
    array = np.ones(3, np.float32)
    assert np.may_share_memory(array_of(Tensor(array)), array)


def test_an_output_that_nobody_may_write_to_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.ones(3, np.float32)
    array.setflags(write=False)
    monkeypatch.setattr(np, "from_dlpack", lambda output: output.array)
    found = array_of(Tensor(array))
    assert found.flags.writeable
    assert not np.may_share_memory(found, array)
    assert found.tolist() == [1, 1, 1]


@pytest.mark.parametrize("error", [TypeError, ValueError, BufferError, RuntimeError])
def test_an_output_that_dlpack_cannot_pass_is_copied(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    fake_tvm.without_dlpack(monkeypatch, error("no such type"))
    array = np.ones(3, np.float32)
    given = tensor(array)
    found = array_of(given)
    assert found.tolist() == [1, 1, 1]
    found[0] = 2
    assert array_of(given).tolist() == [1, 1, 1]


def test_another_error_of_dlpack_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tvm.without_dlpack(monkeypatch, KeyError("a fault"))
    with pytest.raises(KeyError, match="a fault"):
        array_of(Tensor(np.ones(3, np.float32)))
