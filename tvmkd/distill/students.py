"""Trains a teacher, then students over several seeds with and without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from tvmkd.distill import tasks
from tvmkd.distill.distributed import assemble
from tvmkd.distill.latency import Estimate, LatencyTerm, identity
from tvmkd.distill.latency import load as load_estimate
from tvmkd.distill.memory_format import to_device
from tvmkd.distill.recorder import Recorder
from tvmkd.distill.results import Kind, Network, Result, Run
from tvmkd.distill.session import Session
from tvmkd.distill.shaping import Shaper, shape
from tvmkd.distill.task import Task, running
from tvmkd.distill.training import AfterCheckpoint
from tvmkd.models import checkpoint as files
from tvmkd.models.checkpoint import Checkpoint

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
    task: Task | None = None,
    shaper: Shaper | None = None,
    after_checkpoint: AfterCheckpoint | None = None,
    checkpoint_seconds: float = 5.0,
) -> Result:
    """Trains the teacher (unless it comes with weights), then a student for each seed.

    A student that comes with weights is not trained: it is the only one.

    Under torchrun all processes call this and share the work. Whatever is in ``out_dir`` from an
    earlier call with the same settings is used: finished trainings are skipped, and an unfinished
    one resumes from its last checkpoint.

    Args:
        cfg: uses ``project.seed`` and the sections data, teacher, student and distill.
        out_dir: gets ``teacher.pt``, ``students/KIND-SEED.pt``, ``student.pt``, ``metrics.json``,
            ``training.html`` and a history beside each checkpoint.
        progress: shows a bar for each training.
        search_in: folders to look in for a ``module:callable``, such as that of the config file.
        multiple: what the target wants channel counts to be a multiple of; a registered student
            is rounded to it, unless its args say otherwise. The teacher is not: it stays here.
        task: what is learnt; None: what ``[data]`` names.
        shaper: learns the structure of each student in the first part of its training, with the
            latency in the loss; ``distill.latency`` has no other effect then.
        after_checkpoint: called by the leading process after each checkpoint of a student.
        checkpoint_seconds: least time between two checkpoints of one training.

    Raises:
        InputError: the data, a model or a checkpoint cannot be used.
        MissingError: what ``[project] log_to`` names is not installed.
    """
    task = task or tasks.make(cfg, search_in)
    estimate = load_estimate(cfg.distill.latency, task.input_shape, search_in)
    log_to, name = cfg.project.log_to, cfg.project.name
    with assemble() as team, Recorder(out_dir, team, log_to, name, search_in) as recorder:
        return _Students(
            cfg=cfg,
            out=out_dir,
            team=team,
            task=task,
            progress=progress if team.leader else None,
            multiple=multiple,
            estimate=estimate,
            shaper=shaper,
            after_checkpoint=after_checkpoint,
            checkpoint_seconds=checkpoint_seconds,
            recorder=recorder,
        ).run()


@dataclass(frozen=True)
class _Students(Session):
    estimate: Estimate = field(kw_only=True)
    shaper: Shaper | None = None
    after_checkpoint: AfterCheckpoint | None = None

    def run(self) -> Result:
        cfg = self.cfg.distill
        # Both are built before either is trained: a mistake in the student's name shows at once.
        blank = self.build("student", *self.student_model, 0)
        student = self.size(self.student_model[0], blank)
        given = self.cfg.student.checkpoint
        teacher: tuple[nn.Module, Network] | None = None
        if cfg.loss != "ce" and (given is None or self._teacher_is_there):
            self.task.check_distillation(blank, self.untrained_teacher())
            teacher = self.teacher()
        kinds: list[Kind] = [] if cfg.loss == "ce" else ["distilled"]
        if given is not None:
            kinds = kinds or ["baseline"]
            runs = [self._given(kinds[0], given)]
        else:
            if cfg.baseline or teacher is None:
                kinds.append("baseline")
            runs = [
                self._student(kind, seed, teacher[0] if teacher else None)
                for kind in kinds
                for seed in cfg.seeds
            ]
        chosen = self._best([run for run in runs if run.kind == kinds[0]])
        if chosen.shape is not None:
            student = replace(
                student, macs=chosen.shape["macs"], parameters=chosen.shape["parameters"]
            )
        result = Result(
            checkpoint=self.out / "student.pt",
            metrics=self.out / "metrics.json",
            teacher=teacher[1] if teacher else None,
            student=student,
            runs=runs,
            chosen=chosen,
            scores=self.task.metrics,
        )
        known = self._calibrated(chosen) if self.task.calibrates else self.task.metadata(blank)
        if self.team.leader:
            loss = self.task.loss_name if teacher else "ce"
            meta = {"loss": loss, **known}
            result.write(self.task.describe_data(), self.task.sections(), **meta)
        self.team.wait()
        return result

    def _student(self, kind: Kind, seed: int, teacher: nn.Module | None) -> Run:
        guide = teacher if kind == "distilled" else None
        model, job = self.student(
            seed,
            self.out / "students" / f"{kind}-{seed}.pt",
            f"{kind} student (seed {seed})",
            guide,
        )
        job = replace(job, after_checkpoint=self.after_checkpoint)
        facts: dict[str, Any] | None = None
        if self.shaper is None:
            job = replace(job, latency=self._latency())
        else:
            model, job, facts = shape(self, self.shaper, model, job, guide)
            size = self.size(job.model["spec"], model)
            facts = {**facts, "macs": size.macs, "parameters": size.parameters}
        state = self.fit(model, job)
        score, _ = self.evaluate(model, "val")
        test, others = self.evaluate(model, "test")
        return Run(kind, seed, score, test, job.path, state.seconds, others, facts)

    @property
    def _teacher_is_there(self) -> bool:
        """Whether no teacher and no assistant need be trained."""
        cfg = self.cfg.teacher
        trained = [
            self.teacher_path(number)
            for number, one in enumerate(cfg.members)
            if one.checkpoint is None and one.epochs > 0
        ]
        trained += [self.assistants.path(number) for number in range(len(cfg.assistants))]
        return all(path.is_file() for path in trained)

    def _given(self, kind: Kind, weights: Path) -> Run:
        """The student with the weights of a file."""
        seed, (spec, args) = self.cfg.distill.seeds[0], self.student_model
        model = self.build("student", spec, args, seed)
        self.task.load_weights(model, weights, f'student "{spec}"')
        path = self.out / "students" / "given.pt"
        kwargs = self.kwargs("student", spec, args)
        if self.team.leader:
            files.save(path, Checkpoint({"spec": spec, "kwargs": kwargs}, model.state_dict()))
        self.team.wait()
        score, _ = self.evaluate(model, "val")
        test, others = self.evaluate(model, "test")
        return Run(kind, seed, score, test, path, 0.0, others)

    def _calibrated(self, chosen: Run) -> dict[str, str]:
        """What the chosen student's file says of its outputs."""
        network = self.task.restore(chosen.checkpoint)
        to_device(network, self.team.device)
        return self.task.calibrate(network, running(network, self.team), self.team)

    def _best(self, runs: Sequence[Run]) -> Run:
        """The best student on the validation split, minus the latency term."""
        term, metric = self._latency(), self.task.metric
        return max(
            runs, key=lambda run: metric.gain(0.0, run.val_accuracy) - self._penalty(term, run)
        )

    def _latency(self) -> LatencyTerm | None:
        spec, weight = self.cfg.distill.latency, self.cfg.distill.latency_weight
        if weight == 0:
            return None
        return LatencyTerm(self.estimate, weight, identity(spec, weight, self.task.search_in))

    def _penalty(self, term: LatencyTerm | None, run: Run) -> float:
        if run.shape is not None:
            return self.cfg.distill.latency_weight * float(run.shape["ratio"])
        if term is None:
            return 0.0
        return term.penalty(self.task.restore(run.checkpoint))
