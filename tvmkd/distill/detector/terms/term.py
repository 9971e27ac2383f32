"""A loss between a detector and its teacher: what it is given, and the base class of those here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor, nn

from tvmkd.base.errors import InputError
from tvmkd.data.detection.dataset import Target
from tvmkd.distill.detector.losses import Answers, pairs
from tvmkd.models.detectors import Dense, Raw


@dataclass(frozen=True)
class Seen:
    """What a student and its teacher make of the same images.

    Attributes:
        output: the student's, with its feature maps ``[N, C, h, w]``.
        answers: the teacher's: logits and boxes of the anchors that it is surest of.
        maps: the teacher's feature maps that a loss asked for, by place; float32, no gradient.
        targets: the objects of each image, boxes in pixels of the student's input.
    """

    output: Raw
    answers: Answers
    maps: Mapping[int, Tensor]
    targets: Sequence[Target]


class Term(nn.Module):
    """A loss: made with both detectors, called with what they see.

    Its own weights are trained beside the student's and saved in the checkpoint; a subclass must
    not register the student or the teacher as a part of itself.

    Attributes:
        wanted: places of the teacher's feature maps that it reads.
    """

    wanted: tuple[int, ...] = ()

    def forward(self, seen: Seen) -> Tensor:
        """To a float32 scalar, averaged over the images."""
        raise NotImplementedError

    def close(self) -> None:
        """Takes off what was attached to the networks."""


class MapTerm(Term):
    """A loss between maps of as many cells; where the widths differ, 1x1 convolutions adapt them.

    Args:
        student, teacher: detectors of the same classes.

    Attributes:
        pairs: as `tvmkd.distill.detector.losses.pairs` gives them.
        adapters: from the student's channels to the teacher's, one a pair; trained.

    Raises:
        InputError: no map of one has as many cells as a map of the other.
    """

    def __init__(self, student: Dense, teacher: Dense) -> None:
        super().__init__()
        self.pairs = pairs_or_raise(student, teacher, type(self).__name__.lower())
        self.wanted = tuple(place for _, (place, _) in self.pairs)
        self.adapters = nn.ModuleList(adapter(one, other) for (_, one), (_, other) in self.pairs)

    def forward(self, seen: Seen) -> Tensor:
        """See `Term`: the sum over the pairs of maps."""
        total = seen.output.logits.new_zeros(())
        for number, ((at, _), (other, _)) in enumerate(self.pairs):
            mine = self.adapters[number](seen.output.features[at])
            total = total + self.compare(number, mine.float(), seen.maps[other].float(), seen)
        return total

    def compare(self, number: int, mine: Tensor, wanted: Tensor, seen: Seen) -> Tensor:
        """The loss of one pair of maps, both ``[N, C, h, w]``, to a scalar."""
        raise NotImplementedError


def pairs_or_raise(
    student: Dense, teacher: Dense, name: str
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """`pairs`, at least one.

    Raises:
        InputError: there is none; starts with the loss's name.
    """
    found = pairs(student, teacher)
    if not found:
        raise InputError(
            f"{name}: no feature map of the student has as many cells as one of the teacher; "
            "give both the same strides (finest, extras), or leave this loss out"
        )
    return found


def adapter(student: int, teacher: int) -> nn.Module:
    """From a student's channels to a teacher's: nothing where they are as many."""
    return nn.Identity() if student == teacher else nn.Conv2d(student, teacher, 1)


REGISTERED: dict[str, type[Term]] = {}
"""Losses by the name that ``[[detection.losses]]`` has for them."""

_Class = TypeVar("_Class", bound=type[Term])


def register(name: str) -> Callable[[_Class], _Class]:
    """Registers a loss."""

    def add(term: _Class) -> _Class:
        REGISTERED[name] = term
        return term

    return add
