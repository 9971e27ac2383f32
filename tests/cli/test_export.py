from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import nets
import pytest
import torch

from tvmkd.cli.export import argument


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Plain weights, and the module that made them in the current folder."""
    (tmp_path / "exported_nets.py").write_text(nets.MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import importlib

    module = importlib.import_module("exported_nets")
    torch.save(module.net(4).state_dict(), "weights.pt")
    return tmp_path / "weights.pt"


def test_weights_of_ones_own_network(tvmkd: Any, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "exported_nets.py").write_text(
        nets.MODULE + "\ndef four():\n    return net(4)\n", encoding="utf-8"
    )
    import importlib
    import sys

    importlib.reload(sys.modules["exported_nets"])
    out = tmp_path / "m.onnx"
    command = ("export", weights, "-o", out, "--model", "exported_nets:four")
    done = tvmkd(*command, "--input-shape", "1,1,32,32", "--json")
    assert done.code == 0, done.err
    info = json.loads(done.out)
    assert info["inputs"][0]["shape"] == [1, 1, 32, 32]
    assert info["opset"] == 18
    done = tvmkd(*command, "--input-shape", "1x1x32x32", "--dynamic-batch")
    assert done.code == 0, done.err
    assert "agrees with PyTorch" in done.out
    # What a free batch is for.
    assert (
        tvmkd(
            "compare",
            out,
            "--dim",
            "batch=3",
            "--seconds",
            "0.05",
            "--rounds",
            "2",
            "--processes",
            "1",
        ).code
        == 0
    )


def test_what_is_missing_is_said(tvmkd: Any, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    done = tvmkd("export", tmp_path / "gone.pt", "-o", out)
    assert (done.code, done.line) == (4, f"{tmp_path / 'gone.pt'}: there is no such checkpoint")
    done = tvmkd("export", weights, "-o", out)
    assert done.code == 4
    assert "--model MODULE:CALLABLE" in done.line
    (tmp_path / "junk.pt").write_bytes(b"junk")
    assert tvmkd("export", tmp_path / "junk.pt", "-o", out).code == 4
    assert tvmkd("export", weights, "-o", out, "--input-shape", "1,x").code == 2
    assert not out.exists()


def test_half_precision_and_what_fuses(tvmkd: Any, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "halved_nets.py").write_text(
        nets.MODULE + "\ndef four():\n    return net(4)\n", encoding="utf-8"
    )
    out = tmp_path / "half.onnx"
    command = ["export", weights, "-o", out, "--model", "halved_nets:four"]
    command += ["--input-shape", "1,1,32,32"]
    refused = tvmkd(*command, "--precision", "fp16", "--target", "raspberry-pi-4")
    assert refused.code == 4
    assert "no half-precision arithmetic" in refused.line
    assert not out.exists()
    assert tvmkd(*command, "--keep-fp32", "0").code == 2
    done = tvmkd(*command, "--precision", "fp16", "--keep-fp32", "5", "--json")
    assert done.code == 0, done.err
    info = json.loads(done.out)
    assert (info["precision"], info["inputs"][0]["dtype"]) == ("fp16", "float32")
    assert info["fusion"]["convolutions"] == info["fusion"]["activations"] == 2
    assert 0 < info["fp16_error"] < 2e-2
    done = tvmkd(*command, "--target", "raspberry-pi-4")
    assert "2 convolutions, all with their batch normalisation folded" in done.out


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("num_classes=10", ("num_classes", 10)),
        (" widths = [8, 16] ", ("widths", [8, 16])),
        ("pretrained=False", ("pretrained", False)),
        ("pretrained=false", ("pretrained", False)),
        ("model_name=resnet18", ("model_name", "resnet18")),
        ("shape=(1, 2)", ("shape", (1, 2))),
    ],
)
def test_an_argument_of_the_model(text: str, wanted: tuple[str, Any]) -> None:
    assert argument(text) == wanted


@pytest.mark.parametrize("text", ["num_classes", "=3", "a b=3"])
def test_no_argument_of_a_model(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not NAME=VALUE"):
        argument(text)
