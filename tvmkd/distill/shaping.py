"""Shapes a student while it trains: a structure is learnt first, then cut out and trained on.

What shapes it is handed down by those who know latencies: see `tvmkd.search.soft`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import nn

from tvmkd.distill.session import Session
from tvmkd.distill.task import Loss, Task
from tvmkd.distill.training import AfterCheckpoint, Job
from tvmkd.models import checkpoint as files

FOLDER = "shaping"
"""Below the folder of the students: the trainings in which structures are learnt."""


@dataclass(frozen=True)
class Shaped:
    """A student with its structure.

    Attributes:
        network: cut, on the CPU, with its weights.
        model: ``{"spec", "kwargs"}`` that it is rebuilt from.
        facts: for people and tools, JSON-safe: the structure, its latency; ``ratio``: that latency
            as a share of the whole student's; ``summary``: a line.
    """

    network: nn.Module
    model: dict[str, Any]
    facts: dict[str, Any]


class Shaping(Protocol):
    """The choices about one network, soft until they are made."""

    @property
    def identity(self) -> dict[str, Any]:
        """What determines where it ends, JSON-safe."""

    @property
    def after_checkpoint(self) -> AfterCheckpoint | None:
        """Called after each checkpoint of the training that learns the structure."""

    def loss(self, inner: Loss) -> nn.Module:
        """A loss with the expected latency in it. The choices are its weights; it has ``close``."""

    def shaped(self) -> Shaped:
        """The likeliest structure, cut out."""


class Shaper(Protocol):
    """Makes the choices about networks soft."""

    def soften(
        self, network: nn.Module, model: Mapping[str, Any], task: Task, pace: float, leader: bool
    ) -> Shaping:
        """Finds the choices about a network.

        Args:
            network: to be trained, on the CPU.
            model: ``{"spec", "kwargs"}`` that it was built from.
            task: what it learns.
            pace: the sum of the learning rates of all steps in which it is shaped.
            leader: whether this process does what one of a team does for all; the others call this
                when it is done.

        Raises:
            InputError: nothing can be chosen about it.
        """


def epochs(whole: int, share: float) -> tuple[int, int]:
    """How many epochs shape a student, and how many train it on: at least one each."""
    first = min(max(1, round(share * whole)), whole - 1)
    return first, whole - first


def shape(
    session: Session, shaper: Shaper, network: nn.Module, job: Job, teacher: nn.Module | None
) -> tuple[nn.Module, Job, dict[str, Any]]:
    """Learns a structure; returns the cut student, the training that is left, and the facts.

    Args:
        session: of the student.
        shaper: knows the latencies.
        network: the whole student, just built.
        job: its training, as if nothing were shaped; its epochs are those of both parts.
        teacher: as for `Session.student`.

    Raises:
        InputError: nothing can be chosen about the network, or the training fails.
    """
    settings, team = job.settings, session.team
    first, rest = epochs(settings.epochs, session.cfg.distill.shaping)
    steps = first * session.trainer.steps(settings)
    # The mean of the schedule of learning rates is half of the highest.
    rate = settings.lr * steps / 2
    with team.leader_first():  # it asks for the latencies, and leaves them in a file
        shaping = shaper.soften(network, job.model, session.task, rate, team.leader)
    soft = replace(
        job,
        name=f"{job.name}, shaping",
        # The choices are the loss's and are not averaged: they would not fit averaged weights.
        settings=replace(settings, epochs=first, ema=0.0),
        path=job.path.parent / FOLDER / job.path.name,
        loss=shaping.loss(job.loss),
        loss_id={**job.loss_id, "shaping": shaping.identity},
        latency=None,
        after_checkpoint=shaping.after_checkpoint,
    )
    session.fit(network, soft)
    found = shaping.shaped()
    cut = found.network
    made = session.job(cut, found.model, settings.seed, job.path, job.name, teacher)
    made = replace(
        made,
        settings=replace(settings, epochs=rest),
        # Where it starts determines where it ends. It has seen the easy images.
        loss_id={**made.loss_id, "start": files.fingerprint(cut.state_dict())},
        curriculum=None,
        after_checkpoint=job.after_checkpoint,
        rungs=job.rungs,
    )
    facts: dict[str, Any] = team.gather([found.facts])[0]
    return cut, made, facts
