"""Which CUDA package is used, and what a missing one, driver or GPU says."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from fake_cudart import FakeCudart
from fake_gpu import FakeGpu
from fake_pycuda import FakePyCuda

from tvmkd.base.errors import MissingError
from tvmkd.tensorrt import cuda


def _packages(monkeypatch: pytest.MonkeyPatch, **modules: Any) -> None:
    """Makes only these of the two packages importable."""
    for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime", "pycuda", "pycuda.driver"):
        monkeypatch.setitem(sys.modules, name, None)
    for package, (inner, api) in modules.items():
        parts = package.split("_")
        for depth in range(1, len(parts) + 1):
            monkeypatch.setitem(sys.modules, ".".join(parts[:depth]), ModuleType(parts[depth - 1]))
        name = ".".join(parts)
        monkeypatch.setattr(sys.modules[name], inner, api, raising=False)
        monkeypatch.setitem(sys.modules, f"{name}.{inner}", api)
        if len(parts) == 1:
            continue
        monkeypatch.setattr(sys.modules[parts[0]], parts[1], sys.modules[name], raising=False)


def test_the_package_with_graphs_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    bindings = ("runtime", FakeCudart(FakeGpu()))
    pycuda = ("driver", FakePyCuda(FakeGpu()))
    _packages(monkeypatch, cuda_bindings=bindings, pycuda=pycuda)
    assert cuda.find().package == "cuda-bindings"
    _packages(monkeypatch, pycuda=pycuda)
    found = cuda.find(spin=False)
    assert (found.package, found.spin) == ("pycuda", False)


def test_a_missing_package_driver_or_gpu_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _packages(monkeypatch)
    with pytest.raises(MissingError, match=r"pip install cuda-bindings; or .*cuda\.h") as caught:
        cuda.find()
    assert caught.value.exit_code == 5
    old = FakeGpu()
    old.too_old = True
    for gpu, message in (
        (FakeGpu(driver=0), r"no NVIDIA driver: .*nvidia-smi"),
        (FakeGpu(devices=0), "finds no GPU"),
        (old, r"driver \(CUDA 12\.4\) is older .*'cuda-bindings==12\.\*'"),
    ):
        _packages(monkeypatch, cuda_bindings=("runtime", FakeCudart(gpu)))
        with pytest.raises(MissingError, match=message) as caught:
            cuda.find()
        assert "pycuda" not in str(caught.value)
