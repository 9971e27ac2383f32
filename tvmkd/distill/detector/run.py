"""The whole of it for detectors: a teacher, students over several seeds, and the numbers."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from tvmkd import models
from tvmkd.base.errors import InputError
from tvmkd.data.detection.load import load
from tvmkd.data.detection.metrics import Scores
from tvmkd.data.detection.splits import DetectionSplits
from tvmkd.distill.detector.evaluate import evaluate
from tvmkd.distill.detector.losses import DetectorDistillation
from tvmkd.distill.detector.teacher_cache import Teacher
from tvmkd.distill.detector.train import Job, fit
from tvmkd.distill.detector.views import Views
from tvmkd.distill.distributed import Team, assemble
from tvmkd.distill.results import Kind, Network, Result, Run
from tvmkd.distill.training import AfterCheckpoint, Settings, to_device
from tvmkd.models import checkpoint as files
from tvmkd.models.detectors import Dense
from tvmkd.models.macs import macs, parameters

if TYPE_CHECKING:
    from rich.progress import Progress

    from tvmkd.config import Config


@dataclass(frozen=True)
class DetectorRun(Run):
    """One student. Its accuracies are COCO's mAP, ``test_voc`` is VOC's."""

    test_voc: float


@dataclass(frozen=True)
class DetectorNetwork(Network):
    """A detector's name and size; as above."""

    test_voc: float | None = None


@dataclass(frozen=True)
class DetectorResult(Result):
    """What `distill_detector` leaves behind: the best student on the validation split."""

    runs: Sequence[DetectorRun]

    def summary(self) -> dict[str, dict[str, float]]:
        """As for classifiers, of COCO's mAP, and the mean of VOC's."""
        return {
            kind: {
                **score,
                "voc": statistics.fmean(run.test_voc for run in self.runs if run.kind == kind),
            }
            for kind, score in super().summary().items()
        }

    def _score(self, network: Network) -> str:
        voc = f"  VOC {network.test_voc:.3f}" if isinstance(network, DetectorNetwork) else ""
        return f"mAP {network.test_accuracy:.3f}{voc}"

    def _spread(self, score: Mapping[str, float]) -> str:
        spread = f" ± {score['std']:.3f} over {score['count']} seeds"
        text = f"mAP {score['mean']:.3f}{spread if score['count'] > 1 else ''}"
        return f"{text}  VOC {score['voc']:.3f}"


def distill_detector(
    cfg: Config,
    out_dir: Path,
    progress: Progress | None = None,
    *,
    search_in: Sequence[Path] = (),
    after_checkpoint: AfterCheckpoint | None = None,
    checkpoint_seconds: float = 5.0,
) -> DetectorResult:
    """Trains the teacher (unless it comes with weights), then a student for each seed.

    Goes on where it was stopped, as `tvmkd.distill.distill`, whose arguments these are and whose
    files it writes.

    Raises:
        InputError: the data, a model or a checkpoint cannot be used.
    """
    splits = load(cfg.data)
    with assemble() as team:
        return _Session(
            cfg,
            out_dir,
            team,
            splits,
            progress if team.leader else None,
            tuple(search_in),
            after_checkpoint,
            checkpoint_seconds,
        ).run()


