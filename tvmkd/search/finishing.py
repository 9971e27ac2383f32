"""What happens to a student after its training, before it is what will run: less, or other numbers.

A structure with ``prune``, ``precision`` or ``exits`` is judged as the network that it becomes: the
stages ``prune``, ``quantize`` and ``early_exit`` of a run, without their compiling and timing.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd import models
from tvmkd.base.errors import InputError
from tvmkd.base.files import draft
from tvmkd.distill.fine_tune import fine_tune
from tvmkd.export.half import half
from tvmkd.export.onnx import export
from tvmkd.models import checkpoint as files
from tvmkd.models.reparameterize import fused
from tvmkd.prune import channels
from tvmkd.quantize import quantizing
from tvmkd.search import canonical

if TYPE_CHECKING:
    from torch import nn

    from tvmkd.config import Config
    from tvmkd.distill.task import Task

CHECKED = 8
"""Images for which half precision is compared with FP32."""


@dataclass(frozen=True)
class Finished:
    """A network as it will run.

    Attributes:
        score: the deciding one, on the validation split.
        test: the same on the test split.
        onnx: its file, to be measured: in int8 with the scales of `tvmkd.search.canonical`, because
            the table has no records for the kernels of a calibration.
        seconds: of the training that this took.
    """

    score: float
    test: float
    onnx: Path
    seconds: float


def is_final(cfg: Config) -> bool:
    """Whether a network is as it will run once it is trained."""
    return cfg.prune is None and cfg.export.precision == "fp32"


def finish(
    cfg: Config,
    task: Task,
    student: Path,
    teacher: Path,
    folder: Path,
    multiple: int,
    search_in: Sequence[Path] = (),
) -> Finished:
    """Prunes a trained student and puts it into its precision, as its config says.

    Args:
        cfg: of the network, as `tvmkd.search.space.Space.apply` gives it.
        task: what is learnt, with the network's resolution.
        student: checkpoint of the trained student.
        teacher: the folder of ``teacher.pt``.
        folder: gets ``pruned.pt`` and the ONNX files; a training that was interrupted is continued
            from it.
        multiple: the target's channel multiple.
        search_in: folders to look in for a ``module:callable``.

    Raises:
        InputError: the student is user code, which pruning and int8 do not take, or a step fails.
    """
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    if cfg.prune is not None:
        student = _pruned(cfg, task, student, teacher, folder, multiple, search_in)
    precision = cfg.export.precision
    onnx = folder / f"{precision}.onnx"
    if precision == "int8":
        quantizing.convert(cfg, task, student, teacher, folder, onnx, search_in=search_in)
        network = task.restore(student)
        run = quantizing.in_onnx_runtime(onnx)
        scores = [task.measure(network, run, split)[task.metric.key] for split in ("val", "test")]
        return Finished(scores[0], scores[1], _with_known_kernels(onnx), time.monotonic() - began)
    spec = files.load(student).model["spec"]
    own = None if models.is_builtin(spec) else spec
    kind: dict[str, Any] = {"model": own, "search_in": search_in, "opset": cfg.export.opset}
    if precision == "fp16":
        plain = export(student, folder / "fp32.onnx", task.input_shape, **kind)
        half(plain, onnx, cfg.export.keep_fp32, task.samples(CHECKED))
    else:
        export(student, onnx, task.input_shape, **kind)
    network = task.restore(student)
    score, test = task.score(network, "val"), task.score(network, "test")
    return Finished(score, test, onnx, time.monotonic() - began)


def _with_known_kernels(onnx: Path) -> Path:
    """A copy of an int8 file, with the kernels that the search has predicted the time of."""
    path = onnx.with_name(f"{onnx.stem}-kernels.onnx")
    with draft(path, ".onnx") as written:
        shutil.copyfile(onnx, written)
        canonical.rescale(written)
    return path


def _pruned(
    cfg: Config,
    task: Task,
    student: Path,
    teacher: Path,
    folder: Path,
    multiple: int,
    search_in: Sequence[Path],
) -> Path:
    """The student without its share of the channels, fine-tuned; itself if none can go."""
    assert cfg.prune is not None
    saved = files.load(student)
    spec = saved.model["spec"]
    if not models.is_builtin(spec):
        raise InputError(
            f'prune takes students of tvmkd, torchvision or timm, not "{spec}": a checkpoint must '
            "not choose which code runs"
        )
    whole: nn.Module = task.restore(student)
    network = fused(whole, task.input_shape, spec)
    history = channels.shrink(
        network, task.input_shape, cfg.prune.ratio, multiple, task.fixed_outputs(network)
    )
    if not history:
        return student
    base = {"base": spec, "args": saved.model["kwargs"], "shape": list(task.input_shape)}
    if network is not whole:
        base["fused"] = True
    path = folder / "pruned.pt"
    fine_tune(
        cfg,
        teacher,
        network,
        {"spec": "pruned", "kwargs": {**base, "history": history}},
        path,
        name="pruned student",
        epochs=cfg.prune.epochs,
        lr=cfg.prune.lr,
        search_in=search_in,
        task=task,
    )
    return path
