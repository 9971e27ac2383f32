"""The description of one training: settings, loss, checkpoint, and what identifies it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tvmkd import models
from tvmkd.base.errors import InputError
from tvmkd.base.files import source_hash
from tvmkd.distill.curriculum import Curriculum
from tvmkd.distill.latency import LatencyTerm
from tvmkd.distill.task import Loss, Task

AfterCheckpoint = Callable[[Path, int, nn.Module], None]
"""Called with a checkpoint's path, the epochs done and the model; may raise to end the training."""
Report = Callable[[int, str], None]
"""Called with the epochs done and a short note for the person watching."""


@dataclass(frozen=True)
class Rungs:
    """Epochs after which a training is judged, and may be ended.

    Attributes:
        epochs: after each of these a validation score is taken and a checkpoint is written.
        reached: called with the epochs done and the score, after the checkpoint; may raise to end
            the training, which a later one of the same job continues. A resumed training first
            calls it for the rungs that it has passed, in order.
    """

    epochs: frozenset[int]
    reached: Callable[[int, float], None]


@dataclass(frozen=True)
class Momentum:
    """Stochastic gradient descent with momentum, in place of AdamW.

    Attributes:
        momentum: of the gradients.
        delta: the teacher's gradients have a momentum larger by this, those of the labels one
            smaller by this (see `tvmkd.distill.dot`); None: one momentum for both.
    """

    momentum: float
    delta: float | None = None


@dataclass(frozen=True)
class Settings:
    """How to train: together with the model, the loss and the data this determines the result.

    ``sgd`` is None where it is AdamW. ``stop`` ends the training after this many of its ``epochs``,
    with the learning rates of all of them; None: it does not.
    """

    epochs: int
    lr: float
    weight_decay: float
    batch_size: int
    seed: int
    ema: float = 0.0
    sgd: Momentum | None = None
    stop: int | None = None

    @property
    def last(self) -> int:
        """The number of epochs that are trained."""
        return self.epochs if self.stop is None else self.stop

    def identity(self) -> dict[str, Any]:
        """As plain data; without what is not used, as in checkpoints from before there was any."""
        optional = ("ema", "sgd", "stop")
        return {
            name: value for name, value in asdict(self).items() if name not in optional or value
        }


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training.

    Attributes:
        name: for messages: "teacher", "student (seed 1)".
        model: ``{"spec", "kwargs"}`` that the network was built from.
        settings: lr, epochs and so on; ``seed`` also shuffles.
        path: the checkpoint.
        loss: a module's own weights are trained beside the network's.
        loss_id: identifies the loss, so that a checkpoint from another loss is not continued.
        variants: number of random views of each image, an epoch each in turn; 0: new ones each
            epoch.
        latency: is added to the loss.
        curriculum: chooses each epoch's images; its settings go into ``loss_id``, too.
        checkpoint_seconds: a checkpoint is written at the end of an epoch if the last one is at
            least this old, and always after the last epoch. 0: every epoch.
        after_checkpoint: called after each checkpoint, by the leader.
        rungs: where the training is judged; does not change where it ends.
    """

    name: str
    model: dict[str, Any]
    settings: Settings
    path: Path
    loss: Loss
    loss_id: dict[str, Any]
    variants: int = 0
    latency: LatencyTerm | None = None
    curriculum: Curriculum | None = None
    checkpoint_seconds: float = 5.0
    after_checkpoint: AfterCheckpoint | None = None
    rungs: Rungs | None = None

    @property
    def spec(self) -> str:
        """What the network is made from, before it is changed by us."""
        base: str = self.model.get("kwargs", {}).get("base", self.model["spec"])
        return base

    @property
    def by_user(self) -> bool:
        """True if the network is a user's own ``module:callable``, as it is or changed by us."""
        return ":" in self.spec and not models.is_builtin(self.spec)

    def close(self) -> None:
        """Closes the loss, if it has something to take off the networks."""
        close = getattr(self.loss, "close", None)
        if close is not None:
            close()

    def identity(self, task: Task, processes: int) -> str:
        """The hash of what determines where the training ends.

        Two trainings of one identity end in the same weights.
        """
        facts = {
            "model": self.model,
            "loss": self.loss_id,
            "settings": self.settings.identity(),
            "processes": processes,
            **task.identity(self.variants),
        }
        if self.latency is not None:
            facts.update(self.latency.identity)
        specs = (self.spec, task.cfg.data.task or "")
        code = [source_hash(spec, task.search_in) for spec in specs]
        if any(code):
            facts["code"] = code
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()

    def not_finite(
        self, what: str, value: float, epoch: int, step: int, indices: list[Tensor]
    ) -> InputError:
        """The error of a loss or gradient that is not finite.

        Args:
            what: which of them.
            value: what it is.
            epoch, step: where, from 0.
            indices: of the images of each step of the epoch.
        """
        kept = f"; {self.path} is of an earlier epoch" if self.path.exists() else ""
        return InputError(
            f"{self.name}: the {what} is {value} in batch {step + 1} of {len(indices)} of epoch "
            f"{epoch + 1} (training images {_some(indices[step])}); lower its lr "
            f"({self.settings.lr:g}), or look for bad values in the data{kept}"
        )


def _some(indices: Tensor, most: int = 6) -> str:
    """The first few of many images, for messages."""
    more = ", ..." if len(indices) > most else ""
    return ", ".join(str(int(index)) for index in indices[:most]) + more
