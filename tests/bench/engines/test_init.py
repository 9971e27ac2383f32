from __future__ import annotations

from importlib import metadata

import pytest

from tvmkd.base import engine_registry
from tvmkd.base.errors import UsageError
from tvmkd.bench import engines
from tvmkd.bench.spec import EngineSpec
from tvmkd.tensorrt import device


def test_engines_of_your_own() -> None:
    made = engines.create(EngineSpec("a", "bench.engines_for_tests:Matmul"), threads=1)
    assert type(made).__name__ == "Matmul"
    assert (made.device, made.file, made.link, made.built_here) == (None, "onnx", None, False)


@pytest.mark.parametrize("kind", ["caffe", "no.such.module:Class", "bench.engines_for_tests:None_"])
def test_unknown_kinds(kind: str) -> None:
    with pytest.raises(UsageError):
        engines.create(EngineSpec("a", kind), threads=1)


def test_a_class_that_is_no_engine_is_refused() -> None:
    with pytest.raises(UsageError, match=r'"pathlib:Path": is no subclass of .*base\.Engine'):
        engines.engine_class("pathlib:Path")


def test_what_a_gpu_runs_is_only_offered_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def distribution(name: str) -> None:
        if name != "tensorrt-rtx":
            raise metadata.PackageNotFoundError(name)

    def lacks(name: str) -> str | None:
        return engines.engine_class(name).lacks(name)

    monkeypatch.setattr(metadata, "distribution", distribution)
    monkeypatch.setattr(device, "find", lambda: None)
    assert engines.on_gpu() == []
    assert "nvidia-smi" in str(lacks("tensorrt-rtx"))
    monkeypatch.setattr(device, "find", lambda: device.Gpu("Fake GPU", "8.6", "550"))
    assert engines.on_gpu() == ["tensorrt-rtx"]
    assert lacks("onnxruntime:cuda") == (
        "onnxruntime:cuda needs onnxruntime-gpu: pip install onnxruntime-gpu"
    )
    assert "JetPack" in str(lacks("tensorrt"))
    on_gpu = [name for name in engine_registry.ENGINES if engines.engine_class(name).needs_gpu()]
    torch = ["torch:cuda", "torch.compile:cuda"]
    ort = ["onnxruntime:cuda", "onnxruntime:tensorrt"]
    assert on_gpu == [*torch, *ort, "tensorrt", "tensorrt-rtx"]


def test_engines_here_lack_nothing_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "find", lambda: None)
    for name in ("onnxruntime", "torch", "tvm", "tensorrt@board"):
        assert engines.engine_class(name).lacks(name) is None
