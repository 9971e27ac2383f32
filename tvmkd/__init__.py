"""tvmkd: a distilled PyTorch student, tuned and compiled by TVM for an edge board, and measured.

The functions are documented in `tvmkd.api`, with an example.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tvmkd.base.version import __version__

if TYPE_CHECKING:
    from tvmkd.api import CompareOptions, EngineSpec, FrameOptions, build, compare, load, tune
    from tvmkd.artifact import Artifact

__all__ = [
    "Artifact",
    "CompareOptions",
    "EngineSpec",
    "FrameOptions",
    "__version__",
    "build",
    "compare",
    "load",
    "tune",
]

# Loaded on first use, so that `tvmkd --help` answers at once and a board loads an artifact only.
_MODULES = {
    "Artifact": "tvmkd.artifact",
    "load": "tvmkd.artifact",
    "FrameOptions": "tvmkd.base.frame_description",
    **dict.fromkeys(("CompareOptions", "EngineSpec", "build", "compare", "tune"), "tvmkd.api"),
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'tvmkd' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
