"""Losses of classifiers on logits. A registered one is one class; a user's is any callable.

Each takes float logits ``[N, classes]`` (the student's first, where there are two) and int64 labels
``[N]``, and returns a float32 scalar: the mean over the batch, or a weighted one.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from torch import Tensor

from tvmkd.base import user_code
from tvmkd.base.errors import InputError
from tvmkd.base.files import source_hash
from tvmkd.distill.task import Batch

if TYPE_CHECKING:
    from tvmkd.config import Distill

_MASKED = 1000.0  # as good as minus infinity in a softmax, without its NaN


class LogitLoss(Protocol):
    """How far a student's logits are from its teacher's and from the labels."""

    def __call__(
        self, student: Tensor, teacher: Tensor, labels: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Logits ``[N, classes]`` each and labels ``[N]`` to a scalar.

        Args:
            weights: of the images, float ``[N]``, 1 in the mean.
        """


REGISTERED: dict[str, Callable[..., LogitLoss]] = {}
"""Logit losses by the name that ``[distill] loss`` has for them."""

_Class = TypeVar("_Class", bound=Callable[..., LogitLoss])


def register(name: str) -> Callable[[_Class], _Class]:
    """Registers a logit loss. It is made with those keys of ``[distill]`` that it takes."""

    def add(loss: _Class) -> _Class:
        REGISTERED[name] = loss
        return loss

    return add


def make(cfg: Distill, search_in: Sequence[Path] = ()) -> LogitLoss:
    """The logit loss that ``[distill] loss`` names: a registered name or a ``module:callable``.

    A class is made with ``loss_args`` and with those of ``alpha``, ``beta`` and ``temperature``
    that its signature has; a function is the loss itself and gets them with each call.

    Args:
        cfg: the section.
        search_in: folders to look in for a ``module:callable``.

    Raises:
        InputError: there is no such callable, or it does not accept these arguments.
    """
    what = f'[distill] loss "{cfg.loss}"'
    found: Callable[..., Any] | None = REGISTERED.get(cfg.loss)
    loss = found or user_code.load(cfg.loss, what, search_in)
    known = {"alpha": cfg.alpha, "beta": cfg.beta, "temperature": cfg.temperature}
    try:
        taken = inspect.signature(loss).parameters
        own = {name: value for name, value in known.items() if name in taken}
        own.update(cfg.loss_args)
        made: Any = loss(**own) if inspect.isclass(loss) else functools.partial(loss, **own)
        inspect.signature(made).bind(None, None, None)
    except Exception as error:  # a user's code may fail in any way
        raise InputError(f"{what}: {user_code.describe(error, __file__)}") from error
    return cast("LogitLoss", made)


def identity(cfg: Distill, search_in: Sequence[Path] = ()) -> dict[str, Any]:
    """Everything that determines the loss, JSON-safe; for checkpoints."""
    elsewhere = {"epochs", "lr", "weight_decay", "seeds", "baseline", "latency_weight"}
    found = cfg.model_dump(mode="json", exclude=elsewhere)
    code = source_hash(cfg.loss, search_in)
    if not found["loss_args"]:
        del found["loss_args"]  # as in checkpoints from before there were any
    if not found["views"]:
        del found["views"]
    return found if code is None else {**found, "code": code}


def cross_entropy(batch: Batch, logits: Tensor) -> Tensor:
    """Labels alone: how teachers and baselines are trained."""
    return F.cross_entropy(logits.float(), batch.labels)


def imitation(logits: Tensor, answer: Tensor) -> Tensor:
    """How far logits are from those of another network: KL(answer ‖ logits) of probabilities."""
    target = F.log_softmax(answer.detach().float(), dim=1)
    return _divergence(F.log_softmax(logits.float(), dim=1), target).mean()


@register("kd")
@dataclass(frozen=True)
class KD:
    """``alpha · CE + (1 - alpha) · T² · KL(teacher/T ‖ student/T)`` (Hinton et al., 2015).

    Attributes:
        alpha: weight of the labels.
        temperature: T of both softmaxes.
    """

    alpha: float
    temperature: float

    def __call__(
        self, student: Tensor, teacher: Tensor, labels: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """As `LogitLoss`."""
        soft = _divergence(
            F.log_softmax(student.float() / self.temperature, dim=1),
            F.log_softmax(teacher.float() / self.temperature, dim=1),
        )
        hard = F.cross_entropy(student.float(), labels, reduction="none")
        each = self.alpha * hard + (1 - self.alpha) * self.temperature**2 * soft
        return _mean(each, weights)


@register("dkd")
@dataclass(frozen=True)
class DKD:
    """``alpha · CE + (1 - alpha) · T² · (TCKD + beta · NCKD)`` (Zhao et al., 2022).

    TCKD compares how sure both are of the true class, NCKD how they distribute the rest. In `KD`
    the second is damped by the teacher's certainty; here its weight is ``beta``.

    Attributes:
        alpha: weight of the labels.
        beta: weight of NCKD.
        temperature: T of both softmaxes.
    """

    alpha: float
    beta: float
    temperature: float

    def __call__(
        self, student: Tensor, teacher: Tensor, labels: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """As `LogitLoss`."""
        heat = self.temperature
        cold_student, cold_teacher = student.float() / heat, teacher.float() / heat
        truth = F.one_hot(labels, student.shape[1]).bool()
        tckd = _divergence(_binary(cold_student, truth), _binary(cold_teacher, truth))
        nckd = _divergence(_rest(cold_student, truth), _rest(cold_teacher, truth))
        hard = F.cross_entropy(student.float(), labels, reduction="none")
        soft = tckd + self.beta * nckd
        return _mean(self.alpha * hard + (1 - self.alpha) * heat**2 * soft, weights)


def _binary(logits: Tensor, truth: Tensor) -> Tensor:
    """Log-probabilities of the true class and of all others together: ``[N, 2]``."""
    logs = F.log_softmax(logits, dim=1)
    others = torch.logsumexp(logs.masked_fill(truth, -torch.inf), dim=1)
    return torch.stack([logs[truth], others], dim=1)


def _rest(logits: Tensor, truth: Tensor) -> Tensor:
    """Log-probabilities among the other classes."""
    return F.log_softmax(logits - _MASKED * truth, dim=1)


def _divergence(logs: Tensor, target: Tensor) -> Tensor:
    """KL(target ‖ logs) of log-probabilities, for each image."""
    return F.kl_div(logs, target, reduction="none", log_target=True).sum(1)


def _mean(each: Tensor, weights: Tensor | None) -> Tensor:
    return each.mean() if weights is None else (weights * each).mean()
