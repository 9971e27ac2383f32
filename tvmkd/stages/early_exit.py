"""The stage ``early_exit``: cuts the student at its exits and calibrates their thresholds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tvmkd.base import console
from tvmkd.stages.base import Stage
from tvmkd.stages.quantize import Quantize


class EarlyExit(Stage):
    """``early-exit/exits/``: the student in pieces, each compiled, and the exits' thresholds."""

    name = "early_exit"
    after = Quantize
    optional = True
    makes_student = True

    def inputs(self) -> dict[str, Any]:
        """The student, the data to calibrate on, and how the pieces are compiled and timed."""
        context = self.context
        section = context.cfg.early_exit
        assert section is not None
        # Without a budget the inputs are those of a run before there were any.
        budget = {} if section.budget is None else {"mean_budget": section.budget.value}
        return {
            **budget,
            "student": context.hash(context.student),
            "max_drop": section.max_drop,
            "data": context.data,
            "building": context.building,
            "threads": context.threads,
        }

    def outputs(self) -> list[Path]:
        """The folder of pieces and thresholds."""
        return [self._folder / "exits"]

    def run(self) -> dict[str, Any]:
        """Returns what `tvmkd.early_exit.produce.produce` found."""
        from tvmkd import data
        from tvmkd.early_exit import produce

        context = self.context
        section = context.cfg.early_exit
        assert section is not None
        self._folder.mkdir(exist_ok=True)
        found = produce.produce(
            context.student,
            data.load(context.cfg.data),
            section,
            context.target,
            self._folder,
            threads=context.threads,
            stack=context.cfg.tune.stack,
        )
        for line in produce.lines(found):
            console.say(f"  {line}")
        return found

    @property
    def _folder(self) -> Path:
        return self.context.folder / "early-exit"
