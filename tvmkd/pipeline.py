"""The stages of a ``tvmkd.toml``, in order: each one skipped when nothing it reads has changed."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tvmkd import console, machine, state, steps, targets
from tvmkd.artifact import MANIFEST
from tvmkd.config import Config, parse_tracker
from tvmkd.errors import InputError
from tvmkd.state import RunFolder, file_hash
from tvmkd.tuning.autoscheduler_log import LOG
from tvmkd.tuning.records import RECORDS, WORKLOADS

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
SAMPLES = 8  # real images that builds are checked on and engines compared on
DATABASE = {"relax": (WORKLOADS, RECORDS), "relay": (LOG,)}


def run(cfg: Config, *, search_in: Sequence[Path] = (), until: str = STAGES[-1]) -> dict[str, Any]:
    """Runs the stages up to and with ``until`` and returns what each of them gave, by name.

    Also writes it to ``summary.json`` in the run's folder. A gate that says no is a result
    (``["gate"]["passed"]``), not an error.

    Args:
        cfg: the whole config.
        search_in: folders to look for a ``module:callable`` in, such as the config file's.
        until: the last stage to run.

    Raises:
        InputError: something that the config names cannot be used, or the folder is someone else's.
        MissingError: a tracker or a board is not there.
    """
    from tvmkd.stacks import interpreters

    # Mistakes that should not wait for a training to come to light.
    target = targets.load(cfg.target.name)
    interpreters.find(cfg.tune.stack)
    if cfg.quantize is not None:
        slow = target.check_pays("int8", cfg.quantize.allow_slow)
        if slow is not None:
            console.warn(slow)
    if cfg.gate.require:
        from tvmkd.bench import gate

        for text in cfg.gate.require:
            gate.parse(text)
    with RunFolder(cfg.project.out) as folder:
        pipeline = Pipeline(cfg, target, folder, search_in)
        for name in STAGES[: STAGES.index(until) + 1]:
            if name in pipeline.stages:
                getattr(pipeline, name)()
        state.write_json(folder.path / "summary.json", pipeline.results)
        return pipeline.results


class Pipeline:
    """One run: a method a stage, in the order of `STAGES`."""

    def __init__(
        self, cfg: Config, target: targets.Target, folder: RunFolder, search_in: Sequence[Path]
    ) -> None:
        self.cfg = cfg
        self.target = target
        self.folder = folder
        self.search_in = search_in
        self.results: dict[str, Any] = {}
        self.stages = [
            name for name in STAGES if name not in OPTIONAL or getattr(cfg, name) is not None
        ]
        self.student = self._path("student.pt" if cfg.prune is None else "pruned.pt")
        self.onnx = self._path("student.onnx")
        self.teacher_onnx = self._path("teacher.onnx")
        self.inputs = self._path("inputs.npz")
        self.artifact = self._path("artifact")
        self.untuned = self._path("artifact-untuned")
        self.comparison = self._path("comparison.json")
        self.report_path = self._path("report.html")

    def _path(self, name: str) -> Path:
        return self.folder.path / name

    def _stage(
        self,
        name: str,
        reads: Mapping[str, Any],
        files: Sequence[Path],
        work: Callable[[], dict[str, Any]],
        together: bool = False,
    ) -> None:
        """Does ``work``, unless it was done with the same ``reads`` and left the same ``files``.

        Never skipped where it is done ``together`` with other processes, which wait for this one.
        """
        head = f"[{self.stages.index(name) + 1}/{len(self.stages)}] {name}"
        key = state.key(name, **reads)
        done = self.folder.done(name, key)
        if done is not None and not together:
            console.say(f"{head}: nothing it reads has changed, skipped")
            self.results[name] = done
            return
        console.say(head)
        with state.timed() as seconds:
            result = work()
        self.folder.finish(name, key, files, result, seconds[0])
        self.results[name] = result
        console.say(f"{head}: done in {seconds[0]:.0f} s")

    # The stages.

    def distill(self) -> None:
        """Teacher and students: ``student.pt``, ``metrics.json``."""
        cfg = self.cfg
        given = cfg.teacher.checkpoint
        reads = {
            "seed": cfg.project.seed,
            "data": cfg.data.model_dump(mode="json"),
            "images": state.listing_hash(cfg.data.path),
            "teacher": cfg.teacher.model_dump(mode="json"),
            "weights": file_hash(given) if given is not None and given.is_file() else None,
            "student": cfg.student.model_dump(mode="json"),
            "distill": cfg.distill.model_dump(mode="json"),
            "detection": cfg.detection.model_dump(mode="json") if cfg.data.detection else None,
            "exits": cfg.early_exit.model_dump(exclude={"max_drop"}) if cfg.early_exit else None,
            # Only a registered student, whose name has no colon, is rounded to it.
            "multiple": None if ":" in cfg.student.model else self.target.channel_multiple,
            "code": [
                state.source_hash(section.model, self.search_in)
                for section in (cfg.teacher, cfg.student)
            ],
        }

        def work() -> dict[str, Any]:
            from tvmkd.distill import train

            with console.progress() as progress:
                result = train(
                    cfg,
                    self.folder.path,
                    progress,
                    search_in=self.search_in,
                    multiple=self.target.channel_multiple,
                )
            for line in result.lines():
                console.say(f"  {line}")
            metrics: dict[str, Any] = json.loads(result.metrics.read_text(encoding="utf-8"))
            return metrics

        together = int(os.environ.get("WORLD_SIZE", "1")) > 1
        files = [self._path("student.pt"), self._path("metrics.json")]
        self._stage("distill", reads, files, work, together)

    def prune(self) -> None:
        """``pruned.pt``: the student with fewer channels, as far as that made it faster."""
        section = self.cfg.prune
        assert section is not None
        reads = {
            "student": file_hash(self._path("student.pt")),
            "section": section.model_dump(mode="json"),
            "distill": self.cfg.distill.model_dump(mode="json"),
            "target": self.target.to_dict(),
            "stack": self.cfg.tune.stack,
            "threads": self.cfg.compare.threads,
        }

        def work() -> dict[str, Any]:
            from tvmkd.prune.run import prune

            return prune(self.cfg, self.target, self.folder.path, search_in=self.search_in)

        self._stage("prune", reads, [self.student, self._path("pruning.html")], work)

    def quantize(self) -> None:
        """``student-int8.onnx``: checked in ONNX Runtime, and timed beside the float one."""
        section = self.cfg.quantize
        assert section is not None
        reads = {
            "student": file_hash(self.student),
            "section": section.model_dump(mode="json"),
            "distill": self.cfg.distill.model_dump(mode="json"),
            "data": self.results["distill"]["data"]["sha256"],
            "target": self.target.to_dict(),
            "compare": self.cfg.compare.model_dump(mode="json"),
        }

        def work() -> dict[str, Any]:
            from tvmkd.quantize import run

            found = run.quantize(
                self.cfg,
                self.target,
                self.student,
                self.folder.path,
                search_in=self.search_in,
            )
            for line in run.lines(found):
                console.say(f"  {line}")
            return found

        self._stage("quantize", reads, [self._path("student-int8.onnx")], work)

    def early_exit(self) -> None:
        """``exits/``: the student in pieces, each compiled, and how sure each exit has to be."""
        section, out = self.cfg.early_exit, self._path("early-exit")
        assert section is not None
        reads = {
            "student": file_hash(self.student),
            "section": section.model_dump(mode="json"),
            "data": self.results["distill"]["data"]["sha256"],
            "target": self.target.to_dict(),
            "stack": self.cfg.tune.stack,
            "threads": self.cfg.compare.threads,
        }

        def work() -> dict[str, Any]:
            from tvmkd import data
            from tvmkd.early_exit import produce

            out.mkdir(exist_ok=True)
            found = produce.produce(
                self.student,
                data.load(self.cfg.data),
                section,
                self.target,
                out,
                threads=self.cfg.compare.threads,
                stack=self.cfg.tune.stack,
            )
            for line in produce.lines(found):
                console.say(f"  {line}")
            return found

        self._stage("early_exit", reads, [out / "exits"], work)

    def export(self) -> None:
        """``student.onnx``, a few real inputs, and the teacher's ONNX where it has one."""
        cfg = self.cfg.export
        teacher = self._teacher_weights()
        reads = {
            "student": file_hash(self.student),
            "teacher": file_hash(teacher) if teacher is not None else None,
            "export": cfg.model_dump(mode="json"),
        }

        def work() -> dict[str, Any]:
            from tvmkd.distill import samples
            from tvmkd.export import check, export

            metrics = self.results["distill"]["data"]
            shape = (cfg.batch, *metrics["shape"][1:])
            with console.working("exporting the student, and checking it against PyTorch") as step:
                export(
                    self.student,
                    self.onnx,
                    shape,
                    dynamic_batch=cfg.dynamic_batch,
                    opset=cfg.opset,
                    model=_own_code(self.cfg.student.model),
                    search_in=self.search_in,
                )
                info = check(self.onnx, self.dims)
                step("picking real inputs")
                pictures = samples(self.cfg.data, SAMPLES * cfg.batch)
                _save(self.inputs, info.inputs[0].name, pictures)
                self.teacher_onnx.unlink(missing_ok=True)
                if teacher is not None:
                    step("exporting the teacher, to time it too")
                    try:
                        self._export_teacher(teacher, shape, len(metrics["classes"]))
                    except InputError as error:
                        console.warn(f"the teacher is not timed: {error}")
            return {"onnx": str(self.onnx), **info.to_dict(), "samples": len(pictures)}

        self._stage("export", reads, [self.onnx, self.inputs], work)

    def _export_teacher(self, weights: Path, shape: tuple[int, ...], classes: int) -> None:
        from tvmkd import models
        from tvmkd.export import export

        cfg = self.cfg.teacher
        model, args = _own_code(cfg.model), None
        if cfg.checkpoint is not None:
            # A file from elsewhere may hold nothing but weights.
            model = cfg.model
            known = models.arguments(cfg.model, classes, shape[1], size=shape[-1])
            args = {**known, **cfg.args}
        export(
            weights,
            self.teacher_onnx,
            shape,
            opset=self.cfg.export.opset,
            model=model,
            model_args=args,
            search_in=self.search_in,
        )

    @property
    def dims(self) -> dict[str, int]:
        """Sizes of the student's free dimensions: its batch, where that is left free."""
        return {"batch": self.cfg.export.batch} if self.cfg.export.dynamic_batch else {}

    def _teacher_weights(self) -> Path | None:
        """The teacher's checkpoint, where it was trained or given."""
        if self.cfg.distill.loss == "ce":
            return None
        path = self.cfg.teacher.checkpoint or self._path("teacher.pt")
        return path if path.is_file() else None

    def _samples(self) -> list[dict[str, Any]]:
        """The real inputs, one batch a sample."""
        import numpy as np

        batch = self.cfg.export.batch
        with np.load(self.inputs, allow_pickle=False) as saved:
            ((name, pictures),) = saved.items()
        count = len(pictures) // batch
        return [{name: pictures[n * batch : (n + 1) * batch]} for n in range(count)]

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
        mark = "" if stack == steps.STACK else f"-{stack}"
        return self._path("records") / f"{self.target.name}{mark}"

    def _database(self) -> list[Path]:
        return [self.records / name for name in DATABASE[self.cfg.tune.stack]]

    def _compiler(self) -> str:
        """Which TVM it is: what another one made is made anew."""
        if self.cfg.tune.stack == steps.STACK:
            return _version("apache-tvm")
        from tvmkd.stacks import interpreters

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
            from tvmkd.bench import report
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


def _own_code(spec: str) -> str | None:
    """``spec`` where it is a ``module:callable``, which an export runs only when told to."""
    return spec if ":" in spec and not spec.startswith("torchvision:") else None


def _save(path: Path, name: str, array: Any) -> None:
    """One array as an ``.npz``, in one step."""
    import numpy as np

    with state.draft(path, ".npz") as written:
        np.savez(written, **{name: array})


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
