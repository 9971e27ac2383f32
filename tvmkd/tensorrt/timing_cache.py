"""TensorRT's timing cache in a file: measured tactics that make later builds faster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tvmkd.base import files
from tvmkd.tensorrt.api import Bindings


def attach(config: Any, path: Path, bindings: Bindings) -> list[str]:
    """Loads the timing cache in ``path`` into ``config``; an empty one if there is no file.

    Returns:
        Notes for the user.
    """
    if bindings.product == "tensorrt-rtx":
        return ["TensorRT-RTX measures nothing when it builds and keeps no timing cache"]
    if not hasattr(config, "create_timing_cache"):
        return [f"{bindings.title} has no timing cache"]
    saved = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(saved)
    # set_timing_cache refuses measurements of another GPU or version.
    if cache is not None and config.set_timing_cache(cache, False):
        return []
    fresh = config.create_timing_cache(b"")
    if fresh is not None:
        config.set_timing_cache(fresh, False)
    return [f"{path}: the timing cache is of another GPU or version and is replaced"]


def keep(config: Any, path: Path, bindings: Bindings) -> None:
    """Writes the timing cache of ``config`` to ``path``."""
    if bindings.product == "tensorrt-rtx" or not hasattr(config, "get_timing_cache"):
        return
    cache = config.get_timing_cache()
    if cache is None:
        return
    files.write_bytes(path, bytes(cache.serialize()))
