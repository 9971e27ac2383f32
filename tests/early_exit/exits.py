"""A tiny network with exits, its pieces compiled once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from tvmkd import config, models
from tvmkd.artifact import MANIFEST
from tvmkd.base.manifest import FileEntry, Manifest
from tvmkd.early_exit.cut import cut
from tvmkd.early_exit.runtime import Plan
from tvmkd.export.check import check
from tvmkd.models import checkpoint
from tvmkd.models.early_exit import EarlyExitNet

CONFIG: dict[str, Any] = {
    "project": {"name": "exits"},
    "data": {"image_size": 16, "augment": "none"},
    "student": {"model": "residual", "args": {"widths": [8, 16], "depth": 1}},
    "distill": {"loss": "ce", "epochs": 2, "seeds": [0], "lr": 4e-3},
    "early_exit": {"exits": ["blocks.0"], "max_drop": 0.05},
}


METADATA = {
    "classes": json.dumps([f"class {number}" for number in range(10)]),
    "preprocessing": json.dumps({"color": "gray", "mean": 0.25, "std": 0.5}),
}


def parsed(**sections: dict[str, Any]) -> config.Config:
    return config.parse({**CONFIG, **sections})


def student(path: Path) -> Path:
    """A checkpoint of the untrained network."""
    torch.manual_seed(0)
    kwargs = {
        "base": "residual",
        "args": {"widths": [8, 16], "depth": 1},
        "exits": ["blocks.0"],
        "classes": 10,
        "shape": [1, 1, 16, 16],
    }
    network = models.build("early-exit", **kwargs)
    meta = {"input_shape": "1,1,16,16"}
    checkpoint.save(
        path,
        checkpoint.Checkpoint(
            {"spec": "early-exit", "kwargs": kwargs}, network.state_dict(), meta=meta
        ),
    )
    return path


def pieces(folder: Path, thresholds: Sequence[float] = (0.5, 0.5), seed: int = 0) -> Path:
    """What ``tvmkd distill`` writes for an untrained network of three exits, without libraries.

    The pieces' manifests are there, and the ONNX files; nothing is compiled.
    """
    torch.manual_seed(seed)
    shape = (1, 1, 16, 16)
    args = {"widths": [8, 16], "depth": 2}
    after = ["blocks.0", "blocks.2"][: len(thresholds)]
    network = models.build(
        "early-exit", base="residual", args=args, exits=after, classes=10, shape=shape
    )
    assert isinstance(network, EarlyExitNet)
    folder.mkdir(parents=True)
    paths = cut(network.eval(), folder, shape, metadata=METADATA)
    for path in paths:
        info = check(path)
        manifest = Manifest(
            name=path.stem, created="", tvmkd_version="", target={}, stack="relax",
            stack_version="", onnx_sha256=info.sha256, inputs=[], outputs=[],
            files={"model.so": FileEntry(sha256="", size=0)},
        )  # fmt: skip
        (folder / path.stem).mkdir()
        (folder / path.stem / MANIFEST).write_text(manifest.model_dump_json())
    Plan.of(folder, [path.stem for path in paths], thresholds).save(folder)
    return folder


def run(folder: Path, image: np.ndarray) -> list[np.ndarray]:
    """The logits of each exit: ONNX Runtime runs the pieces one by one."""
    found, values = [], image
    for path in sorted(folder.glob("*.onnx")):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        logits, *rest = session.run(None, {session.get_inputs()[0].name: values})
        found.append(logits)
        values = rest[0] if rest else values
    return found
