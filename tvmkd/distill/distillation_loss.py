"""The loss of a distilled classifier: on labels, on the teacher's logits, on its features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tvmkd.base import console
from tvmkd.distill import features, loss_parts, losses, mining
from tvmkd.distill.feature_hooks import Taps
from tvmkd.distill.probe import logits_of
from tvmkd.distill.task import Batch
from tvmkd.distill.weight_schedules import SCHEDULES

if TYPE_CHECKING:
    from tvmkd.config import Distill, Feature


COLD = 0.25  # a temperature below this is warned of


class Distillation(nn.Module):
    """The sum of the losses on the logits and of the losses on features, with their weights.

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
        mined = cfg.hard_mining > 0
        more = [losses.make_term(term, search_in, mined=mined) for term in cfg.logits]
        self._more = list(zip(cfg.logits, more, strict=True))
        # Those with weights of their own: named, so that they are trained and saved.
        inner = [losses.inner(loss) for loss in (*more, self._logits)]
        self.own = nn.ModuleList(
            loss for loss in inner if isinstance(loss, nn.Module) and loss is not self._logits
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
        soft, more = self._asked(batch, logits)
        total = self._logits(logits, soft, batch.labels, **more)
        return self._added(total, batch, logits, soft, more)

    @property
    def divided(self) -> bool:
        """Whether the loss can tell the labels' part from the teacher's: see `parts`."""
        return hasattr(self._logits, "parts")

    def parts(self, batch: Batch, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The labels' part of the loss, and all that comes from the teacher: two scalars.

        They add up to what `forward` gives. Only where it is `divided`.
        """
        soft, more = self._asked(batch, logits)
        divided: Any = self._logits
        hard, taught = divided.parts(logits, soft, batch.labels, **more)
        return hard, self._added(taught, batch, logits, soft, more)

    def _asked(self, batch: Batch, logits: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The teacher's logits, and the weights of the images where they have some."""
        with torch.no_grad():
            if self._answers is not None:
                soft = self._answers(batch).to(logits.device)
            else:
                soft = self._teacher(batch.images)
        strength = self._cfg.hard_mining
        weights = {"weights": mining.weights(logits, soft, strength)} if strength > 0 else {}
        return soft, weights

    def _added(
        self,
        total: Tensor,
        batch: Batch,
        logits: Tensor,
        soft: Tensor,
        weights: Mapping[str, Tensor],
    ) -> Tensor:
        """With the further losses, on logits and on features."""
        for entry, loss in self._more:
            factor = entry.weight * SCHEDULES[entry.schedule](batch.progress)
            if factor > 0:
                with loss_parts.hidden():  # a user's may be made of ours
                    part = factor * loss(logits, soft, batch.labels, **weights)
                total = total + loss_parts.note(f"{entry.loss} logits", part)
        for term, module in zip(self._cfg.features, self.terms, strict=True):
            factor = term.weight * SCHEDULES[term.schedule](batch.progress)
            if factor > 0:
                mine, other = self._mine.outputs[term.student], self._other.outputs[term.teacher]
                part = factor * module(mine, other.detach())
                total = total + loss_parts.note(f"{term.loss} {term.student}", part)
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
    made = losses.make(cfg, search_in)
    # That of loss_args, where it is there.
    temperature: float = getattr(losses.inner(made), "temperature", COLD)
    if temperature < COLD:
        console.warn(
            f"[distill] temperature {temperature:g} leaves one class of what the teacher "
            "answers: it teaches little more than labels do; 1 to 8 is usual"
        )
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
