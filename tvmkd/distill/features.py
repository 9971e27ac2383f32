"""Losses between what two networks compute on the way: hints, attention, contrast, self-attention.

Each is a module made for the shapes of a student's and a teacher's feature, and takes the two to a
scalar. Some have weights of their own, which are trained beside the student and thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from torch import Tensor, nn

from tvmkd.base.errors import InputError

EMBEDDING = 128  # of the contrastive loss, as in Tian et al.
CONTRAST_TEMPERATURE = 0.07
_TINY = 1e-8


def make(kind: str, student: Sequence[int], teacher: Sequence[int]) -> nn.Module:
    """The loss of a kind for features of these shapes, batch first.

    Args:
        kind: ``hint``, ``attention``, ``contrastive`` or ``self-attention``.

    Raises:
        InputError: the shapes do not suit it.
    """
    return LOSSES[kind](student, teacher)


class Hint(nn.Module):
    """Mean squared error of the teacher's feature and a regression of the student's.

    FitNets (Romero et al., 2015): the regressor is a 1x1 convolution, or a linear layer where
    features are ``[N, C]`` or ``[N, tokens, C]``. The larger image is averaged down to the smaller.
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int]) -> None:
        super().__init__()
        _check_alike("hint", student, teacher, (2, 3, 4))
        regressor: nn.Module
        if len(student) == 4:
            regressor = nn.Conv2d(student[1], teacher[1], 1)
        else:
            _check_tokens("hint", student, teacher)
            regressor = nn.Linear(student[-1], teacher[-1])
        self.regressor = regressor

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Features to a scalar."""
        student, teacher = _same_image(student, teacher)
        guess = self.regressor(student)
        return F.mse_loss(guess.float(), teacher.float())


class Attention(nn.Module):
    """Squared distance of two attention maps, each the sum of squares over channels, normalised.

    Attention transfer (Zagoruyko and Komodakis, 2017). Channel counts may differ.
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int]) -> None:
        super().__init__()
        _check_alike("attention", student, teacher, (4,))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """``[N, C, H, W]`` each to a scalar."""
        student, teacher = _same_image(student, teacher)

        def maps(feature: Tensor) -> Tensor:
            return F.normalize(feature.float().pow(2).mean(1).flatten(1), dim=1)

        return (maps(student) - maps(teacher)).pow(2).sum(1).mean()


class Contrastive(nn.Module):
    """Picks out, among a batch, the teacher's feature of the same image: InfoNCE both ways.

    In the manner of CRD (Tian et al., 2020), with the other images of the batch as the negatives
    in place of its memory bank: nothing has to be kept between batches.
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int]) -> None:
        super().__init__()
        self.student = nn.Linear(_width(student), EMBEDDING)
        self.teacher = nn.Linear(_width(teacher), EMBEDDING)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Features of any shape, batch first, to a scalar. A batch of one has no negatives: 0."""
        mine = F.normalize(self.student(_pooled(student)).float(), dim=1)
        other = F.normalize(self.teacher(_pooled(teacher)).float(), dim=1)
        likeness = mine @ other.T / CONTRAST_TEMPERATURE
        same = torch.arange(len(likeness), device=likeness.device)
        return (F.cross_entropy(likeness, same) + F.cross_entropy(likeness.T, same)) / 2


class SelfAttention(nn.Module):
    """Divergence of the student's self-attention from the teacher's, over the mean of the heads.

    MiniLM's attention transfer (Wang et al., 2020). The features are attention probabilities
    ``[N, heads, tokens, tokens]``, rows that add up to one; numbers of heads may differ, those of
    tokens may not.
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int]) -> None:
        super().__init__()
        _check_alike("self-attention", student, teacher, (4,))
        if list(student[2:]) != list(teacher[2:]) or student[2] != student[3]:
            raise InputError(
                f"self-attention: maps of {list(student[2:])} and {list(teacher[2:])} tokens; both "
                "have to be square and alike: use the same patches in both networks"
            )

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Attention probabilities to a scalar."""
        mine, other = (f.float().mean(1).clamp_min(_TINY) for f in (student, teacher))
        return (other * (other.log() - mine.log())).sum(-1).mean()


LOSSES = {
    "hint": Hint,
    "attention": Attention,
    "contrastive": Contrastive,
    "self-attention": SelfAttention,
}
SAME_FAMILY = frozenset({"hint", "attention"})
"""What helps less, or hurts, where one network convolves and the other attends (Hao et al., 2023,
"One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge Distillation")."""


def _check_alike(
    kind: str, student: Sequence[int], teacher: Sequence[int], ranks: Sequence[int]
) -> None:
    if len(student) != len(teacher) or len(student) not in ranks:
        wanted = " or ".join(map(str, ranks))
        raise InputError(
            f"{kind}: features of shape {list(student)} and {list(teacher)}; both need the same "
            f"number of axes, {wanted}: choose other modules"
        )


def _check_tokens(kind: str, student: Sequence[int], teacher: Sequence[int]) -> None:
    if len(student) == 3 and student[1] != teacher[1]:
        raise InputError(
            f"{kind}: {student[1]} tokens in the student, {teacher[1]} in the teacher: choose "
            "modules with as many"
        )


def _same_image(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Averages the larger of two images down to the size of the smaller."""
    if student.ndim != 4:
        return student, teacher
    size = tuple(min(pair) for pair in zip(student.shape[2:], teacher.shape[2:], strict=True))
    pool = F.adaptive_avg_pool2d
    return pool(student, size), pool(teacher, size)  # type: ignore[arg-type]


def _width(shape: Sequence[int]) -> int:
    return shape[1] if len(shape) in (2, 4) else shape[-1]


def _pooled(feature: Tensor) -> Tensor:
    """``[N, C]``: the mean over an image or over tokens."""
    if feature.ndim == 4:
        return feature.mean((2, 3))
    return feature.mean(1) if feature.ndim == 3 else feature
