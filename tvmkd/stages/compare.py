"""The stage ``compare``: measures the engines that the config names beside each other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base import console
from tvmkd.base.engine_registry import ENGINES, TVM, UNTUNED
from tvmkd.stages.base import Stage
from tvmkd.stages.build import Build

if TYPE_CHECKING:
    from tvmkd.bench import EngineSpec


class Compare(Stage):
    """``comparison.json``."""

    name = "compare"
    after = Build

    @property
    def _budget(self) -> float | None:
        return self.context.target.budget.get("model_ms")

    def _specs(self) -> list[EngineSpec]:
        """The engines, and what each of them runs."""
        from tvmkd.bench import selection

        context, cfg = self.context, self.context.cfg
        artifacts = {
            UNTUNED: context.untuned,
            TVM: context.artifact,
            f"{TVM}:{cfg.tune.stack}": context.artifact,
        }
        # The config names the code, so a checkpoint of it may be run.
        files = selection.Files(
            context.onnx, artifacts, context.student, cfg.student.model, context.search_in
        )
        specs = selection.select(cfg.compare.engines, files)
        return [spec for spec in map(self._in_precision, specs) if spec is not None]

    def _in_precision(self, spec: EngineSpec) -> EngineSpec | None:
        """An engine that runs ``student.onnx``, or what was made of it, has its precision.

        None for one that runs the checkpoint, which is not the network of an int8 file.
        """
        from tvmkd.bench.engines import engine_class

        precision = self.context.precision
        if engine_class(spec.kind).file == "checkpoint":
            return None if precision == "int8" else spec
        return dataclasses.replace(spec, precision=precision)

    @property
    def _reference(self) -> Path | None:
        """The FP32 file for the outputs to agree with; None: the file that is compared."""
        return self.context.full_precision if self.context.precision == "fp16" else None

    def inputs(self) -> dict[str, Any]:
        """What each engine runs, the code and the versions behind it, and the method."""
        context, cfg = self.context, self.context.cfg
        specs = self._specs()
        paths = {Path(spec.path) for spec in specs if spec.path is not None}
        return {
            "engines": [
                (spec.name, None if spec.path is None else context.hash(Path(spec.path)))
                for spec in specs
            ],
            "timing": context.timing,
            "compiler": context.compiler if paths & {context.artifact, context.untuned} else None,
            "batch": cfg.export.batch,
            "precision": context.precision,
            "reference": self.context.hash(self._reference),
            "budget": self._budget,
            "code": [cfg.student.model, context.source(cfg.student.model)]
            if context.student in paths
            else None,
            "engine_code": {
                spec.kind: context.source(spec.kind) for spec in specs if spec.kind not in ENGINES
            },
            "onnx": [context.onnx_hash(path) for path in (context.onnx, context.teacher_onnx)],
            "samples": context.hash(context.samples),
        }

    def outputs(self) -> list[Path]:
        """The comparison."""
        return [self.context.comparison]

    def run(self) -> dict[str, Any]:
        """Returns medians by engine, what was left out, the verdict, and the teacher's median."""
        from tvmkd.bench import CompareOptions, compare, table

        context, cfg = self.context, self.context.cfg.compare
        options = CompareOptions(
            threads=context.threads,
            seconds=cfg.seconds,
            rounds=cfg.rounds,
            processes=cfg.processes,
            budget_ms=self._budget,
            reference=self._reference,
        )
        with table.following() as tell:
            result = compare(
                self._specs(), context.onnx, self._samples(), options=options, progress=tell
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
        from tvmkd.bench import CompareOptions, EngineSpec, compare

        options = CompareOptions(
            threads=self.context.threads,
            seconds=min(1.0, self.context.cfg.compare.seconds),
            rounds=2,
            processes=1,
        )
        with console.working("timing the teacher in ONNX Runtime"):
            spec = EngineSpec("onnxruntime", "onnxruntime", teacher)
            result = compare([spec], teacher, options=options)
        return result.engines[0].p50 if result.engines else None
