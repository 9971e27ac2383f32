from __future__ import annotations

import argparse
import errno
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.models import checkpoint
from tvmkd.models.checkpoint import Checkpoint


def sample() -> Checkpoint:
    model = nn.Linear(3, 2)
    return Checkpoint(
        {"spec": "depthwise", "kwargs": {"blocks": [[8, 1]]}},
        model.state_dict(),
        epoch=4,
        meta={"teacher": "residual"},
    )


def test_round_trip(tmp_path):
    saved = sample()
    checkpoint.save(tmp_path / "deep" / "a.pt", saved)
    loaded = checkpoint.load(tmp_path / "deep" / "a.pt")
    assert loaded.model == saved.model
    assert (loaded.epoch, loaded.meta) == (4, {"teacher": "residual"})
    assert checkpoint.fingerprint(loaded.state) == checkpoint.fingerprint(saved.state)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.pt"]


def test_a_failed_write_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    checkpoint.save(path, sample())
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"a\.pt: the disk is full"):
        checkpoint.save(path, sample())
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_missing(tmp_path):
    with pytest.raises(InputError, match="there is no such checkpoint"):
        checkpoint.load(tmp_path / "no.pt")


@pytest.mark.parametrize("keep", [0, 10, 400])
def test_cut_short(tmp_path, keep):
    path = tmp_path / "a.pt"
    checkpoint.save(path, sample())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"a\.pt: not a checkpoint, or damaged"):
        checkpoint.load(path)


def test_code_in_a_file_does_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "evil.pt"
    torch.save({"format": checkpoint.FORMAT, "state": Evil()}, path, pickle_module=pickle)
    with pytest.raises(InputError, match="not a checkpoint") as caught:
        checkpoint.load(path)
    assert not (tmp_path / "ran").exists()
    assert "model.state_dict()" in str(caught.value)


def test_a_whole_model_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / "a.pt"
    for content, kind in (
        (nn.Linear(3, 2), "torch.nn.modules.linear.Linear"),
        ({"model": nn.Linear(3, 2)}, "torch.nn.modules.linear.Linear"),
        ({"state_dict": {}, "args": argparse.Namespace(a=1)}, "argparse.Namespace"),
    ):
        torch.save(content, path)
        with pytest.raises(InputError) as caught:
            checkpoint.weights(path)
        text = str(caught.value)
        assert f"holds Python objects ({kind})" in text
        assert 'torch.save(model.state_dict(), "weights.pt")' in text
        assert text.isprintable()


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_other_kinds_of_files_are_told(tmp_path):
    path = tmp_path / "a.pt"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    with pytest.raises(InputError, match="git lfs pull"):
        checkpoint.read(path)
    torch.jit.trace(nn.Linear(3, 2), torch.zeros(1, 3)).save(str(path))
    with pytest.raises(InputError, match="is a TorchScript program"):
        checkpoint.read(path)
    with pytest.raises(InputError, match="is a folder"):
        checkpoint.read(tmp_path)
    torch.save({"epoch": 3, "note": "none"}, path)
    with pytest.raises(InputError, match=r"holds no state_dict \(keys epoch, note\)"):
        checkpoint.weights(path)


def test_numbers_of_numpy_beside_the_weights_are_no_code(tmp_path):
    source = nn.Linear(3, 2)
    path = tmp_path / "w.pt"
    extra = {"best": np.float64(0.9), "epoch": np.int64(3), "curve": np.ones(3)}
    torch.save({"state_dict": source.state_dict(), **extra}, path)
    assert torch.equal(checkpoint.weights(path)["weight"], source.weight)


def test_safetensors(tmp_path):
    source, other = nn.Linear(3, 2), nn.Linear(3, 2)
    path = tmp_path / "w.bin"
    save_file(source.state_dict(), path)
    checkpoint.load_weights(other, path, "student")
    torch.testing.assert_close(other.weight, source.weight)


def test_weights_that_are_nan_are_named(tmp_path):
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.bias[0] = float("nan")
    torch.save(model.state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"w\.pt: bias holds NaN or infinity: the training"):
        checkpoint.load_weights(nn.Linear(3, 2), tmp_path / "w.pt", "teacher")


def test_other_files_and_newer_versions(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"epoch": 1}, path)
    with pytest.raises(InputError, match="not a tvmkd checkpoint"):
        checkpoint.load(path)
    torch.save({"format": checkpoint.FORMAT, "version": 99}, path)
    with pytest.raises(InputError, match="version 99"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        lambda s: {"state_dict": s},
        lambda s: {"model": s},
        lambda s: {"model_state_dict": s, "optimizer_state_dict": {"state": {}}, "epoch": 1},
        lambda s: {"state_dict": {f"model.{key}": s[key] for key in s}, "epoch": 1},
    ],
)
def test_weights_of_other_trainers(tmp_path, wrap):
    source, other = nn.Linear(3, 2), nn.Linear(3, 2)
    path = tmp_path / "w.pt"
    torch.save(wrap({f"module.{key}": value for key, value in source.state_dict().items()}), path)
    checkpoint.load_weights(other, path, "student")
    torch.testing.assert_close(other.weight, source.weight)
    with pytest.raises(InputError, match=r"w\.pt: not the weights of student.*size mismatch"):
        checkpoint.load_weights(nn.Linear(4, 2), path, "student")


def test_a_fingerprint_sees_one_changed_value():
    state = sample().state
    before = checkpoint.fingerprint(state)
    state["bias"][0] += 1e-6
    assert checkpoint.fingerprint(state) != before
