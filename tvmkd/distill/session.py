"""What every training of a run shares: the task, the trainer, networks, the teacher."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from tvmkd.base import console
from tvmkd.base.errors import InputError
from tvmkd.distill.assistants import Assistants
from tvmkd.distill.distributed import Team
from tvmkd.distill.ensemble import Ensemble
from tvmkd.distill.exit_loss import ExitLoss
from tvmkd.distill.memory_format import to_device
from tvmkd.distill.nested import tensors
from tvmkd.distill.recorder import Recorder
from tvmkd.distill.results import Network
from tvmkd.distill.task import Split, Task
from tvmkd.distill.trainer import Trainer, steps_in_epoch
from tvmkd.distill.training import Job, Momentum, Report, Settings
from tvmkd.models import branched
from tvmkd.models import checkpoint as files
from tvmkd.models.early_exit import EarlyExitNet
from tvmkd.models.macs import macs, parameters
from tvmkd.models.reparameterize import fused, stays

if TYPE_CHECKING:
    from rich.progress import Progress

    from tvmkd.config import Config, Distill, Teacher


def _momentum(cfg: Distill) -> Momentum | None:
    """The optimizer of the students, as `Settings.sgd`."""
    if cfg.optimizer == "adamw":
        return None
    return Momentum(cfg.momentum, cfg.delta if cfg.optimizer == "dot" else None)


Role = Literal["teacher", "student"]


@dataclass(frozen=True)
class Session:
    """One call of `distill` or `fine_tune`.

    Attributes:
        cfg: uses ``project.seed`` and the sections data, teacher, student and distill.
        out: the folder that gets ``teacher.pt``.
        team: the processes that share the work.
        task: what is learnt.
        progress: shows a bar for each training.
        multiple: what a registered student's channel counts are rounded to a multiple of.
        checkpoint_seconds: least time between two checkpoints of one training.
        recorder: gets the numbers of each epoch.
    """

    cfg: Config
    out: Path
    team: Team
    task: Task
    progress: Progress | None
    multiple: int | None = None
    checkpoint_seconds: float = 5.0
    recorder: Recorder | None = None

    @property
    def trainer(self) -> Trainer:
        """Trains on the session's task."""
        return Trainer(self.task, self.team, self.progress, self.recorder)

    @property
    def steps(self) -> int:
        """Of the optimiser in one epoch of a student."""
        return steps_in_epoch(self.task.count("train"), self.cfg.data.batch_size, self.team)

    def kwargs(self, role: Role, spec: str, args: dict[str, Any]) -> dict[str, Any]:
        """All arguments of a model; the target's multiple is for the student alone."""
        return self.task.arguments(spec, args, self.multiple if role == "student" else None)

    def build(self, role: Role, spec: str, args: dict[str, Any], seed: int) -> nn.Module:
        """A network with the weights that ``seed`` gives, or its backbone's file.

        Raises:
            InputError: it cannot be built, or does not fit the data; names the role.
        """
        backbone = getattr(self.cfg, role).backbone
        return self.task.build(spec, self.kwargs(role, spec, args), role, seed, backbone)

    def start(self, role: Role) -> dict[str, Any]:
        """What a training of this role starts from, since it determines where it ends."""
        path = getattr(self.cfg, role).backbone
        return {} if path is None else {"backbone": files.fingerprint(files.weights(path))}

    def size(self, spec: str, network: nn.Module) -> Network:
        """A network's name, and its size when it runs."""
        shape = self.task.input_shape
        network = fused(network, shape, spec)
        return Network(spec, macs(network, shape), parameters(network))

    def evaluate(self, network: nn.Module, split: Split) -> tuple[float, dict[str, float]]:
        """The deciding score on a split, and the others."""
        to_device(network, self.team.device)
        scores = self.task.evaluate(network, split, self.team)
        return scores.pop(self.task.metric.key), scores

    def teacher(self) -> tuple[nn.Module, Network]:
        """The network that students learn from, frozen: the teacher, or its last assistant.

        Each is loaded, or trained, or as it was built. And the teacher's size and score.

        Raises:
            InputError: its checkpoint cannot be used, or its training fails.
        """
        section = self.cfg.teacher
        found = [self._member(number, one) for number, one in enumerate(section.members)]
        members, times = zip(*found, strict=True)
        network = members[0] if len(members) == 1 else Ensemble(members, section.average)
        known = self._known(" + ".join(one.model for one in section.members), network, sum(times))
        self._check_outputs(network)
        ready = section.epochs == 0 or any(one.checkpoint for one in section.members)
        assert known.test_accuracy is not None
        doubt = self.task.doubt(network, known.test_accuracy, self.team, given=ready)
        if doubt is not None and self.team.leader:
            console.warn(doubt)
        chain = []
        for number, one in enumerate(section.assistants):
            network, seconds = self.assistants.train(number, network)
            chain.append(self._known(one.model, network, seconds))
        return network, replace(known, assistants=tuple(chain))

    def untrained_teacher(self) -> nn.Module:
        """The network that students will learn from, before any is trained.

        Raises:
            InputError: a teacher or an assistant cannot be built, or they do not fit together.
        """
        section = self.cfg.teacher
        members = [self.build("teacher", one.model, one.args, 0) for one in section.members]
        for network, one in zip(members, section.members, strict=True):
            if one.checkpoint is not None:  # a bad file shows before another teacher is trained
                self.task.load_weights(network, one.checkpoint, f'teacher "{one.model}"')
        network = members[0] if len(members) == 1 else Ensemble(members, section.average)
        return self.assistants.check(network)

    @property
    def assistants(self) -> Assistants:
        """The chain of ``[[teacher.assistants]]``."""
        return Assistants(
            *(self.cfg, self.task, self.out, self.team, self.progress, self.checkpoint_seconds),
            recorder=self.recorder,
        )

    def teacher_path(self, number: int) -> Path:
        """Where a teacher that is trained is kept; ``number`` is its place in the ensemble."""
        return self.out / ("teacher.pt" if number == 0 else f"teacher-{number + 1}.pt")

    def _known(self, spec: str, network: nn.Module, seconds: float) -> Network:
        """The size and the scores of a teacher or assistant, which is frozen."""
        known = self.size(spec, network)
        to_device(network, self.team.device).eval().requires_grad_(False)
        score, others = self.evaluate(network, "test")
        return replace(known, test_accuracy=score, seconds=seconds, others=others)

    def _member(self, number: int, cfg: Teacher) -> tuple[nn.Module, float]:
        """One teacher of the ensemble, trained, and the seconds that it took."""
        seed = self.cfg.project.seed + number
        network = self.build("teacher", cfg.model, cfg.args, seed)
        seconds = 0.0
        if cfg.checkpoint is not None:
            self.task.load_weights(network, cfg.checkpoint, f'teacher "{cfg.model}"')
        elif cfg.epochs > 0:
            size = cfg.batch_size or self.cfg.data.batch_size
            job = Job(
                name="teacher" if number == 0 else f"teacher {number + 1}",
                model={"spec": cfg.model, "kwargs": self.kwargs("teacher", cfg.model, cfg.args)},
                settings=Settings(
                    *(cfg.epochs, cfg.lr, cfg.weight_decay, size, seed, cfg.ema), stop=cfg.last
                ),
                path=self.teacher_path(number),
                loss=self.task.loss(network),
                loss_id={**self.task.labels_id, **self.start("teacher")},
                checkpoint_seconds=self.checkpoint_seconds,
            )
            trainer = Trainer(self.task.for_teacher(), self.team, self.progress, self.recorder)
            seconds = trainer.fit(network, job).seconds
        return network, seconds

    def _check_outputs(self, teacher: nn.Module) -> None:
        """Raises if a teacher answers real images with NaN, whatever its weights are."""
        images = torch.from_numpy(self.task.samples(2)).to(self.team.device)
        with torch.inference_mode():
            outputs = teacher(images)
        if any(bool(torch.isnan(tensor).any()) for tensor in tensors(outputs)):
            raise InputError(
                f'teacher "{self.cfg.teacher.model}": its outputs for images of the test split are '
                "NaN; give another checkpoint, or train it with a lower lr"
            )

    @property
    def student_model(self) -> tuple[str, dict[str, Any]]:
        """What the student is built from: its section's model, with exits where they are wanted."""
        spec, exits = self.cfg.student, self.cfg.early_exit
        if exits is None:
            return spec.model, spec.args
        base = self.kwargs("student", spec.model, spec.args)
        return "early-exit", {
            "base": spec.model,
            "args": base,
            "exits": exits.exits,
            "shape": list(self.task.input_shape),
        }

    def student(
        self, seed: int, path: Path, name: str, teacher: nn.Module | None
    ) -> tuple[nn.Module, Job]:
        """A new student and its training, as ``[distill]`` says.

        Args:
            seed: of the weights and the order of the images.
            path: the checkpoint.
            name: for messages.
            teacher: trained and frozen; None: the student learns from the labels alone.

        Raises:
            InputError: it cannot be built, or does not fit the data or the teacher.
        """
        cfg, (spec, args) = self.cfg.distill, self.student_model
        model = self.build("student", spec, args, seed)
        made = {"spec": spec, "kwargs": self.kwargs("student", spec, args)}
        count = self.cfg.student.reparam
        if count is not None:
            branched.add(model, self.task.input_shape, count, seed)
            reason = stays(branched.disturbed(model), self.task.input_shape)
            if reason is not None:
                raise InputError(
                    f"[student] reparam = {count}: the branches could not be fused into "
                    f'"{self.cfg.student.model}": {reason}; leave reparam out'
                )
        job = self.job(model, made, seed, path, name, teacher)
        if count is not None:
            job = replace(job, loss_id={**job.loss_id, "reparam": count})
        exits = self.cfg.early_exit
        if exits is not None:
            assert isinstance(model, EarlyExitNet)
            loss = ExitLoss(model, job.loss, exits.weight, cfg.alpha, cfg.temperature)
            branches = [exits.weight, cfg.alpha, cfg.temperature]
            job = replace(job, loss=loss, loss_id={**job.loss_id, "branches": branches})
        return model, job

    def job(
        self,
        model: nn.Module,
        made: dict[str, Any],
        seed: int,
        path: Path,
        name: str,
        teacher: nn.Module | None,
    ) -> Job:
        """The training of a student without exits, as ``[distill]`` says.

        Args:
            model: the student.
            made: ``{"spec", "kwargs"}`` that it was built from.
            seed, path, name, teacher: as for `student`.

        Raises:
            InputError: it does not fit the teacher.
        """
        cfg = self.cfg.distill
        job = Job(
            name=name,
            model=made,
            settings=Settings(
                *(cfg.epochs, cfg.lr, cfg.weight_decay, self.cfg.data.batch_size, seed, cfg.ema),
                sgd=_momentum(cfg),
            ),
            path=path,
            loss=self.task.student_loss(model),
            loss_id={**self.task.student_labels_id, **self.start("student")},
            variants=self.task.variants,
            checkpoint_seconds=self.checkpoint_seconds,
        )
        return job if teacher is None else self.distilled(job, model, teacher)

    def distilled(self, job: Job, student: nn.Module, teacher: nn.Module) -> Job:
        """A training, with the loss by which the student learns from the teacher."""
        found = self.task.distillation(student, teacher, self.out / "teacher", self.team)
        identity = {**found.identity, **self.start("student")}
        return replace(job, loss=found.loss, loss_id=identity, curriculum=found.curriculum)

    def fit(self, network: nn.Module, job: Job, report: Report | None = None) -> files.Checkpoint:
        """Trains a network, closes the loss and fuses branches; ``report`` as for `Trainer.fit`."""
        try:
            state = self.trainer.fit(network, job, report)
        finally:
            job.close()
        branched.merge(network)
        return state
