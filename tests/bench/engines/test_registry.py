from __future__ import annotations

import importlib
from importlib import metadata

import pytest

from tvmkd.base.errors import UsageError
from tvmkd.bench import engines
from tvmkd.bench.engines.base import Engine
from tvmkd.bench.spec import EngineSpec
from tvmkd.tensorrt import device


@pytest.mark.parametrize("kind", engines.KINDS)
def test_every_kind_is_an_engine(kind: str) -> None:
    module, _, name = engines.check_kind(kind).partition(":")
    assert issubclass(getattr(importlib.import_module(module), name), Engine)


def test_engines_of_your_own() -> None:
    made = engines.create(EngineSpec("a", "bench.engines_for_tests:Matmul"), threads=1)
    assert type(made).__name__ == "Matmul"


@pytest.mark.parametrize("kind", ["caffe", "no.such.module:Class", "bench.engines_for_tests:None_"])
def test_unknown_kinds(kind: str) -> None:
    with pytest.raises(UsageError):
        engines.create(EngineSpec("a", kind), threads=1)


def test_what_a_gpu_runs_is_only_offered_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def distribution(name: str) -> None:
        if name != "tensorrt-rtx":
            raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", distribution)
    monkeypatch.setattr(device, "find", lambda: None)
    assert engines.on_gpu() == []
    assert "nvidia-smi" in str(engines.why_not("tensorrt-rtx"))
    monkeypatch.setattr(device, "find", lambda: device.Gpu("Fake GPU", "8.6", "550"))
    assert engines.on_gpu() == ["tensorrt-rtx"]
    for kind, package in engines.GPU_KINDS.items():
        assert (package in str(engines.why_not(kind))) == (kind != "tensorrt-rtx")
    assert set(engines.GPU_KINDS) <= set(engines.KINDS)
