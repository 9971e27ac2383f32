"""What every training of a run has in common: data, networks, the teacher, the loss it gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tvmkd import models
from tvmkd.data.splits import Splits
from tvmkd.distill import losses, teacher_cache
from tvmkd.distill.curriculum import Curriculum
from tvmkd.distill.distillation_loss import Distillation
from tvmkd.distill.distributed import Team
from tvmkd.distill.evaluate import evaluate
from tvmkd.distill.probe import probe
from tvmkd.distill.results import Network
from tvmkd.distill.trainer import Job, fit
from tvmkd.distill.training import Report, Settings, to_device
from tvmkd.models import checkpoint as files
from tvmkd.models.macs import macs, parameters

if TYPE_CHECKING:
    from rich.progress import Progress

    from tvmkd.config import Config


@dataclass(frozen=True)
class Session:
    """One call of `distill` or `fine_tune`.

    Attributes:
        cfg: uses ``project.seed`` and the sections data, teacher, student and distill.
        out: the folder that gets ``teacher.pt``.
        team: the processes that share the work.
        splits: the data.
        progress: shows a bar for each training.
        search_in: folders to look in for a ``module:callable``.
        multiple: what a registered student's channel counts are rounded to a multiple of.
        checkpoint_seconds: least time between two checkpoints of one training.
    """

    cfg: Config
    out: Path
    team: Team
    splits: Splits
    progress: Progress | None
    search_in: tuple[Path, ...]
    multiple: int | None = None
    checkpoint_seconds: float = 5.0

    def build(self, role: str, spec: str, args: dict[str, Any], seed: int) -> nn.Module:
        """A network with the weights that ``seed`` gives, tried on images of the data.

        Raises:
            InputError: it cannot be built, or does not fit the data; names the role.
        """
        torch.manual_seed(seed)
        model = models.build(spec, search_in=self.search_in, **self.kwargs(role, spec, args))
        probe(model, self.splits, f'{role} "{spec}"')
        return model

    def kwargs(self, role: str, spec: str, args: dict[str, Any]) -> dict[str, Any]:
        """All arguments of a model: what the data and the target fix, and over it ``args``."""
        known = models.arguments(
            spec,
            len(self.splits.classes),
            self.splits.channels,
            size=self.splits.shape[-1],
            multiple=self.multiple if role == "student" else None,
        )
        return {**known, **args}

    def teacher(self) -> tuple[nn.Module, Network]:
        """The teacher, frozen: loaded, or trained, or as it was built. And its size and accuracy.

        Raises:
            InputError: its checkpoint cannot be used, or its training fails.
        """
        cfg, seed = self.cfg.teacher, self.cfg.project.seed
        model = self.build("teacher", cfg.model, cfg.args, seed)
        seconds = 0.0
        if cfg.checkpoint is not None:
            files.load_weights(model, cfg.checkpoint, f'teacher "{cfg.model}"')
        elif cfg.epochs > 0:
            job = Job(
                name="teacher",
                model={"spec": cfg.model, "kwargs": self.kwargs("teacher", cfg.model, cfg.args)},
                loss=losses.cross_entropy,
                loss_id={"loss": "ce"},
                settings=Settings(
                    cfg.epochs,
                    cfg.lr,
                    cfg.weight_decay,
                    cfg.batch_size or self.cfg.data.batch_size,
                    seed,
                ),
                path=self.out / "teacher.pt",
                checkpoint_seconds=self.checkpoint_seconds,
            )
            seconds = self.fit(model, job).seconds
        size = Network(cfg.model, macs(model, self.splits.shape), parameters(model))
        to_device(model, self.team.device).eval().requires_grad_(False)
        score = evaluate(model, self.splits.test, self.cfg.data.batch_size, self.team)
        return model, replace(size, test_accuracy=score, seconds=seconds)

    def distillation(
        self, student: nn.Module, teacher: nn.Module
    ) -> tuple[Distillation, dict[str, Any], Curriculum | None]:
        """The loss, what it is made from, and the order of the images where there is one."""
        cfg, splits = self.cfg.distill, self.splits
        fingerprint = files.fingerprint(teacher.state_dict())
        elsewhere = {"epochs", "lr", "weight_decay", "seeds", "baseline", "latency_weight"}
        identity = {**cfg.model_dump(mode="json", exclude=elsewhere), "teacher": fingerprint}
        known: Tensor | None = None
        if cfg.curriculum != "none" or (splits.augment is None and not cfg.features):
            place = self.out / "teacher"
            known = teacher_cache.logits(teacher, fingerprint, splits, place, self.team)
        curriculum = None
        if cfg.curriculum != "none":
            assert known is not None
            sure = teacher_cache.confidence(known, splits.train.labels)
            curriculum = Curriculum(
                sure, cfg.curriculum, cfg.curriculum_start, cfg.curriculum_full_at
            )
        cached = known if splits.augment is None else None
        return (
            Distillation(cfg, student, teacher, splits.shape, cached),
            identity,
            curriculum,
        )

    def fit(self, model: nn.Module, job: Job) -> files.Checkpoint:
        """Trains a network on the session's data, as `trainer.fit`, with a bar."""
        report: Report = _silent
        if self.progress is not None:
            progress = self.progress
            bar = progress.add_task(job.name, total=job.settings.epochs, note="")

            def report(done: int, note: str) -> None:
                progress.update(bar, completed=done, note=note)

        return fit(model, self.splits, job, self.team, report)


def _silent(done: int, note: str) -> None:
    del done, note
