"""tvmkd: a distilled PyTorch student, tuned and compiled by TVM for an edge board, and measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tvmkd.base.version import __version__

if TYPE_CHECKING:
    from tvmkd.artifact import Artifact, load

__all__ = ["Artifact", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # Nothing heavy at import: `tvmkd --help` must answer at once.
    if name in {"Artifact", "load"}:
        from tvmkd import artifact

        return getattr(artifact, name)
    raise AttributeError(f"module 'tvmkd' has no attribute {name!r}")
