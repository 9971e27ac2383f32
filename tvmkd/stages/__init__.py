"""The stages of a run, a method each; `tvmkd.stages.pipeline` has them do their work in order."""

from __future__ import annotations

STAGES = (
    "distill",
    "prune",
    "quantize",
    "early_exit",
    "export",
    "tune",
    "build",
    "compare",
    "report",
    "gate",
)
OPTIONAL = ("prune", "quantize", "early_exit")  # done where the config has a section of that name
