"""Teachers and students, found by name."""

from __future__ import annotations

from tvmkd.models.registry import arguments, build, is_builtin

__all__ = ["arguments", "build", "is_builtin"]
