"""Teachers and students, by name."""

from __future__ import annotations

from tvmkd.models.registry import DETECTORS, arguments, build, is_builtin

__all__ = ["DETECTORS", "arguments", "build", "is_builtin"]
