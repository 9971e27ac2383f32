"""Teacher assistants: networks between teacher and student, each distilled from the last one."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from tvmkd.distill.distributed import Team
from tvmkd.distill.memory_format import to_device
from tvmkd.distill.recorder import Recorder
from tvmkd.distill.task import Task
from tvmkd.distill.trainer import Trainer
from tvmkd.distill.training import Job, Settings

if TYPE_CHECKING:
    from rich.progress import Progress

    from tvmkd.config import Config
    from tvmkd.config.sections import Assistant


@dataclass(frozen=True)
class Assistants:
    """Trains the chain of ``[[teacher.assistants]]`` (Mirzadeh et al., AAAI 2020).

    A student much smaller than its teacher learns more from a network between the two. Each is
    trained with the losses on logits of ``[distill]``, on the teacher's images.

    Attributes:
        cfg: uses ``project.seed`` and the sections data, teacher and distill.
        task: what students learn.
        out: the folder that gets ``assistant-1.pt``...
        team: the processes that share the work.
        progress: shows a bar for each training.
        checkpoint_seconds: least time between two checkpoints of one training.
        recorder: gets the numbers of each epoch.
    """

    cfg: Config
    task: Task
    out: Path
    team: Team
    progress: Progress | None
    checkpoint_seconds: float
    recorder: Recorder | None = None

    def build(self, number: int) -> nn.Module:
        """An assistant before its training; ``number`` is its place in the chain, from 0.

        Raises:
            InputError: it cannot be built or does not fit the data.
        """
        one = self._sections[number]
        kwargs = self.task.arguments(one.model, one.args)
        name = f"assistant {number + 1}"
        return self.task.build(one.model, kwargs, name, self.cfg.project.seed)

    def path(self, number: int) -> Path:
        """Its checkpoint."""
        return self.out / f"assistant-{number + 1}.pt"

    def check(self, teacher: nn.Module) -> nn.Module:
        """Checks that each can learn from the one before it; returns the last, untrained.

        Args:
            teacher: trained or not.

        Raises:
            InputError: one cannot.
        """
        for number in range(len(self._sections)):
            network = self.build(number)
            self._task().check_distillation(network, teacher)
            teacher = network
        return teacher

    def train(self, number: int, teacher: nn.Module) -> tuple[nn.Module, float]:
        """Trains one; returns it frozen, and the seconds that it took.

        Args:
            number: its place in the chain, from 0.
            teacher: the network before it, trained and frozen.

        Raises:
            InputError: its training fails.
        """
        one, task, network = self._sections[number], self._task(), self.build(number)
        to_device(network, self.team.device)
        found = task.distillation(network, teacher, self.out / "teacher", self.team)
        size = self.cfg.teacher.batch_size or self.cfg.data.batch_size
        job = Job(
            name=f"assistant {number + 1}",
            model={"spec": one.model, "kwargs": task.arguments(one.model, one.args)},
            settings=Settings(one.epochs, one.lr, one.weight_decay, size, self.cfg.project.seed),
            path=self.path(number),
            loss=found.loss,
            loss_id=found.identity,
            variants=task.variants,
            checkpoint_seconds=self.checkpoint_seconds,
        )
        try:
            state = Trainer(task, self.team, self.progress, self.recorder).fit(network, job)
        finally:
            job.close()
        return network.eval().requires_grad_(False), state.seconds

    @property
    def _sections(self) -> list[Assistant]:
        return self.cfg.teacher.assistants

    def _task(self) -> Task:
        """The teacher's images, and the losses that need no module of a certain student."""
        task = copy.copy(self.task.for_teacher())
        plain = self.cfg.distill.model_copy(update={"features": [], "curriculum": "none"})
        task.cfg = task.cfg.model_copy(update={"distill": plain})
        return task