@dataclass(frozen=True)
class _Session:
    cfg: Config
    out: Path
    team: Team
    splits: DetectionSplits
    progress: Progress | None
    search_in: tuple[Path, ...]
    after_checkpoint: AfterCheckpoint | None
    checkpoint_seconds: float

    def run(self) -> DetectorResult:
        cfg = self.cfg.distill
        # Both are built before either is trained: a mistake in the student's name shows at once.
        blank = self._build("student", self.cfg.student.model, self.cfg.student.args, 0)
        student = DetectorNetwork(self.cfg.student.model, *_size(blank))
        teacher = None if cfg.loss == "ce" else self._teacher()
        kinds: list[Kind] = [] if teacher is None else ["distilled"]
        if cfg.baseline or teacher is None:
            kinds.append("baseline")
        runs = [
            self._student(kind, seed, teacher[0] if teacher else None)
            for kind in kinds
            for seed in cfg.seeds
        ]
        result = DetectorResult(
            checkpoint=self.out / "student.pt",
            metrics=self.out / "metrics.json",
            teacher=teacher[1] if teacher else None,
            student=student,
            runs=runs,
            chosen=max(
                (run for run in runs if run.kind == kinds[0]), key=lambda run: run.val_accuracy
            ),
        )
        if self.team.leader:
            self._write(result, blank)
        self.team.wait()
        return result

    def _build(self, role: str, spec: str, args: dict[str, Any], seed: int) -> Dense:
        torch.manual_seed(seed)
        made = models.build(spec, search_in=self.search_in, **self._kwargs(spec, args))
        if not isinstance(made, Dense):
            known = ", ".join(models.DETECTORS)
            raise InputError(
                f'{role} "{spec}": is no detector, and [data] dataset = "{self.cfg.data.dataset}" '
                f"needs one: {known}, or a callable that returns a tvmkd.models.detectors.Dense"
            )
        if (made.classes, made.size) != (len(self.splits.classes), self.cfg.data.image_size):
            raise InputError(
                f'{role} "{spec}": has {made.classes} classes and takes {made.size} pixels, but '
                f"the data has {len(self.splits.classes)} classes and {self.cfg.data.image_size} "
                "pixels; leave both out of its args"
            )
        path = self._backbone(role)
        if path is not None:
            try:
                made.load_backbone(files.weights(path))
            except InputError as error:
                raise InputError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
        return made

    def _backbone(self, role: str) -> Path | None:
        return self.cfg.teacher.backbone if role == "teacher" else self.cfg.student.backbone

    def _start(self, role: str) -> dict[str, Any]:
        """What a training starts from decides where it ends."""
        path = self._backbone(role)
        return {} if path is None else {"backbone": files.fingerprint(files.weights(path))}

    def _kwargs(self, spec: str, args: dict[str, Any]) -> dict[str, Any]:
        size = self.cfg.data.image_size
        known = models.arguments(spec, len(self.splits.classes), 3, size=size)
        return {**known, **args}

    def _views(self, name: Literal["train", "val", "test"], keep: bool = False) -> Views:
        augment = self.cfg.detection.augment if name == "train" else ()
        seed = self.cfg.project.seed
        size = self.cfg.data.image_size
        return Views(getattr(self.splits, name), size, augment, seed, keep=keep)

    def _teacher(self) -> tuple[Dense, DetectorNetwork]:
        cfg, seed = self.cfg.teacher, self.cfg.project.seed
        network = self._build("teacher", cfg.model, cfg.args, seed)
        seconds = 0.0
        if cfg.checkpoint is not None:
            _load_weights(network, cfg.checkpoint, f'teacher "{cfg.model}"')
        elif cfg.epochs > 0:
            settings = Settings(
                cfg.epochs,
                cfg.lr,
                cfg.weight_decay,
                cfg.batch_size or self.cfg.data.batch_size,
                seed,
            )
            spec = {"spec": cfg.model, "kwargs": self._kwargs(cfg.model, cfg.args)}
            start = self._start("teacher")
            job = self._job("teacher", spec, settings, self.out / "teacher.pt", start, 0)
            seconds = self._fit(network, job).seconds
        to_device(network, self.team.device).eval().requires_grad_(False)
        score = self._test(network)
        size = DetectorNetwork(cfg.model, *_size(network), score.coco, seconds, score.voc)
        return network, size

    def _student(self, kind: Kind, seed: int, teacher: Dense | None) -> DetectorRun:
        cfg, spec, args = self.cfg.distill, self.cfg.student.model, self.cfg.student.args
        network = self._build("student", spec, args, seed)
        settings = Settings(cfg.epochs, cfg.lr, cfg.weight_decay, self.cfg.data.batch_size, seed)
        path = self.out / "students" / f"{kind}-{seed}.pt"
        model = {"spec": spec, "kwargs": self._kwargs(spec, args)}
        name = f"{kind} student (seed {seed})"
        job = self._job(name, model, settings, path, self._start("student"))
        job = replace(job, after_checkpoint=self.after_checkpoint)
        if kind == "distilled" and teacher is not None:
            job = self._distilled(job, network, teacher)
        state = self._fit(network, job)
        to_device(network, self.team.device)
        device, classes = self.team.device, self.splits.classes
        val, test = evaluate(network, self._views("val"), classes, device), self._test(network)
        return DetectorRun(kind, seed, val.coco, test.coco, path, state.seconds, test.voc)

    def _job(
        self,
        name: str,
        model: dict[str, Any],
        settings: Settings,
        path: Path,
        loss_id: dict[str, Any],
        variants: int | None = None,
    ) -> Job:
        count = self.cfg.detection.variants if variants is None else variants
        return Job(
            name=name,
            model=model,
            settings=settings,
            train=self._views("train", keep=count > 0),
            val=self._views("val"),
            variants=count,
            classes=self.splits.classes,
            data=self.splits.sha256,
            path=path,
            loss_id=loss_id,
            checkpoint_seconds=self.checkpoint_seconds,
        )

    def _distilled(self, job: Job, student: Dense, teacher: Dense) -> Job:
        section = self.cfg.detection
        loss = DetectorDistillation(
            student,
            teacher,
            classification=section.classification,
            boxes=section.boxes,
            features=section.features,
            temperature=section.temperature,
        )
        weights = files.fingerprint(teacher.state_dict())
        views = [job.train.size, job.train.augment, job.train.seed]
        asked = Teacher(
            teacher,
            [place for _, (place, _) in loss.pairs],
            # Views that never come again are not worth a disk.
            self.out / "teacher" if section.variants else None,
            json.dumps([weights, self.splits.sha256, views]),
            (len(job.train), section.variants),
        )
        terms = section.model_dump(include={"classification", "boxes", "features", "temperature"})
        loss_id = {**job.loss_id, **terms, "teacher": weights}
        return replace(job, distillation=loss, teacher=asked, loss_id=loss_id)

    def _fit(self, network: Dense, job: Job) -> files.Checkpoint:
        progress = self.progress
        if progress is None:
            return fit(network, job, self.team, lambda done, note: None)
        bar = progress.add_task(job.name, total=job.settings.epochs, note="")
        return fit(
            network,
            job,
            self.team,
            lambda done, note: progress.update(bar, completed=done, note=note),
        )

    def _test(self, network: Dense) -> Scores:
        return evaluate(network, self._views("test"), self.splits.classes, self.team.device)

    def _write(self, result: DetectorResult, student: Dense) -> None:
        cfg, splits, size = self.cfg, self.splits, self.cfg.data.image_size
        result.write(
            {
                "sha256": splits.sha256,
                "classes": list(splits.classes),
                "shape": [1, 3, size, size],
                "images": {name: len(getattr(splits, name)) for name in ("train", "val", "test")},
                "preprocessing": {"resize": [size, size], "scale": 1 / 255, "channels": "RGB"},
            },
            {
                "distill": cfg.distill.model_dump(mode="json"),
                "detection": cfg.detection.model_dump(mode="json"),
            },
            metric="mAP",
            loss="kd" if result.teacher else "ce",
            **student.describe(splits.classes).to_metadata(),
        )


def _size(network: Dense) -> tuple[int, int]:
    return macs(network, tuple(network.blank.shape)), parameters(network)


def _load_weights(network: Dense, path: Path, name: str) -> None:
    """Puts weights into a teacher; of another number of classes, that is what is said.

    Raises:
        InputError: as `checkpoint.load_weights`.
    """
    bias = "head.classification_head.cls_logits.bias"
    mine, other = network.state_dict().get(bias), files.weights(path).get(bias)
    if mine is not None and other is not None and len(other) != len(mine):
        anchors = len(mine) // (network.classes + 1)
        raise InputError(
            f"{path}: a detector of {len(other) // anchors - 1} classes, but the data has "
            f"{network.classes}; give a teacher of the same classes, or data with its class map"
        )
    files.load_weights(network, path, name)
