from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
import torch

from tvmkd.base.errors import InputError
from tvmkd.models import checkpoint
from tvmkd.suites import networks
from tvmkd.suites.definition import Network, Suite

SMALL = Network(name="small", model="depthwise", shape=(1, 1, 32, 32))


def suite(folder: Path, *found: Network) -> Suite:
    return Suite("mine", "", found, folder)


def test_a_model_by_name_becomes_a_file_and_a_checkpoint(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    made = networks.prepare(suite(tmp_path, SMALL), SMALL, tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    (given,) = onnxruntime.InferenceSession(made.onnx).get_inputs()
    assert given.shape == [1, 1, 32, 32]
    assert made.checkpoint is not None
    assert checkpoint.load(made.checkpoint).model == {"spec": "depthwise", "kwargs": {}}
    assert (made.model, made.search_in) == ("depthwise", (tmp_path,))
    # The same again is not made again; another shape is.
    before = made.onnx.stat().st_mtime_ns
    assert networks.prepare(suite(tmp_path, SMALL), SMALL, tmp_path) == made
    assert made.onnx.stat().st_mtime_ns == before
    wide = SMALL.model_copy(update={"shape": (1, 1, 48, 48)})
    networks.prepare(suite(tmp_path, wide), wide, tmp_path)
    (given,) = onnxruntime.InferenceSession(made.onnx).get_inputs()
    assert given.shape == [1, 1, 48, 48]


def test_a_file_lies_beside_the_suite(tmp_path: Path) -> None:
    network = Network(name="a", onnx=Path("a.onnx"))
    with pytest.raises(InputError, match=r"a\.onnx: there is no such file \(network a\)"):
        networks.prepare(suite(tmp_path, network), network, tmp_path / "out")
    (tmp_path / "a.onnx").write_bytes(b"")
    made = networks.prepare(suite(tmp_path, network), network, tmp_path / "out")
    assert (made.onnx, made.checkpoint) == (tmp_path / "a.onnx", None)


def test_a_shape_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    network = SMALL.model_copy(update={"shape": (1, 3, 32, 32)})
    with pytest.raises(InputError, match="depthwise does not run on an input of 1 x 3 x 32 x 32"):
        networks.prepare(suite(tmp_path, network), network, tmp_path)
    assert not (tmp_path / "model.onnx").exists()
