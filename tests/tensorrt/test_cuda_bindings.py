from __future__ import annotations

import fake_cudart
import pytest

from tvmkd.base.errors import MissingError
from tvmkd.tensorrt import cuda_bindings

runtime = pytest.importorskip(
    "cuda.bindings.runtime", reason="cuda-bindings is not installed: pip install cuda-bindings"
)


@pytest.mark.parametrize("name", fake_cudart.SIGNATURES)
def test_the_fake_has_the_package_s_signatures(name: str) -> None:
    said = getattr(runtime, name).__doc__.strip().splitlines()[0]
    assert said == f"{name}{fake_cudart.SIGNATURES[name]}"


def test_the_fake_has_the_package_s_constants() -> None:
    for error in fake_cudart.cudaError_t:
        assert int(getattr(runtime.cudaError_t, error.name)) == error
    for name in ("cudaDeviceScheduleSpin", "cudaDeviceScheduleBlockingSync"):
        assert getattr(runtime, name) == getattr(fake_cudart.FakeCudart, name)
    for name in ("cudaStreamNonBlocking", "cudaEventDefault", "cudaEventBlockingSync"):
        assert getattr(runtime, name) == getattr(fake_cudart.FakeCudart, name)


def test_a_missing_driver_is_named() -> None:
    if runtime.cudaDriverGetVersion()[1]:
        pytest.skip("there is a driver")
    with pytest.raises(MissingError, match="no NVIDIA driver"):
        cuda_bindings.open_device(spin=True)
