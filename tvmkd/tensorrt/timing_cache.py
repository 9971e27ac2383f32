"""Measured tactics in a file, so that a second build measures less."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tvmkd.base import files
from tvmkd.tensorrt.api import Bindings


def attach(config: Any, path: Path, bindings: Bindings) -> list[str]:
    """Gives ``config`` the measurements in ``path``, none where there is no such file.

    Returns:
        What a person has to know.
    """
    if bindings.product == "tensorrt-rtx":
        return ["TensorRT-RTX measures nothing when it builds and keeps no timing cache"]
    if not hasattr(config, "create_timing_cache"):
        return [f"{bindings.title} has no timing cache"]
    saved = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(saved)
    # Another GPU's or another version's measurements: set_timing_cache says no to them.
    if cache is not None and config.set_timing_cache(cache, False):
        return []
    fresh = config.create_timing_cache(b"")
    if fresh is not None:
        config.set_timing_cache(fresh, False)
    return [f"{path}: the timing cache is of another GPU or version, and is written anew"]


def keep(config: Any, path: Path, bindings: Bindings) -> None:
    """Writes what was measured to ``path``."""
    if bindings.product == "tensorrt-rtx" or not hasattr(config, "get_timing_cache"):
        return
    cache = config.get_timing_cache()
    if cache is None:
        return
    files.write_bytes(path, bytes(cache.serialize()))
