"""The stages that make a network fast, and that say how fast: from ONNX to the gate."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from pathlib import Path
from typing import Any

from tvmkd.artifact import MANIFEST
from tvmkd.base import console, machine, stack_registry
from tvmkd.base.files import file_hash
from tvmkd.config import parse_tracker
from tvmkd.stacks import compile as steps
from tvmkd.stages.base import Stages


class ArtifactStages(Stages):
    """Tunes, builds, compares, reports, and asks the gate."""

    def tune(self) -> None:
        """The folder of records."""
        cfg = self.cfg.tune
        reads = {
            "onnx": file_hash(self.onnx),
            "target": self.target.to_dict(),
            "tune": cfg.model_dump(mode="json"),
            "tvm": self._compiler(),
        }
        records = self.records

        def work() -> dict[str, Any]:
            return steps.tune(
                self.onnx,
                self.target,
                records,
                trials=cfg.trials,
                tracker=None if cfg.tracker == "local" else parse_tracker(cfg.tracker),
                key=cfg.key,
                boards=cfg.boards,
                seed=cfg.seed,
                dims=self.dims,
                stack=cfg.stack,
            )

        self._stage("tune", reads, self._database(), work)

    @property
    def records(self) -> Path:
        """The records on this target. A model that is trained again has the same kernels."""
        stack = self.cfg.tune.stack
        mark = "" if stack == stack_registry.DEFAULT else f"-{stack}"
        return self._path("records") / f"{self.target.name}{mark}"

    def _database(self) -> list[Path]:
        files = stack_registry.get(self.cfg.tune.stack).record_files
        return [self.records / name for name in files]

    def _compiler(self) -> str:
        """Which TVM it is: what another one made is made anew."""
        if not stack_registry.get(self.cfg.tune.stack).own_interpreter:
            return _version("apache-tvm")
        from tvmkd.runtime import interpreters

        return interpreters.find(self.cfg.tune.stack).python

    def build(self) -> None:
        """The artifact, and the untuned one where the comparison wants it."""
        both = "tvm:untuned" in self.cfg.compare.engines
        stack = self.cfg.tune.stack
        shipped = steps.shipped_records(self.target, stack)
        reads = {
            "onnx": file_hash(self.onnx),
            "target": self.target.to_dict(),
            "records": [file_hash(path) for path in self._database()],
            "shipped": file_hash(shipped) if shipped is not None else None,
            "inputs": file_hash(self.inputs),
            "untuned": both,
            "tvm": self._compiler(),
        }

        def work() -> dict[str, Any]:
            manifest = steps.build(
                self.onnx,
                self.target,
                [self.records],
                self.artifact,
                inputs=self.inputs,
                dims=self.dims,
                stack=stack,
            )
            for line in steps.coverage_lines(manifest):
                console.say(f"  {line}")
            if both:
                steps.build(
                    self.onnx,
                    self.target,
                    [],
                    self.untuned,
                    shipped=False,
                    inputs=self.inputs,
                    dims=self.dims,
                    stack=stack,
                )
            return {"coverage": manifest["coverage"], "check": manifest["check"]}

        files = [self.artifact, self.untuned] if both else [self.artifact]
        self._stage("build", reads, files, work)

    def _samples(self) -> list[dict[str, Any]]:
        """The real inputs, one batch a sample."""
        import numpy as np

        batch = self.cfg.export.batch
        with np.load(self.inputs, allow_pickle=False) as saved:
            ((name, pictures),) = saved.items()
        count = len(pictures) // batch
        return [{name: pictures[n * batch : (n + 1) * batch]} for n in range(count)]

    def compare(self) -> None:
        """``comparison.json``, with every engine that the config names."""
        cfg = self.cfg.compare
        budget = self.target.budget.get("model_ms")
        artifacts = [path for path in (self.artifact, self.untuned) if (path / MANIFEST).is_file()]
        reads = {
            "compare": cfg.model_dump(mode="json"),
            "budget": budget,
            "files": [file_hash(path) for path in (self.onnx, self.student, self.inputs)],
            "artifacts": [file_hash(path / MANIFEST) for path in artifacts],
        }

        def work() -> dict[str, Any]:
            from tvmkd.bench import EngineSpec, compare, table

            paths: dict[str, Path] = {
                "torch": self.student,
                "torch.compile": self.student,
                "tvm:untuned": self.untuned,
                "tvm": self.artifact,
            }
            # The config names the code, so a checkpoint of it may be run.
            code = {
                "model": self.cfg.student.model,
                "search_in": [str(folder) for folder in self.search_in],
            }
            with table.following() as tell:
                result = compare(
                    [
                        EngineSpec(
                            name,
                            name,
                            paths.get(name, self.onnx),
                            options=code if name in ("torch", "torch.compile") else {},
                        )
                        for name in cfg.engines
                    ],
                    self.onnx,
                    self._samples(),
                    threads=cfg.threads or machine.physical_cores(),
                    seconds=cfg.seconds,
                    rounds=cfg.rounds,
                    budget_ms=budget,
                    progress=tell,
                )
            result.save(self.comparison)
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

        self._stage("compare", reads, [self.comparison], work)

    def _time_teacher(self) -> float | None:
        """The teacher's median in ONNX Runtime, ms, to place it beside the student."""
        if not self.teacher_onnx.is_file():
            return None
        from tvmkd.bench import EngineSpec, compare

        cfg = self.cfg.compare
        with console.working("timing the teacher in ONNX Runtime"):
            result = compare(
                [EngineSpec("onnxruntime", "onnxruntime", self.teacher_onnx)],
                self.teacher_onnx,
                threads=cfg.threads or machine.physical_cores(),
                seconds=min(1.0, cfg.seconds),
                rounds=2,
            )
        return result.engines[0].p50 if result.engines else None

    def report(self) -> None:
        """``report.html``."""
        trials = self.records / "trials.jsonl"
        reads = {
            "comparison": file_hash(self.comparison),
            "metrics": file_hash(self._path("metrics.json")),
            "artifact": file_hash(self.artifact / MANIFEST),
            "trials": file_hash(trials) if trials.is_file() else None,
        }

        def work() -> dict[str, Any]:
            from tvmkd import report
            from tvmkd.bench.schema import Comparison

            report.write(
                self.report_path,
                Comparison.load(self.comparison),
                accuracy=self._accuracy(),
                metric=self.results["distill"].get("metric", "accuracy"),
                records_dir=self.records if trials.is_file() else None,
                kernels=steps.kernel_times(self.artifact, self.inputs),
                metadata={"target": self.target.description, "run": self.cfg.project.name},
            )
            return {"path": str(self.report_path)}

        self._stage("report", reads, [self.report_path], work)

    def _accuracy(self) -> list[dict[str, Any]]:
        """Models to place against each other, the one that was compared last."""
        metrics, measured = self.results["distill"], self.results["compare"]
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

    def gate(self) -> None:
        """What the gate says: cheap, so it is asked every time."""
        from tvmkd.bench import gate
        from tvmkd.bench.schema import Comparison

        checks = gate.evaluate(Comparison.load(self.comparison), self.cfg.gate.require)
        self.results["gate"] = {
            "passed": all(check.holds for check in checks),
            "checks": [dataclasses.asdict(check) for check in checks],
        }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
