"""The stages of a run, one class a file; `tvmkd.stages.pipeline` runs them in order.

Importing this package loads nothing heavy: the command line needs the names to show its help.
"""

from __future__ import annotations

from tvmkd.stages.base import Stage, in_order
from tvmkd.stages.gate import Gate

__all__ = ["CLASSES", "OPTIONAL", "STAGES", "Stage"]

CLASSES = in_order(Gate)
STAGES = tuple(stage.name for stage in CLASSES)
OPTIONAL = tuple(stage.name for stage in CLASSES if stage.optional)
