"""The stage ``quantize``: the student in eight bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tvmkd.base import console
from tvmkd.stages.base import Stage
from tvmkd.stages.prune import Prune


class Quantize(Stage):
    """``student-int8.onnx``: checked in ONNX Runtime, and timed beside the float one."""

    name = "quantize"
    after = Prune
    optional = True
    makes_student = True

    def check(self) -> list[str]:
        """Refuses int8 where the target's file says that it does not pay, unless allowed.

        Where the target runs here that is measured instead: see `run`.
        """
        context, section = self.context, self.context.cfg.quantize
        assert section is not None
        if context.target.runs_here() is None:
            return []
        slow = context.target.check_pays("int8", section.allow_slow)
        return [] if slow is None else [slow]

    def inputs(self) -> dict[str, Any]:
        """The student, its fine-tuning, and how both files are compiled and timed."""
        context = self.context
        section = context.cfg.quantize
        assert section is not None
        return {
            "student": context.hash(context.student),
            "section": section.model_dump(mode="json", exclude={"allow_slow"}),
            "fine_tuning": context.fine_tuning,
            "building": context.building,
            "timing": context.timing,
        }

    def outputs(self) -> list[Path]:
        """The ONNX file."""
        return [self.context.int8]

    def run(self) -> dict[str, Any]:
        """Returns what `tvmkd.quantize.quantizing.quantize` found."""
        from tvmkd.quantize import quantizing

        context = self.context
        found = quantizing.quantize(
            context.cfg,
            context.target,
            context.student,
            context.folder,
            search_in=context.search_in,
        )
        for line in quantizing.lines(found):
            console.say(f"  {line}")
        return found
