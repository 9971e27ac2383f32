"""A tiny network with exits, its pieces compiled once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tvmkd import config, models
from tvmkd.models import checkpoint

CONFIG: dict[str, Any] = {
    "project": {"name": "exits"},
    "data": {"image_size": 16, "augment": "none"},
    "student": {"model": "residual", "args": {"widths": [8, 16], "depth": 1}},
    "distill": {"loss": "ce", "epochs": 2, "seeds": [0], "lr": 4e-3},
    "early_exit": {"exits": ["blocks.0"], "max_drop": 0.05},
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
