"""What trainings of classifiers and of detectors share: settings, seeds, and the checkpoint."""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from tvmkd.base import console
from tvmkd.base.errors import InputError
from tvmkd.distill.distributed import Team
from tvmkd.models import checkpoint as files
from tvmkd.models.checkpoint import Checkpoint

METRICS = {"accuracy": "{:.1%}", "map": "mAP {:.3f}"}
AfterCheckpoint = Callable[[Path, int, nn.Module], None]
"""Called with a checkpoint's path, the epochs done and the model; may raise to end the training."""
Report = Callable[[int, str], None]
"""Called with the epochs done and a short note for the person watching."""


@dataclass(frozen=True)
class Settings:
    """How to train: together with the model, the loss and the data this fixes the result."""

    epochs: int
    lr: float
    weight_decay: float
    batch_size: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training, whatever is trained.

    Attributes:
        name: for messages: "teacher", "student (seed 1)".
        model: ``{"spec", "kwargs"}`` that the network was built from.
        settings: lr, epochs and so on; ``seed`` also shuffles.
        path: the checkpoint.
        loss_id: what the loss is, so that a checkpoint from another loss is not continued.
        checkpoint_seconds: a checkpoint is written at the end of an epoch if the last one is at
            least this old, and always after the last epoch. 0: every epoch.
    """

    name: str
    model: dict[str, Any]
    settings: Settings
    path: Path
    loss_id: dict[str, Any]
    checkpoint_seconds: float = 5.0
    after_checkpoint: AfterCheckpoint | None = None

    def not_a_number(
        self, what: str, value: float, epoch: int, step: int, steps: int, images: Tensor
    ) -> InputError:
        """The error of a loss that is no number; ``epoch`` and ``step`` count from 0."""
        kept = f"; {self.path} is of an earlier epoch" if self.path.exists() else ""
        return InputError(
            f"{self.name}: the {what} is {value} in batch {step + 1} of {steps} of epoch "
            f"{epoch + 1} (training images {_some(images)}); lower its lr "
            f"({self.settings.lr:g}), or look for bad values in the data{kept}"
        )


class Stateful(Protocol):
    """What goes on where it was stopped: an optimizer, a loss with weights."""

    def state_dict(self) -> dict[str, Any]:
        """What it is at now."""

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Goes on from there."""


class Keeper:
    """A training's checkpoint: read at the start, written between epochs.

    Args:
        training: whose it is.
        network: gets the weights of a checkpoint of this very training.
        parts: what else is kept, by name.
        team: only its leader writes.
        report: is told of each epoch.
        meta: of a new checkpoint; ``training`` identifies the training.
        metric: what ``end_epoch``'s score is, one of `METRICS`.

    Attributes:
        state: the checkpoint; its ``epoch`` is how many are done.
    """

    def __init__(
        self,
        training: Training,
        network: nn.Module,
        parts: Mapping[str, Stateful],
        team: Team,
        report: Report,
        meta: dict[str, str],
        metric: Literal["accuracy", "map"] = "accuracy",
    ) -> None:
        self._training, self._network, self._parts = training, network, parts
        self._team, self._report = team, report
        self._metric, self._text = f"val_{metric}", METRICS[metric]
        seed = training.settings.seed
        found = _resume(training.name, training.path, meta["training"])
        self.state = found or Checkpoint(training.model, {}, rng={"seed": seed}, meta=meta)
        if found is not None:
            network.load_state_dict(found.state)
            assert found.optimizer is not None
            for name, part in parts.items():
                part.load_state_dict(found.optimizer[name])
        # Nobody writes before everybody has read.
        team.wait()
        self._before = self.state.seconds
        self._began = self._kept = time.monotonic()
        report(self.state.epoch, self._note())

    def end_epoch(self, loss: float, score: Callable[[], float]) -> None:
        """Adds an epoch to the history, with a score after every fifth of the training."""
        state, training, epochs = self.state, self._training, self._training.settings.epochs
        state.epoch += 1
        last = state.epoch == epochs
        entry = {"epoch": float(state.epoch), "loss": loss}
        if last or state.epoch % max(1, epochs // 5) == 0:
            entry[self._metric] = score()
        state.history.append(entry)
        self._report(state.epoch, self._note())
        old = time.monotonic() - self._kept >= training.checkpoint_seconds
        if self._team.leader and (last or old):
            state.seconds = self._before + time.monotonic() - self._began
            state.state = self._network.state_dict()
            state.optimizer = {name: part.state_dict() for name, part in self._parts.items()}
            files.save(training.path, state)
            if training.after_checkpoint is not None:
                training.after_checkpoint(training.path, state.epoch, self._network)
            self._kept = time.monotonic()

    def finish(self) -> Checkpoint:
        """The last checkpoint, when the whole team is done."""
        self._team.wait()
        self.state.state = self._network.state_dict()
        return self.state

    def _note(self) -> str:
        history = self.state.history
        if not history:
            return ""
        scores = [entry[self._metric] for entry in history if self._metric in entry]
        score = f", validation {self._text.format(scores[-1])}" if scores else ""
        return f"loss {history[-1]['loss']:.3f}{score}"


def fingerprint(**facts: Any) -> str:
    """Of what decides where a training ends: two of one fingerprint end in the same weights."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def to_device(network: nn.Module, device: torch.device) -> nn.Module:
    """Moves a network, its convolutions channels-last: what GPUs and CPUs train fastest."""
    return network.to(device).to(memory_format=torch.channels_last)


def groups(parameters: Sequence[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """What an optimizer takes: matrices and kernels decay, normalisation and biases do not."""
    weights = [weight for weight in parameters if weight.requires_grad]
    return [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]


def seed_epoch(seed: int, epoch: int, team: Team) -> torch.Generator:
    """Seeds everything a model or a user's code may draw from; returns our own generator."""
    numbers = np.random.SeedSequence([seed, epoch, team.rank]).generate_state(3)
    torch.manual_seed(int(numbers[0]))
    random.seed(int(numbers[1]))
    np.random.seed(int(numbers[1]))  # noqa: NPY002 - a user's own layer may use it
    return torch.Generator().manual_seed(int(numbers[2]))


def schedule(step: int, steps: int) -> float:
    """The fraction of the learning rate: up over the first 5% of the steps, then a cosine down."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _resume(name: str, path: Path, identity: str) -> Checkpoint | None:
    """The checkpoint to go on from, if there is one and it is of this very training."""
    if not path.exists():
        return None
    try:
        found = files.load(path)
    except InputError as error:
        console.warn(f"{name} starts again: {error}")
        return None
    if found.meta.get("training") != identity or found.optimizer is None:
        return None
    return found


def _some(indices: Tensor, most: int = 6) -> str:
    """The first few of many images, for messages."""
    more = ", ..." if len(indices) > most else ""
    return ", ".join(str(int(index)) for index in indices[:most]) + more
