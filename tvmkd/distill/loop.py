"""The whole of it: a teacher, students over several seeds with and without it, and the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from tvmkd import data
from tvmkd.distill import losses
from tvmkd.distill.curriculum import Curriculum
from tvmkd.distill.distillation_loss import Distillation, check
from tvmkd.distill.distributed import assemble
from tvmkd.distill.evaluate import evaluate
from tvmkd.distill.exit_loss import ExitLoss
from tvmkd.distill.latency import Estimate, LatencyTerm, mega_macs
from tvmkd.distill.losses import Loss
from tvmkd.distill.results import Kind, Network, Result, Run
from tvmkd.distill.session import Session
from tvmkd.distill.trainer import Job
from tvmkd.distill.training import AfterCheckpoint, Settings
from tvmkd.models import checkpoint as files
from tvmkd.models.early_exit import EarlyExitNet
from tvmkd.models.macs import macs, parameters

if TYPE_CHECKING:
    from rich.progress import Progress

    from tvmkd.config import Config


def distill(
    cfg: Config,
    out_dir: Path,
    progress: Progress | None = None,
    *,
    search_in: Sequence[Path] = (),
    multiple: int | None = None,
    estimate: Estimate | None = None,
    after_checkpoint: AfterCheckpoint | None = None,
    checkpoint_seconds: float = 5.0,
) -> Result:
    """Trains the teacher (unless it comes with weights), then a student for each seed.

    Under torchrun all processes call this and share the work. Whatever is in ``out_dir`` from an
    earlier call with the same settings is used: finished trainings are skipped, and an unfinished
    one goes on from its last checkpoint.

    Args:
        cfg: uses ``project.seed`` and the sections data, teacher, student and distill.
        out_dir: gets ``teacher.pt``, ``students/KIND-SEED.pt``, ``student.pt``, ``metrics.json``.
        progress: shows a bar for each training.
        search_in: folders to look in for a ``module:callable``, such as that of the config file.
        multiple: what the target wants channel counts to be a multiple of; a registered student
            is rounded to it, unless its args say otherwise. The teacher is not: it stays here.
        estimate: latency model for the latency term; by default, millions of MACs.
        after_checkpoint: called by the leading process after each checkpoint of a student.
        checkpoint_seconds: least time between two checkpoints of one training.

    Raises:
        InputError: the data, a model or a checkpoint cannot be used.
    """
    with assemble() as team:
        return _Students(
            cfg=cfg,
            out=out_dir,
            team=team,
            splits=data.load(cfg.data),
            progress=progress if team.leader else None,
            search_in=tuple(search_in),
            multiple=multiple,
            estimate=estimate,
            after_checkpoint=after_checkpoint,
            checkpoint_seconds=checkpoint_seconds,
        ).run()


@dataclass(frozen=True)
class _Students(Session):
    estimate: Estimate | None = None
    after_checkpoint: AfterCheckpoint | None = None

    def run(self) -> Result:
        cfg = self.cfg.distill
        # Both are built before either is trained: a mistake in the student's name shows at once.
        student = self._size("student", *self._student_model)
        teacher: tuple[nn.Module, Network] | None = None
        if cfg.loss != "ce":
            self._check_features()
            teacher = self.teacher()
        kinds: list[Kind] = [] if teacher is None else ["distilled"]
        if cfg.baseline or teacher is None:
            kinds.append("baseline")
        runs = [
            self._student(kind, seed, teacher[0] if teacher else None)
            for kind in kinds
            for seed in cfg.seeds
        ]
        wanted = [run for run in runs if run.kind == kinds[0]]
        penalty = self._latency()
        chosen = max(wanted, key=lambda run: run.val_accuracy - self._penalty(penalty, run))
        result = Result(
            checkpoint=self.out / "student.pt",
            metrics=self.out / "metrics.json",
            teacher=teacher[1] if teacher else None,
            student=student,
            runs=runs,
            chosen=chosen,
        )
        if self.team.leader:
            self._write(result)
        self.team.wait()
        return result

    @property
    def _student_model(self) -> tuple[str, dict[str, Any]]:
        """What the student is built from: its section's model, with exits where they are asked."""
        spec, exits = self.cfg.student, self.cfg.early_exit
        if exits is None:
            return spec.model, spec.args
        base = self.kwargs("student", spec.model, spec.args)
        return "early-exit", {
            "base": spec.model,
            "args": base,
            "exits": exits.exits,
            "shape": list(self.splits.shape),
        }

    def _size(self, role: str, spec: str, args: dict[str, Any]) -> Network:
        model = self.build(role, spec, args, 0)
        return Network(spec, macs(model, self.splits.shape), parameters(model))

    def _check_features(self) -> None:
        if self.cfg.distill.features:
            other = self.cfg.teacher
            student = self.build("student", *self._student_model, 0)
            teacher = self.build("teacher", other.model, other.args, 0)
            check(self.cfg.distill, student, teacher, self.splits.shape)

    def _student(self, kind: Kind, seed: int, teacher: nn.Module | None) -> Run:
        cfg, (spec, args) = self.cfg.distill, self._student_model
        model = self.build("student", spec, args, seed)
        loss: Loss = losses.cross_entropy
        loss_id: dict[str, Any] = {"loss": "ce"}
        curriculum: Curriculum | None = None
        if kind == "distilled" and teacher is not None:
            loss, loss_id, curriculum = self.distillation(model, teacher)
        exits = self.cfg.early_exit
        if exits is not None:
            assert isinstance(model, EarlyExitNet)
            loss = ExitLoss(model, loss, exits.weight, cfg.alpha, cfg.temperature)
            loss_id = {**loss_id, "branches": [exits.weight, cfg.alpha, cfg.temperature]}
        job = Job(
            name=f"{kind} student (seed {seed})",
            model={"spec": spec, "kwargs": self.kwargs("student", spec, args)},
            loss=loss,
            loss_id=loss_id,
            settings=Settings(cfg.epochs, cfg.lr, cfg.weight_decay, self.cfg.data.batch_size, seed),
            path=self.out / "students" / f"{kind}-{seed}.pt",
            latency=self._latency(),
            curriculum=curriculum,
            checkpoint_seconds=self.checkpoint_seconds,
            after_checkpoint=self.after_checkpoint,
        )
        try:
            state = self.fit(model, job)
        finally:
            if isinstance(loss, (Distillation, ExitLoss)):
                loss.close()
        size = self.cfg.data.batch_size
        return Run(
            kind=kind,
            seed=seed,
            val_accuracy=evaluate(model, self.splits.val, size, self.team),
            test_accuracy=evaluate(model, self.splits.test, size, self.team),
            checkpoint=job.path,
            seconds=state.seconds,
        )

    def _latency(self) -> LatencyTerm | None:
        weight = self.cfg.distill.latency_weight
        if weight == 0:
            return None
        return LatencyTerm(self.estimate or mega_macs(self.splits.shape), weight)

    def _penalty(self, term: LatencyTerm | None, run: Run) -> float:
        if term is None:
            return 0.0
        model = self.build("student", *self._student_model, run.seed)
        files.load_weights(model, run.checkpoint, "student")
        return term.penalty(model)

    def _write(self, result: Result) -> None:
        splits = self.splits
        result.write(
            {
                "sha256": splits.sha256,
                "classes": list(splits.classes),
                "shape": list(splits.shape),
                "images": {
                    name: len(getattr(splits, name).labels) for name in ("train", "val", "test")
                },
                "preprocessing": splits.preprocessing,
            },
            {"distill": self.cfg.distill.model_dump(mode="json")},
            metric="accuracy",
            loss=self.cfg.distill.loss,
        )
