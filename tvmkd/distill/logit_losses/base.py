"""What losses on logits have in common: labels and teacher weighed, images weighed, fp32."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Protocol, TypeVar, cast

import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from torch import Tensor

from tvmkd.base.errors import InputError
from tvmkd.distill import loss_parts
from tvmkd.distill.distributed import whole


class LogitLoss(Protocol):
    """How far a student's logits are from its teacher's and from the labels."""

    def __call__(
        self, student: Tensor, teacher: Tensor, labels: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Logits ``[N, classes]`` each and labels ``[N]`` to a scalar.

        Args:
            weights: of the images, float ``[N]``, 1 in the mean.
        """


class SoftLoss(ABC):
    """``alpha · CE + (1 - alpha) · soft``: the labels and the teacher, each with its weight.

    Computed in float32 whatever the logits are, also inside autocast.

    Attributes:
        alpha: weight of the labels.
        whole_batch: `soft` compares images with each other: under torchrun it gets the images of
            all processes.
    """

    alpha: float
    whole_batch: ClassVar[bool] = False

    @abstractmethod
    def soft(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """How far the student is from its teacher.

        Args:
            student, teacher: float32 logits ``[N, classes]``.
            labels: int64 ``[N]``.

        Returns:
            float32 ``[N]``. What concerns the batch as a whole is added to each image.
        """

    def distance(
        self, student: Tensor, teacher: Tensor, labels: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """The mean of `soft`, a float32 scalar; arguments as for `LogitLoss`.

        Raises:
            InputError: the two have different numbers of classes.
        """
        if student.shape != teacher.shape:
            raise InputError(
                f"the student gives logits of shape {list(student.shape)}, its teacher "
                f"{list(teacher.shape)}: both need the same classes"
            )
        with torch.autocast(student.device.type, enabled=False):
            mine, other = student.float(), teacher.detach().float()
            if self.whole_batch:
                mine, other, labels = whole(mine), whole(other), whole(labels)
                weights = None if weights is None else whole(weights)
            return weighted_mean(self.soft(mine, other, labels), weights)

    def parts(
        self, student: Tensor, teacher: Tensor, labels: Tensor, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The labels' part and the teacher's: two float32 scalars that add up to the loss."""
        hard = F.cross_entropy(student.float(), labels, reduction="none")
        soft = self.distance(student, teacher, labels, weights)
        return (
            loss_parts.note("labels", self.alpha * weighted_mean(hard, weights)),
            loss_parts.note("logits", (1 - self.alpha) * soft),
        )

    def __call__(
        self, student: Tensor, teacher: Tensor, labels: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """As `LogitLoss`."""
        hard, soft = self.parts(student, teacher, labels, weights)
        return hard + soft


REGISTERED: dict[str, Callable[..., SoftLoss]] = {}
"""Losses by the name that ``[distill] loss`` has for them."""

_Class = TypeVar("_Class")  # no bound: the type checker does not see through pydantic's decorator


def register(name: str) -> Callable[[_Class], _Class]:
    """Registers a loss. It is made with those keys of ``[distill]`` that it takes."""

    def add(loss: _Class) -> _Class:
        REGISTERED[name] = cast("Callable[..., SoftLoss]", loss)
        return loss

    return add


def divergence(logs: Tensor, target: Tensor) -> Tensor:
    """KL(target ‖ logs) of log-probabilities ``[N, classes]``, for each image."""
    return F.kl_div(logs, target, reduction="none", log_target=True).sum(1)


def others(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits of all classes but the true one: ``[N, classes - 1]``."""
    places = torch.arange(logits.shape[1] - 1, device=logits.device)
    # A mask would make a GPU wait; a large constant taken off a logit is not minus infinity.
    return logits.gather(1, places + (places >= labels[:, None]).long())


def weighted_mean(each: Tensor, weights: Tensor | None) -> Tensor:
    """The mean over images, whose weights are 1 in the mean."""
    return each.mean() if weights is None else (weights * each).mean()
