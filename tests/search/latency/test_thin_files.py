from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
from torch import nn

from tvmkd.search.latency import skeleton, thin_files
from tvmkd.search.latency.lowering import structure


def weights(path: Path) -> dict[str, np.ndarray]:
    graph = onnx.load(path).graph
    return {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}


def test_a_network_keeps_its_structure_and_little_of_its_weights(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 128, 3))
    path = skeleton.write(network, (1, 3, 16, 16), tmp_path / "a.onnx")
    size, before, known = path.stat().st_size, weights(path), structure(path)
    thin_files.thin(path)
    assert path.stat().st_size < size / 50
    whole = thin_files.whole(path, tmp_path / "b.onnx")
    assert whole.stat().st_size == size
    assert structure(whole) == known
    onnx.checker.check_model(os.fspath(whole), full_check=True)
    after = weights(whole)
    for name, values in before.items():
        assert (after[name].shape, after[name].dtype) == (values.shape, values.dtype)
        assert np.ptp(after[name]) > 0 or values.size == 1
        first = values.reshape(-1)[: thin_files.KEPT]
        assert np.array_equal(after[name].reshape(-1)[: thin_files.KEPT], first)
