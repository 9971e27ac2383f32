"""What a distilled student is asked to make small: labels, the teacher's logits, its features."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tvmkd.base import console
from tvmkd.distill import features, losses, mining
from tvmkd.distill.feature_hooks import Taps
from tvmkd.distill.losses import Batch
from tvmkd.distill.probe import logits_of
from tvmkd.distill.weight_schedules import SCHEDULES

if TYPE_CHECKING:
    from tvmkd.config import Distill, Feature


class Distillation(nn.Module):
    """The sum of the loss on the logits and of those on features. Its own weights are the latters'.

    Args:
        cfg: the section ``[distill]``.
        student, teacher: hooks are put on both where there are losses on features.
        shape: of one input, batch first.
        answers: the teacher's logits on the training images, ``[N, classes]``, where images are not
            augmented and nothing is asked of the teacher but logits; None: it is asked each time.

    Raises:
        InputError: a path leads to no module, or features do not suit a loss.
    """

    def __init__(
        self,
        cfg: Distill,
        student: nn.Module,
        teacher: nn.Module,
        shape: Sequence[int],
        answers: Tensor | None = None,
    ) -> None:
        super().__init__()
        self._cfg = cfg
        self._answers = None if cfg.features else answers
        alpha, beta, temperature = cfg.alpha, cfg.beta, cfg.temperature
        self._logits: Callable[..., Tensor] = (
            functools.partial(losses.dkd, alpha=alpha, beta=beta, temperature=temperature)
            if cfg.loss == "dkd"
            else functools.partial(losses.kd, alpha=alpha, temperature=temperature)
        )
        # Behind a function: a teacher that were a part of this module would be trained with it.
        self._teacher: Callable[[Tensor], Tensor] = lambda images: logits_of(teacher(images))
        self._mine = Taps(student, [term.student for term in cfg.features], "student")
        self._other = Taps(teacher, [term.teacher for term in cfg.features], "teacher")
        self.terms = nn.ModuleList()
        if cfg.features:
            self._make_terms(student, teacher, shape)

    def _make_terms(self, student: nn.Module, teacher: nn.Module, shape: Sequence[int]) -> None:
        for network in (student, teacher):
            mode = network.training
            with torch.no_grad():
                device = next(network.parameters()).device
                network.eval()(torch.zeros(tuple(shape), device=device))
            network.train(mode)
        for term in self._cfg.features:
            pair = self._mine.outputs[term.student].shape, self._other.outputs[term.teacher].shape
            self.terms.append(features.make(term.loss, *pair))

    def forward(self, batch: Batch, logits: Tensor) -> Tensor:
        """The student's logits ``[N, classes]`` on a batch, just computed, to a float32 scalar."""
        cfg = self._cfg
        with torch.no_grad():
            if self._answers is not None:
                soft = self._answers[batch.indices].to(logits.device)
            else:
                soft = self._teacher(batch.images)
        weights = mining.weights(logits, soft, cfg.hard_mining) if cfg.hard_mining > 0 else None
        total: Tensor = self._logits(logits, soft, batch.labels, weights=weights)
        for term, module in zip(cfg.features, self.terms, strict=True):
            factor = term.weight * SCHEDULES[term.schedule](batch.progress)
            if factor > 0:
                mine, other = self._mine.outputs[term.student], self._other.outputs[term.teacher]
                total = total + factor * module(mine, other.detach())
        return total

    def close(self) -> None:
        """Takes the hooks off both networks."""
        self._mine.close()
        self._other.close()


def check(cfg: Distill, student: nn.Module, teacher: nn.Module, shape: Sequence[int]) -> None:
    """Whether the losses on features fit two networks, trained or not; warns where they may hurt.

    Raises:
        InputError: as :class:`Distillation`.
    """
    if cfg.features:
        _warn_of_families(cfg.features, student, teacher)
        Distillation(cfg, student, teacher, shape).close()


def attends(network: nn.Module) -> bool:
    """Whether a network has self-attention in it, as transformers have."""
    return any(
        isinstance(module, nn.MultiheadAttention) or type(module).__name__.endswith("Attention")
        for module in network.modules()
    )


def _warn_of_families(terms: Sequence[Feature], student: nn.Module, teacher: nn.Module) -> None:
    named = sorted({term.loss for term in terms} & features.SAME_FAMILY)
    if named and attends(student) != attends(teacher):
        console.warn(
            f"{' and '.join(named)} between a network that convolves and one that attends: their "
            "features differ in kind, and such losses were found to hurt there (Hao et al., 2023); "
            "logits (dkd) or the contrastive loss do not have this fault"
        )
