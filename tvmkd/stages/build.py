"""The stage ``build``: compiles the student to artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tvmkd.base import console
from tvmkd.base.engine_registry import UNTUNED
from tvmkd.base.errors import InputError
from tvmkd.stages.base import Stage
from tvmkd.stages.tune import Tune


class Build(Stage):
    """The artifact, and one without tuning if the comparison names it."""

    name = "build"
    after = Tune

    @property
    def _both(self) -> bool:
        return UNTUNED in self.context.cfg.compare.engines

    def check(self) -> list[str]:
        """Looks at the folders of ``[tune] records``."""
        from tvmkd.tuning.records import holds_records
        from tvmkd.tuning.session import check_made_for

        context = self.context
        for folder in context.cfg.tune.records:
            if not holds_records(folder):
                raise InputError(f"[tune] records: {folder}: holds no tuning records")
            target, stack = context.target.to_dict(), context.cfg.tune.stack
            check_made_for(folder, target, stack, same_cores=False)
        return []

    def inputs(self) -> dict[str, Any]:
        """The model, the records, the compiler and the real inputs of the numeric check."""
        from tvmkd.tuning.records import SIDECAR, TRIALS, native

        context = self.context
        # Not what is set aside there: the build itself writes it.
        records = [
            path
            for folder in self._folders
            for path in (*native(folder), folder / SIDECAR, folder / TRIALS)
        ]
        return {
            "onnx": context.onnx_hash(context.onnx),
            "dims": context.dims,
            "records": [context.hash(path) for path in records],
            "samples": context.hash(context.samples),
            "untuned": self._both,
            "building": context.building,
        }

    @property
    def _folders(self) -> list[Path]:
        return [self.context.records, *self.context.cfg.tune.records]

    def outputs(self) -> list[Path]:
        """The artifact folders."""
        context = self.context
        return [context.artifact, *([context.untuned] if self._both else [])]

    def run(self) -> dict[str, Any]:
        """Returns the tuned artifact's ``coverage`` and ``check``."""
        from tvmkd.stacks import progress

        context = self.context
        manifest = self._build(self._folders, context.artifact)
        for line in progress.coverage_lines(manifest):
            console.say(f"  {line}")
        if self._both:
            self._build([], context.untuned, shipped=False)
        return {"coverage": manifest["coverage"], "check": manifest["check"]}

    def _build(self, records: list[Path], out: Path, *, shipped: bool = True) -> dict[str, Any]:
        from tvmkd.stacks import progress
        from tvmkd.stacks.compile import build

        context = self.context
        with progress.following(f"building for {context.target.name}") as follow:
            return build(
                context.onnx,
                context.target,
                records,
                out,
                shipped=shipped,
                inputs=context.samples,
                dims=context.dims,
                stack=context.cfg.tune.stack,
                on_event=follow,
            )
