"""The stage ``report``: the results as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tvmkd.stages.base import Stage
from tvmkd.stages.compare import Compare


class Report(Stage):
    """``report.html``."""

    name = "report"
    after = Compare

    def inputs(self) -> dict[str, Any]:
        """Every result that the page shows, and what the artifact's profile is taken with."""
        context = self.context
        return {
            "project": context.cfg.project.name,
            "target": context.target.description,
            "comparison": context.hash(context.comparison),
            "compare": context.results.get("compare"),
            "metrics": context.hash(context.metrics),
            "artifact": context.hash(context.artifact),
            "compiler": context.compiler,
            "samples": context.hash(context.samples),
            "records": context.hash(context.records),
        }

    def outputs(self) -> list[Path]:
        """The page."""
        return [self._page]

    @property
    def _page(self) -> Path:
        return self.context.folder / "report.html"

    def run(self) -> dict[str, Any]:
        """Returns the page's ``path``."""
        from tvmkd import report
        from tvmkd.bench.schema import Comparison
        from tvmkd.stacks import progress
        from tvmkd.tuning.records import TRIALS

        context = self.context
        report.write(
            self._page,
            Comparison.load(context.comparison),
            accuracy=self._accuracy(),
            metric=context.results["distill"].get("metric", "accuracy"),
            records_dir=context.records if (context.records / TRIALS).is_file() else None,
            kernels=progress.kernels(context.artifact, context.samples),
            metadata={"target": context.target.description, "run": context.cfg.project.name},
        )
        return {"path": str(self._page)}

    def _accuracy(self) -> list[dict[str, Any]]:
        """The models to place beside each other; the one that was compared comes last."""
        metrics, measured = self.context.results["distill"], self.context.results["compare"]
        engines = measured["engines"]
        fastest = min(engines, key=lambda name: float(engines[name]["p50"]), default=None)
        latency = engines.get("tvm", engines.get(fastest, {})).get("p50")
        rows = []
        teacher = metrics["teacher"]
        if teacher is not None and teacher["test_accuracy"] is not None:
            rows.append(("teacher", teacher["test_accuracy"], measured["teacher_ms"]))
        for kind, label in (("baseline", "student, not distilled"), ("distilled", "student")):
            score = metrics["summary"].get(kind)
            if score is not None:
                rows.append((label, score["mean"], latency))
        keys = ("name", "accuracy", "latency_ms")
        return [dict(zip(keys, row, strict=True)) for row in rows]
