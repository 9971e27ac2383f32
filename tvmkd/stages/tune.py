"""The stage ``tune``: searches fast kernels by trials on boards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tvmkd.stages.base import Stage
from tvmkd.stages.export import Export


class Tune(Stage):
    """The folder of tuning records."""

    name = "tune"
    after = Export

    def check(self) -> list[str]:
        """Finds the interpreter of the stack."""
        from tvmkd.runtime import interpreters

        interpreters.find(self.context.cfg.tune.stack)
        return []

    def inputs(self) -> dict[str, Any]:
        """The model, the target, the compiler and the search's settings."""
        context = self.context
        return {
            "onnx": context.onnx_hash(context.onnx),
            "dims": context.dims,
            "target": context.target.to_dict(),
            "tune": context.cfg.tune.model_dump(mode="json", exclude={"records"}),
            "compiler": context.compiler,
        }

    def outputs(self) -> list[Path]:
        """The records and the trials; not what a build sets aside there."""
        from tvmkd.tuning.records import SIDECAR, TRIALS, native

        folder = self.context.records
        others = (folder / name for name in (SIDECAR, TRIALS))
        return [*native(folder), *(path for path in others if path.exists())]

    def run(self) -> dict[str, Any]:
        """Returns the session's summary."""
        from tvmkd.config import parse_tracker
        from tvmkd.stacks.compile import tune
        from tvmkd.tuning import table

        context, cfg = self.context, self.context.cfg.tune
        with table.following() as follow:
            return tune(
                context.onnx,
                context.target,
                context.records,
                trials=cfg.trials,
                tracker=None if cfg.tracker == "local" else parse_tracker(cfg.tracker),
                key=cfg.key,
                boards=cfg.boards,
                seed=cfg.seed,
                dims=context.dims,
                stack=cfg.stack,
                on_event=follow,
            )
