from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import samples
import torch

from tvmkd.base.errors import MissingError
from tvmkd.bench.engines import engine_class
from tvmkd.bench.engines.torch_cuda import TorchCudaEngine, on_cpu
from tvmkd.bench.spec import EngineSpec
from tvmkd.models import checkpoint
from tvmkd.tensorrt import device

SAMPLE = {"x": np.random.default_rng(0).standard_normal((1, 1, 32, 32)).astype(np.float32)}


class OnCpu(TorchCudaEngine):
    """The same engine without a GPU."""

    where = "cpu"


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A checkpoint, and what its module gives."""
    module = samples.network()
    path = tmp_path / "student.pt"
    made = checkpoint.Checkpoint({"spec": "depthwise", "kwargs": {}}, module.state_dict())
    checkpoint.save(path, made)
    with torch.inference_mode():
        return path, module(torch.from_numpy(SAMPLE["x"])).numpy()


@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-5), ("tf32", 1e-5), ("fp16", 0.05)])
def test_arrays_go_in_and_come_out(
    saved: tuple[Path, np.ndarray], precision: str, error: float
) -> None:
    path, wanted = saved
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with OnCpu(EngineSpec("torch", "torch:cuda", path, precision), threads=1) as engine:
        engine.prepare(SAMPLE)
        (output,) = engine.infer(SAMPLE)
        assert torch.backends.cudnn.allow_tf32 == (precision == "tf32")
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, wanted, atol=error * np.abs(wanted).max())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this torch has a GPU")
def test_a_torch_without_cuda_says_so(saved: tuple[Path, np.ndarray]) -> None:
    spec = EngineSpec("torch", "torch:cuda", saved[0])
    with TorchCudaEngine(spec, threads=1) as engine, pytest.raises(MissingError, match="no CUDA"):
        engine.prepare(SAMPLE)


@pytest.mark.parametrize("kind", ["torch:cuda", "torch.compile:cuda"])
def test_what_the_engines_say_they_are(kind: str) -> None:
    found = engine_class(kind)
    assert (found.device, found.file, found.cuda_graphs) == ("GPU", "checkpoint", True)
    assert found.needs_gpu()
    assert found.precisions == ("tf32", "fp16")
    if device.find() is None:
        assert "needs an NVIDIA GPU" in str(found.lacks(kind))


def test_outputs_of_half_precision_come_out_as_fp32() -> None:
    half = torch.ones(2, dtype=torch.float16)
    assert on_cpu(half).dtype == torch.float32
    assert [each.dtype for each in on_cpu((half, half.long()))] == [torch.float32, torch.int64]
    assert on_cpu({"a": half})["a"].dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this torch has no GPU")
@pytest.mark.parametrize("kind", ["torch:cuda", "torch.compile:cuda"])
@pytest.mark.parametrize("graph", [False, True])
def test_on_a_gpu(saved: tuple[Path, np.ndarray], kind: str, graph: bool) -> None:
    path, wanted = saved
    spec = EngineSpec("torch", kind, path, options={"cuda_graph": graph})
    with engine_class(kind)(spec, threads=1) as engine:
        try:
            engine.prepare(SAMPLE)
        except MissingError as error:  # no compiler
            pytest.skip(str(error))
        for scale in (1.0, 2.0):
            (output,) = engine.infer({"x": scale * SAMPLE["x"]})
            if scale == 1.0:
                np.testing.assert_allclose(output, wanted, rtol=1e-4, atol=1e-5)
        assert np.abs(output - wanted).max() > 1e-3  # the second input was taken
        assert engine.facts()["gpu_memory_bytes"] > 0
