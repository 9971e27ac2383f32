"""Behaviour of pycuda only; `test_cuda` tests what both packages do."""

from __future__ import annotations

import pytest
from fake_gpu import FakeGpu
from fake_pycuda import FakePyCuda

from tvmkd.base.errors import MissingError
from tvmkd.tensorrt.cuda_pycuda import PyCuda


def test_pycuda_shares_its_context_and_leaves_it_as_it_was() -> None:
    api = FakePyCuda(FakeGpu())
    first, second = PyCuda(api), PyCuda(api, spin=False)
    address = first.malloc(4)
    assert second.memory()[0] == first.memory()[0]
    first.free(address)
    first.close()
    second.close()
    assert api.contexts == 0
    assert api.flags == [1], "only the one that sleeps has an event to sleep on"


def test_pycuda_refuses_graphs() -> None:
    runtime = PyCuda(FakePyCuda(FakeGpu()))
    assert not runtime.captures
    with pytest.raises(MissingError, match="cuda-bindings"):
        runtime.begin_capture(runtime.stream())
