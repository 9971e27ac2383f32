"""The loss of a distilled classifier: on labels, on the teacher's logits, on its features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tvmkd.base import console
from tvmkd.distill import features, losses, mining
from tvmkd.distill.feature_hooks import Taps
from tvmkd.distill.probe import logits_of
from tvmkd.distill.task import Batch
from tvmkd.distill.weight_schedules import SCHEDULES

if TYPE_CHECKING:
    from tvmkd.config import Distill, Feature


class Distillation(nn.Module):
    """The sum of the loss on the logits and of the losses on features, with their weights.

    Args:
        cfg: the section ``[distill]``.
        student, teacher: hooks are put on both where there are losses on features.
        shape: of one input, batch first.
        answers: gives the teacher's logits ``[n, classes]`` on a batch, where only its logits are
            needed and they are known; None: the teacher is run each time.
        search_in: folders to look in for a loss that is a ``module:callable``.

    Raises:
        InputError: a path leads to no module, features do not suit a loss, or there is no such
            loss.
    """

    def __init__(
        self,
        cfg: Distill,
        student: nn.Module,
        teacher: nn.Module,
        shape: Sequence[int],
        answers: Callable[[Batch], Tensor] | None = None,
        search_in: Sequence[Path] = (),
    ) -> None:
        super().__init__()
        self._cfg = cfg
        self._answers = None if cfg.features else answers
        # A user's loss may be a module with weights: they are trained with this one's.
        self._logits = losses.make(cfg, search_in)
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
                soft = self._answers(batch).to(logits.device)
            else:
                soft = self._teacher(batch.images)
        more = {}
        if cfg.hard_mining > 0:
            more["weights"] = mining.weights(logits, soft, cfg.hard_mining)
        total = self._logits(logits, soft, batch.labels, **more)
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


def check(
    cfg: Distill,
    student: nn.Module,
    teacher: nn.Module,
    shape: Sequence[int],
    search_in: Sequence[Path] = (),
) -> None:
    """Checks that the losses fit two networks, trained or not; warns where features may hurt.

    Raises:
        InputError: as :class:`Distillation`.
    """
    if cfg.features:
        _warn_of_families(cfg.features, student, teacher)
    Distillation(cfg, student, teacher, shape, search_in=search_in).close()


def attends(network: nn.Module) -> bool:
    """Whether a network contains self-attention, as transformers do."""
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
