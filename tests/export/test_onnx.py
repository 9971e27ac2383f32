from __future__ import annotations

import contextlib
import logging
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from tvmkd import __version__
from tvmkd.base.errors import InputError
from tvmkd.export import check, export
from tvmkd.export import onnx as exporter
from tvmkd.models import checkpoint
from tvmkd.models.checkpoint import Checkpoint
from tvmkd.models.depthwise import DepthwiseNet

KWARGS = {"stem": 8, "blocks": [[16, 1]]}


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    model = DepthwiseNet(**KWARGS)
    model(torch.randn(8, 1, 16, 16))  # so that the running statistics are not the initial ones
    path = tmp_path / "student.pt"
    meta = {
        "teacher": "residual",
        "metric": "test accuracy 0.9 ± 0.01",
        "preprocessing": "{}",
        "data_sha256": "abc",
        "input_shape": "1,1,16,16",
        "training": "not for others",
    }
    checkpoint.save(
        path, Checkpoint({"spec": "depthwise", "kwargs": KWARGS}, model.state_dict(), meta=meta)
    )
    return path, model.eval()


def run(path, images):
    session = onnxruntime.InferenceSession(str(path))
    (found,) = session.run(None, {"input": images.numpy()})
    return torch.from_numpy(found)


def test_a_checkpoint(saved, tmp_path):
    source, model = saved
    out = export(source, tmp_path / "out" / "m.onnx")
    info = check(out)
    assert info.inputs[0].shape == (1, 1, 16, 16)
    assert info.outputs[0].shape == (1, 10)
    assert "BatchNormalization" not in info.operators, "folded into the convolutions"
    assert info.metadata == {
        "student": "depthwise",
        "teacher": "residual",
        "metric": "test accuracy 0.9 ± 0.01",
        "preprocessing": "{}",
        "data_sha256": "abc",
        "tvmkd_version": __version__,
    }
    images = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(run(out, images), model(images), atol=1e-4, rtol=1e-3)
    assert [path.name for path in out.parent.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize("opset", [18, 20])
def test_a_free_batch_and_the_opset_asked_for(saved, tmp_path, opset):
    source, model = saved
    out = export(source, tmp_path / "m.onnx", dynamic_batch=True, opset=opset)
    assert check(out, {"batch": 3}).opset == opset
    images = torch.randn(5, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(run(out, images), model(images), atol=1e-4, rtol=1e-3)


def test_the_network_is_not_changed(tmp_path):
    model = DepthwiseNet(**KWARGS).train()
    before = checkpoint.fingerprint(model.state_dict())
    export(model, tmp_path / "m.onnx", (2, 1, 16, 16), metadata={"name": "mine"})
    assert model.training
    assert checkpoint.fingerprint(model.state_dict()) == before
    info = check(tmp_path / "m.onnx")
    assert info.inputs[0].shape == (2, 1, 16, 16)
    assert info.metadata["name"] == "mine"


def test_large_weights_go_beside_the_file(saved, tmp_path):
    source, model = saved
    out = export(source, tmp_path / "m.onnx", external_above=100)
    info = check(out)
    assert [path.name for path in info.external] == ["m.onnx.data"]
    images = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(run(out, images), model(images), atol=1e-4, rtol=1e-3)
    export(source, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx.data").exists()
    assert check(out).external == ()


def test_several_outputs(tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            return self.layer(x), x.sum(1)

    info = check(export(Two(), tmp_path / "m.onnx", (1, 4)))
    assert [entry.name for entry in info.outputs] == ["output0", "output1"]


def test_a_file_with_other_outputs_is_not_kept(saved, tmp_path, monkeypatch):
    """The file is changed between writing and comparing; an older file stays."""
    source, _ = saved
    out = tmp_path / "m.onnx"
    out.write_text("older")
    parity = exporter.parity

    def spoil(network, path, *rest):
        model = onnx.load(path)
        kernel = next(t for t in model.graph.initializer if len(t.dims) == 4)
        values = onnx.numpy_helper.to_array(kernel).copy()
        values.flat[0] += 1
        kernel.CopyFrom(onnx.numpy_helper.from_array(values, kernel.name))
        onnx.save(model, path)
        return parity(network, path, *rest)

    monkeypatch.setattr(exporter, "parity", spoil)
    with pytest.raises(InputError, match="differs between PyTorch and ONNX Runtime"):
        export(source, out)
    assert out.read_text() == "older"
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "student.pt"}


def test_plain_weights_need_a_model_and_a_shape(saved, tmp_path):
    _, model = saved
    path = tmp_path / "w.pt"
    torch.save(model.state_dict(), path)
    with pytest.raises(InputError, match=r"w\.pt: holds weights only; give --model"):
        export(path, tmp_path / "m.onnx")
    with pytest.raises(InputError, match="does not say its input; give --input-shape"):
        export(path, tmp_path / "m.onnx", model="depthwise", model_args=KWARGS)
    export(path, tmp_path / "m.onnx", (1, 1, 16, 16), model="depthwise", model_args=KWARGS)
    with pytest.raises(InputError, match=r"w\.pt: not the weights of"):
        export(path, tmp_path / "m.onnx", (1, 1, 16, 16), model="depthwise")


def test_a_checkpoint_does_not_choose_what_code_runs(tmp_path):
    path = tmp_path / "evil.pt"
    spec = {"spec": "os:mkdir", "kwargs": {"path": str(tmp_path / "ran")}}
    checkpoint.save(path, Checkpoint(spec, {}))
    with pytest.raises(InputError, match=r'"os:mkdir".*if you trust it, give --model os:mkdir'):
        export(path, tmp_path / "m.onnx", (1, 1, 8, 8))
    assert not (tmp_path / "ran").exists()


class DataDependent(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 3, 16, 16), {}, r"cannot be exported for an input of shape \[1, 3, 16, 16\]"),
        ((1, 1, 16, 16), {"opset": 12}, "opset 12: this exporter writes 18 to 23"),
        (None, {}, "give the shape"),
    ],
)
def test_bad_calls(tmp_path, shape, options, message):
    with pytest.raises(InputError, match=message) as caught:
        export(DepthwiseNet(**KWARGS), tmp_path / "m.onnx", shape, **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_control_flow_that_depends_on_data(tmp_path):
    with pytest.raises(InputError, match="DataDependent: cannot be exported") as caught:
        export(DataDependent(), tmp_path / "m.onnx", (1, 4))
    assert "\n" not in str(caught.value)


def test_nan_weights(tmp_path):
    model = nn.Linear(4, 4)
    with torch.no_grad():
        model.weight[0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        export(model, tmp_path / "m.onnx", (1, 4))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [None, InputError("cannot be exported")])
def test_the_exporters_log_is_hidden_and_its_levels_come_back(failure, caplog) -> None:
    names, before = ("torch.onnx", "onnxscript", "onnx_ir"), (logging.INFO, logging.WARNING, 7)
    for name, level in zip(names, before, strict=True):
        caplog.set_level(level, name)
    with warnings.catch_warnings(record=True) as seen, contextlib.suppress(InputError):
        warnings.simplefilter("always")
        with exporter._quiet():
            for name in names:
                logging.getLogger(name).warning("hidden")
                logging.getLogger(name).error("shown")
            warnings.warn("hidden", stacklevel=1)
            if failure:
                raise failure
    assert caplog.messages == ["shown"] * 3
    assert seen == []
    assert tuple(logging.getLogger(name).level for name in names) == before
