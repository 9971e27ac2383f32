"""The stages that make the network: from the data to checked ONNX files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tvmkd.base import console
from tvmkd.base.errors import InputError
from tvmkd.base.files import draft, file_hash, listing_hash, source_hash
from tvmkd.stages.base import SAMPLES, Stages


class NetworkStages(Stages):
    """Distills, prunes, quantises, cuts at its exits, and exports."""

    def distill(self) -> None:
        """Teacher and students: ``student.pt``, ``metrics.json``."""
        cfg = self.cfg
        given = cfg.teacher.checkpoint
        reads = {
            "seed": cfg.project.seed,
            "data": cfg.data.model_dump(mode="json"),
            "images": listing_hash(cfg.data.path),
            "teacher": cfg.teacher.model_dump(mode="json"),
            "weights": file_hash(given) if given is not None and given.is_file() else None,
            "student": cfg.student.model_dump(mode="json"),
            "distill": cfg.distill.model_dump(mode="json"),
            "detection": cfg.detection.model_dump(mode="json") if cfg.data.detection else None,
            "exits": cfg.early_exit.model_dump(exclude={"max_drop"}) if cfg.early_exit else None,
            # Only a registered student, whose name has no colon, is rounded to it.
            "multiple": None if ":" in cfg.student.model else self.target.channel_multiple,
            "code": [
                source_hash(section.model, self.search_in) for section in (cfg.teacher, cfg.student)
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
            from tvmkd.prune.pruning import prune

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
            from tvmkd.quantize import quantizing as run

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

    def _teacher_weights(self) -> Path | None:
        """The teacher's checkpoint, where it was trained or given."""
        if self.cfg.distill.loss == "ce":
            return None
        path = self.cfg.teacher.checkpoint or self._path("teacher.pt")
        return path if path.is_file() else None


def _own_code(spec: str) -> str | None:
    """``spec`` where it is a ``module:callable``, which an export runs only when told to."""
    return spec if ":" in spec and not spec.startswith("torchvision:") else None


def _save(path: Path, name: str, array: Any) -> None:
    """One array as an ``.npz``, in one step."""
    import numpy as np

    with draft(path, ".npz") as written:
        np.savez(written, **{name: array})
