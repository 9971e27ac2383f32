"""The stage ``compare``: measures the engines that the config names beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tvmkd.base import console
from tvmkd.stages.base import Stage
from tvmkd.stages.build import UNTUNED, Build


class Compare(Stage):
    """``comparison.json``."""

    name = "compare"
    after = Build

    @property
    def _budget(self) -> float | None:
        return self.context.target.budget.get("model_ms")

    def _engines(self) -> list[tuple[str, Path]]:
        """The engines, and what each of them runs."""
        context = self.context
        paths = {
            "torch": context.student,
            "torch.compile": context.student,
            UNTUNED: context.untuned,
            "tvm": context.artifact,
        }
        return [(name, paths.get(name, context.onnx)) for name in context.cfg.compare.engines]

    def inputs(self) -> dict[str, Any]:
        """What each engine runs, the code and the versions behind it, and the method."""
        context, cfg = self.context, self.context.cfg
        engines = self._engines()
        paths = {path for _, path in engines}
        return {
            "engines": [(name, context.hash(path)) for name, path in engines],
            "timing": context.timing,
            "compiler": context.compiler if paths & {context.artifact, context.untuned} else None,
            "batch": cfg.export.batch,
            "budget": self._budget,
            "code": [cfg.student.model, context.source(cfg.student.model)]
            if context.student in paths
            else None,
            "onnx": [context.onnx_hash(path) for path in (context.onnx, context.teacher_onnx)],
            "samples": context.hash(context.samples),
        }

    def outputs(self) -> list[Path]:
        """The comparison."""
        return [self.context.comparison]

    def run(self) -> dict[str, Any]:
        """Returns medians by engine, what was left out, the verdict, and the teacher's median."""
        from tvmkd.bench import EngineSpec, compare, table

        context, cfg = self.context, self.context.cfg.compare
        # The config names the code, so a checkpoint of it may be run.
        code = {
            "model": context.cfg.student.model,
            "search_in": [str(folder) for folder in context.search_in],
        }
        specs = [
            EngineSpec(name, name, path, options=code if path == context.student else {})
            for name, path in self._engines()
        ]
        with table.following() as tell:
            result = compare(
                specs,
                context.onnx,
                self._samples(),
                threads=context.threads,
                seconds=cfg.seconds,
                rounds=cfg.rounds,
                budget_ms=self._budget,
                progress=tell,
            )
        result.save(context.comparison)
        table.show(result)
        return {
            "teacher_ms": self._time_teacher(),
            "threads": result.method.threads,
            "engines": {
                engine.name: {"p50": engine.p50, "p99": engine.p99, "ci95": engine.ci95}
                for engine in result.engines
            },
            "left_out": {item.name: item.reason for item in result.left_out},
            "verdict": result.verdict.sentence,
        }

    def _samples(self) -> list[dict[str, Any]]:
        """The real inputs, one batch a sample."""
        import numpy as np

        batch = self.context.cfg.export.batch
        with np.load(self.context.samples, allow_pickle=False) as saved:
            ((name, pictures),) = saved.items()
        count = len(pictures) // batch
        return [{name: pictures[n * batch : (n + 1) * batch]} for n in range(count)]

    def _time_teacher(self) -> float | None:
        """The teacher's median in ONNX Runtime in ms, to place it beside the student."""
        teacher = self.context.teacher_onnx
        if not teacher.is_file():
            return None
        from tvmkd.bench import EngineSpec, compare

        with console.working("timing the teacher in ONNX Runtime"):
            result = compare(
                [EngineSpec("onnxruntime", "onnxruntime", teacher)],
                teacher,
                threads=self.context.threads,
                seconds=min(1.0, self.context.cfg.compare.seconds),
                rounds=2,
            )
        return result.engines[0].p50 if result.engines else None
