"""The smallest config that still trains both a teacher and students."""

from __future__ import annotations

from typing import Any

from tvmkd import config

SECTIONS: dict[str, dict[str, Any]] = {
    "project": {"name": "small", "seed": 3},
    "data": {"dataset": "digits", "image_size": 8},
    "teacher": {"model": "residual", "args": {"widths": [8], "depth": 1}, "epochs": 2},
    "student": {"model": "depthwise", "args": {"stem": 8, "blocks": [[8, 1]]}},
    "distill": {"epochs": 3, "lr": 4e-3, "seeds": [0, 1]},
}


def small(**changes: dict[str, Any]) -> config.Config:
    """`SECTIONS` with some keys of some sections changed."""
    merged = {name: {**SECTIONS.get(name, {}), **changes.get(name, {})} for name in SECTIONS}
    return config.parse(merged)
