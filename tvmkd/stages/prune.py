"""The stage ``prune``: takes channels out of the student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tvmkd.stages.base import Stage
from tvmkd.stages.distill import Distill


class Prune(Stage):
    """``pruned.pt``: the student with fewer channels, as far as that made it faster."""

    name = "prune"
    after = Distill
    optional = True
    makes_student = True

    def inputs(self) -> dict[str, Any]:
        """The student, its fine-tuning, and how each try is compiled and timed."""
        context = self.context
        section = context.cfg.prune
        assert section is not None
        return {
            "student": context.hash(context.distilled),
            "section": section.model_dump(mode="json"),
            "fine_tuning": context.fine_tuning,
            "building": context.building,
            "threads": context.threads,
        }

    def outputs(self) -> list[Path]:
        """The pruned student and the curve."""
        return [self.context.student, self.context.folder / "pruning.html"]

    def run(self) -> dict[str, Any]:
        """Returns what `tvmkd.prune.pruning.prune` found."""
        from tvmkd.prune.pruning import prune

        context = self.context
        return prune(context.cfg, context.target, context.folder, search_in=context.search_in)
