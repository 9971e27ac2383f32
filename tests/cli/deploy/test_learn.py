from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from test_learn_head import examples, network


def test_a_head(tvmkd: Any, tmp_path: Path) -> None:
    net, given = network(tmp_path / "net.onnx"), tmp_path / "train.npz"
    np.savez(given, **examples())
    out = tmp_path / "out"
    done = tvmkd(
        "deploy", "learn", net, "--examples", given, "--max-classes", 6, "-o", out, "--json"
    )
    assert done.code == 0, done.err
    made = json.loads(done.out)
    assert (made["classes"], made["max_classes"], made["features"]) == (4, 6, 12)
    assert made["head_bytes"] == (out / "head.bin").stat().st_size
    done = tvmkd("deploy", "learn", net, "--examples", given, "--held-back", given, "-o", out)
    assert f"tvmkd build {out / 'net.onnx'}" in done.out


def test_bad_input(tvmkd: Any, tmp_path: Path) -> None:
    net, given = network(tmp_path / "net.onnx"), tmp_path / "train.npz"
    np.savez(given, **examples())
    for words, line in (
        ((net, "--examples", tmp_path / "none.npz"), "none.npz: there is no such file of examples"),
        ((net, "--examples", net), "net.onnx: not an .npz of arrays"),
        ((given, "--examples", given), "train.npz"),
        ((net, "--examples", given, "--target", "jetson-nan"), "jetson-nano"),
    ):
        done = tvmkd("deploy", "learn", *words, "-o", tmp_path / "out")
        assert done.code == 4, done.err
        assert line in done.line
    assert sorted(os.listdir(tmp_path)) == ["net.onnx", "train.npz"]
