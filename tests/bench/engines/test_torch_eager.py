from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import samples
import torch

from tvmkd import models
from tvmkd.base.errors import InputError
from tvmkd.bench.engines.torch_eager import TorchEngine, to_numpy
from tvmkd.bench.spec import EngineSpec
from tvmkd.models import checkpoint

SAMPLE = {"x": np.random.default_rng(0).standard_normal((1, 1, 32, 32)).astype(np.float32)}


def test_a_checkpoint_runs_as_its_module_does(tmp_path: Path) -> None:
    module = samples.network()
    path = tmp_path / "student.pt"
    saved = checkpoint.Checkpoint({"spec": "depthwise", "kwargs": {}}, module.state_dict())
    checkpoint.save(path, saved)
    before = torch.get_num_threads()
    with TorchEngine(EngineSpec("torch", "torch", path), threads=1) as engine:
        engine.prepare(SAMPLE)
        assert engine.facts()["intra_op_threads"] == 1
        (output,) = engine.infer(SAMPLE)
    torch.set_num_threads(before)
    with torch.inference_mode():
        wanted = module(torch.from_numpy(SAMPLE["x"])).numpy()
    np.testing.assert_allclose(output, wanted, rtol=1e-5, atol=1e-6)


def test_bare_weights_need_a_name(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(models.build("depthwise").state_dict(), path)
    with pytest.raises(InputError, match="holds weights only"):
        TorchEngine(EngineSpec("torch", "torch", path), threads=1).load()
    spec = EngineSpec("torch", "torch", path, options={"model": "depthwise"})
    assert not TorchEngine(spec, threads=1).load().training


def test_somebodys_code_is_run_only_when_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    (tmp_path / "their_module.py").write_text(
        "import torch\n\ndef make():\n    return torch.nn.Linear(2, 2)\n"
    )
    state = torch.nn.Linear(2, 2).state_dict()
    model = {"spec": "their_module:make", "kwargs": {}}
    checkpoint.save(path, checkpoint.Checkpoint(model, state))
    with pytest.raises(InputError, match="runs that code"):
        TorchEngine(EngineSpec("torch", "torch", path), threads=1).load()
    options = {"model": "their_module:make", "search_in": [str(tmp_path)]}
    spec = EngineSpec("torch", "torch", path, options=options)
    assert isinstance(TorchEngine(spec, threads=1).load(), torch.nn.Linear)


def test_a_file_that_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    path.write_bytes(b"garbage")
    with pytest.raises(InputError, match="not a checkpoint") as caught:
        TorchEngine(EngineSpec("torch", "torch", path), threads=1).load()
    assert "\n" not in str(caught.value)


def test_outputs_in_any_container() -> None:
    one = torch.ones(2)
    assert isinstance(to_numpy(one), np.ndarray)
    assert [type(value) for value in to_numpy((one, one))] == [np.ndarray] * 2
    assert list(to_numpy({"a": one})) == ["a"]


def test_a_checkpoints_branches_are_fused_as_in_its_onnx_file(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    path = tmp_path / "student.pt"
    network = models.build("timm:repvit_m0_9", num_classes=2, in_chans=1)
    model = {"spec": "timm:repvit_m0_9", "kwargs": {"num_classes": 2, "in_chans": 1}}
    meta = {"input_shape": "1,1,16,16"}
    checkpoint.save(path, checkpoint.Checkpoint(model, network.state_dict(), meta=meta))
    found = TorchEngine(EngineSpec("torch", "torch", path), threads=1).load()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in found.modules())
