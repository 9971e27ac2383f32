"""Imports a file that is in no package: a script, or a part of the benchmarks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


def module(path: str, name: str) -> ModuleType:
    """The module in a file, imported under a name of its own.

    Args:
        path: relative to the repository.
        name: that no other module has.
    """
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made  # dataclasses look there
    spec.loader.exec_module(made)
    return made
