"""Structures become networks, with their data and their teacher."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from tvmkd.base import console
from tvmkd.base.files import source_hash
from tvmkd.base.locks import Lock
from tvmkd.distill import tasks
from tvmkd.distill.distributed import Team, find_device
from tvmkd.distill.results import Network
from tvmkd.distill.session import Session
from tvmkd.distill.task import Task
from tvmkd.search import structure

if TYPE_CHECKING:
    from tvmkd.config import Config
    from tvmkd.targets import Target

TRIALS, TEACHERS = "trials", "teachers"
"""Folders of a search."""
TEACHERS_KEPT = 2
"""Teachers that a process keeps in memory: one for each data set, and a search has mostly one."""


@dataclass(frozen=True)
class Candidate:
    """A network that was built, not trained.

    Attributes:
        cfg: of this network alone.
        session: its task and its trainer.
        network: with the first weights.
        size: its name, multiply-accumulates and parameters.
        folder: of its training. Networks that are trained alike, and differ in what is done with
            them afterwards, share it; and a training that was stopped is found in it.
    """

    cfg: Config
    session: Session
    network: nn.Module
    size: Network
    folder: Path

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an input, batch 1."""
        return self.session.task.input_shape

    @property
    def steps(self) -> int:
        """Of the optimiser in one epoch."""
        return self.session.steps

    @property
    def seed(self) -> int:
        """Of the training: networks are compared with the same one."""
        return self.cfg.distill.seeds[0]


class Networks:
    """Builds the networks of a search, and shares what they have in common.

    Args:
        folder: the search's folder; teachers are in ``teachers/``.
        target: rounds channel counts, unless the space chooses them.
        search_in: folders to look in for a ``module:callable``.
        device: number of the GPU to train on, of those that there are.
    """

    def __init__(
        self, folder: Path, target: Target, search_in: Sequence[Path] = (), device: int = 0
    ) -> None:
        self.folder, self.target, self.search_in = folder, target, tuple(search_in)
        self._team = Team(0, 1, _device(device))
        self._tasks: dict[str, Task] = {}
        self._teachers: dict[str, tuple[nn.Module, Network]] = {}

    def build(self, cfg: Config) -> Candidate:
        """The network of a config; see `tvmkd.search.structure.build`.

        Raises:
            InputError: it cannot be built, or does not fit the data.
            UsageError: an argument is out of range.
        """
        session = self.session(cfg)
        network = structure.build(
            cfg, session.task, self.target.channel_multiple, self.search_in, cfg.distill.seeds[0]
        )
        place = self.folder / TRIALS / self._training_key(cfg)
        return Candidate(cfg, session, network, session.size(cfg.student.model, network), place)

    def session(self, cfg: Config) -> Session:
        """What trains the student of a config."""
        return Session(
            cfg=cfg,
            out=self.folder / TEACHERS / self._teacher_key(cfg),
            team=self._team,
            task=self._task(cfg),
            progress=None,
            multiple=self.target.channel_multiple,
        )

    def teacher(self, session: Session) -> tuple[nn.Module, Network] | None:
        """The teacher: trained once, by the process that needs it first, while others wait.

        None where the loss needs none.

        Raises:
            InputError: its checkpoint cannot be used, or its training fails.
        """
        if session.cfg.distill.loss == "ce":
            return None
        key = session.out.name
        if key not in self._teachers:
            session.out.mkdir(parents=True, exist_ok=True)
            lock = Lock(session.out / ".lock", "training the teacher", "", wait=console.say)
            with lock:
                found = session.teacher()
            while len(self._teachers) >= TEACHERS_KEPT:
                del self._teachers[next(iter(self._teachers))]
            self._teachers[key] = found
        return self._teachers[key]

    def _task(self, cfg: Config) -> Task:
        """The task of a config; the data is loaded once for all configs that have the same."""
        if cfg.data.task is not None and ":" in cfg.data.task:
            return tasks.make(cfg, self.search_in)  # what it makes of the config is its own
        key = _digest(_data(cfg))
        if key not in self._tasks:
            self._tasks[key] = tasks.make(cfg, self.search_in)
        task = copy.copy(self._tasks[key])
        task.cfg = cfg
        return task

    def _training_key(self, cfg: Config) -> str:
        """Tells apart the trainings of students."""
        parts = {"data", "teacher", "student", "distill", "early_exit", "detection"}
        facts = cfg.model_dump(mode="json", include=parts, exclude_defaults=True)
        code = source_hash(cfg.student.model, self.search_in)
        return _digest([facts, cfg.project.seed, self.target.channel_multiple, code])[:12]

    def _teacher_key(self, cfg: Config) -> str:
        """Tells apart the teachers of configs: a space may change the size of images."""
        specs = (*cfg.teacher.specs, cfg.data.task or "")
        code = [source_hash(spec, self.search_in) for spec in specs]
        teacher = cfg.teacher.model_dump(mode="json", exclude_defaults=True)
        facts = [teacher, _data(cfg), cfg.project.seed, code]
        if cfg.teacher.assistants:  # how they are trained
            facts.append(cfg.distill.model_dump(mode="json", exclude_defaults=True))
        return _digest(facts)[:12]


def _data(cfg: Config) -> list[Any]:
    """What the data of a config depends on."""
    sections = cfg.model_dump(mode="json", include={"data", "detection"}, exclude_defaults=True)
    return [sections, cfg.student.images]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _device(number: int) -> Any:
    import torch

    found = find_device()
    if found.type != "cuda":
        return found
    return torch.device("cuda", number % torch.cuda.device_count())
