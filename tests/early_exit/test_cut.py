from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from tvmkd import models
from tvmkd.base.errors import InputError
from tvmkd.early_exit.cut import cut
from tvmkd.models.early_exit import EarlyExitNet

SHAPE = (1, 1, 16, 16)


def network(exits: list[str], depth: int = 2) -> EarlyExitNet:
    torch.manual_seed(0)
    found = models.build(
        "early-exit",
        base="residual",
        args={"widths": [8, 16], "depth": depth},
        exits=exits,
        classes=10,
        shape=SHAPE,
    )
    assert isinstance(found, EarlyExitNet)
    return found.eval()


def run(path: Path, values: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return session.run(None, {given.name: values})


def test_the_pieces_one_after_the_other_are_the_network(tmp_path: Path) -> None:
    whole = network(["blocks.0", "blocks.2"])
    paths = cut(whole, tmp_path, SHAPE)
    assert [path.name for path in paths] == ["0.onnx", "1.onnx", "2.onnx"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.onnx", "1.onnx", "2.onnx"]
    image = torch.linspace(-1, 1, 256).view(SHAPE)
    with torch.no_grad():
        last = whole(image)
        wanted = [*whole.branch_logits, last]
    values = image.numpy()
    for path, want in zip(paths, wanted, strict=True):
        logits, *rest = run(path, values)
        np.testing.assert_allclose(logits, want.numpy(), atol=1e-4)
        values = rest[0] if rest else values
    assert not rest, "the last piece gives nothing but logits"


def test_a_cut_that_something_leads_past_is_refused(tmp_path: Path) -> None:
    # Inside a residual block: its shortcut leads past the first convolution.
    shortcut = network(["blocks.1.first"], depth=1)
    with pytest.raises(InputError, match=r'cannot be cut after "blocks.1.first": something else'):
        cut(shortcut, tmp_path, SHAPE)
    assert list(tmp_path.iterdir()) == []
