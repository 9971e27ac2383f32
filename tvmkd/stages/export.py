"""The stage ``export``: from checkpoints to checked ONNX files and real inputs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tvmkd.base import console
from tvmkd.base.errors import InputError
from tvmkd.base.files import draft
from tvmkd.stages.base import Stage
from tvmkd.stages.early_exit import EarlyExit


class Export(Stage):
    """``student.onnx``, real inputs for it, and ``teacher.onnx`` if there is a teacher.

    In half precision also ``student-fp32.onnx``, the reference of the comparison.
    """

    name = "export"
    after = EarlyExit

    def check(self) -> list[str]:
        """Refuses a precision where the target's file says that it does not pay.

        Whether int8 does on a target that runs here, the stage ``quantize`` measures.
        """
        section, target = self.context.cfg.export, self.context.target
        measured = section.precision == "int8" and target.runs_here() is None
        if section.precision in ("fp32", "auto") or measured:
            return []
        slow = target.check_pays(section.precision, section.allow_slow)
        return [] if slow is None else [slow]

    def inputs(self) -> dict[str, Any]:
        """The checkpoints, the user's code that rebuilds them, and the data to sample."""
        from tvmkd.stages.context import own_code

        context, cfg = self.context, self.context.cfg
        teacher = context.teacher_weights
        read: dict[str, Any] = {
            "student": context.hash(context.student),
            "model": own_code(cfg.student.model),
            "code": context.source(cfg.student.model),
            "export": cfg.export.model_dump(mode="json", exclude={"allow_slow"}),
            "int8": context.hash(context.int8) if context.precision == "int8" else None,
            "data": context.data,
            "teacher": context.hash(teacher),
        }
        if teacher is not None:
            read["teacher_model"] = cfg.teacher.model_dump(
                mode="json", include={"model", "args", "checkpoint"}
            )
            read["teacher_code"] = context.source(cfg.teacher.model)
        return read

    def outputs(self) -> list[Path]:
        """The ONNX files with the weights beside them, and the inputs."""
        context = self.context
        beside = [path.with_name(f"{path.name}.data") for path in (context.onnx, self._teacher)]
        beside += [context.full_precision] if context.precision == "fp16" else []
        optional = [path for path in (self._teacher, *beside) if path.exists()]
        return [context.onnx, context.samples, *optional]

    @property
    def _teacher(self) -> Path:
        return self.context.teacher_onnx

    def run(self) -> dict[str, Any]:
        """Returns the facts of the student's file (`tvmkd.export.ModelInfo`) and its samples."""
        from tvmkd.distill import samples
        from tvmkd.export import check
        from tvmkd.stages.context import SAMPLES

        context, cfg = self.context, self.context.cfg
        data = context.results["distill"]["data"]
        if cfg.export.precision == "auto":
            console.say(f"  in {context.precision}, which is the faster one")
        shape = (cfg.export.batch, *data["shape"][1:])
        with console.working("picking real inputs") as step:
            pictures = samples(cfg, SAMPLES * cfg.export.batch, context.search_in)
            if context.precision == "int8":
                with draft(context.onnx) as written:
                    shutil.copyfile(context.int8, written)
                # Weights of an earlier, larger model.
                context.onnx.with_name(f"{context.onnx.name}.data").unlink(missing_ok=True)
            else:
                step("exporting the student, and checking it against PyTorch")
                self._export_student(shape, pictures)
            info = check(context.onnx, context.dims)
            _save(context.samples, info.inputs[0].name, pictures)
            self._teacher.unlink(missing_ok=True)
            weights = context.teacher_weights
            if weights is not None:
                step("exporting the teacher, to time it too")
                try:
                    self._export_teacher(weights, shape, len(data["classes"]))
                except InputError as error:
                    console.warn(f"the teacher is not timed: {error}")
        return {"onnx": str(context.onnx), **info.to_dict(), "samples": len(pictures)}

    def _export_student(self, shape: tuple[int, ...], pictures: Any) -> None:
        """Writes ``student.onnx`` in FP32 or FP16."""
        from tvmkd.export import export
        from tvmkd.export.half import half
        from tvmkd.stages.context import own_code

        context, section = self.context, self.context.cfg.export
        export(
            context.student,
            context.onnx,
            shape,
            dynamic_batch=section.dynamic_batch,
            opset=section.opset,
            model=own_code(context.cfg.student.model),
            search_in=context.search_in,
        )
        if context.precision == "fp16":
            shutil.copyfile(context.onnx, context.full_precision)
            half(context.full_precision, context.onnx, section.keep_fp32, pictures)

    def _export_teacher(self, weights: Path, shape: tuple[int, ...], classes: int) -> None:
        from tvmkd.export import export
        from tvmkd.stages.context import own_code

        cfg = self.context.cfg.teacher
        model, args = own_code(cfg.model), None
        if cfg.checkpoint is not None:
            from tvmkd import models

            # A file of the user's may hold nothing but weights.
            model = cfg.model
            known = models.arguments(cfg.model, classes, shape[1], size=shape[-1])
            args = {**known, **cfg.args}
        export(
            weights,
            self._teacher,
            shape,
            opset=self.context.cfg.export.opset,
            model=model,
            model_args=args,
            search_in=self.context.search_in,
        )


def _save(path: Path, name: str, array: Any) -> None:
    """Writes one array as an ``.npz``, in one step."""
    import numpy as np

    with draft(path, ".npz") as written:
        np.savez(written, **{name: array})
