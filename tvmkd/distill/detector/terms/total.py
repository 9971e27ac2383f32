"""The weighted sum of the losses that ``[[detection.losses]]`` names."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from tvmkd.base import user_code
from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.base.files import source_hash
from tvmkd.data.detection.dataset import Target
from tvmkd.distill.detector.losses import Answers, pairs
from tvmkd.distill.detector.terms import REGISTERED, Seen
from tvmkd.distill.weight_schedules import SCHEDULES
from tvmkd.models.detectors import Dense, Raw

if TYPE_CHECKING:
    from tvmkd.config.data import DetectionLoss


class Terms(nn.Module):
    """Losses with their weights and schedules.

    A class is made with ``(student, teacher, **args)`` and called with a `Seen`; a function is
    called with a `Seen` and ``args``. Either may have an attribute ``wanted``, places of the
    teacher's feature maps; without it, it gets those with as many cells as one of the student's.

    Args:
        sections: what the config says.
        student, teacher: detectors of the same classes.
        search_in: folders to look in for a ``module:callable``.

    Attributes:
        wanted: places of the teacher's feature maps that any of them reads, sorted.

    Raises:
        InputError: there is no such callable, it does not accept these arguments, or the loss does
            not suit the two networks.
    """

    def __init__(
        self,
        sections: Sequence[DetectionLoss],
        student: Dense,
        teacher: Dense,
        search_in: Sequence[Path] = (),
    ) -> None:
        super().__init__()
        self._sections = tuple(sections)
        self._calls: list[Callable[[Seen], Tensor]] = []
        self.losses = nn.ModuleList()
        wanted: set[int] = set()
        try:
            for section in self._sections:
                made = make(section, student, teacher, search_in)
                self._calls.append(made)
                if isinstance(made, nn.Module):
                    self.losses.append(made)
                places = getattr(made, "wanted", None)
                if places is None:
                    places = [place for _, (place, _) in pairs(student, teacher)]
                wanted.update(places)
        except BaseException:
            self.close()
            raise
        self.wanted = tuple(sorted(wanted))

    def forward(
        self, output: Raw, answers: Answers, targets: Sequence[Target], progress: float
    ) -> Tensor:
        """What student and teacher say of a batch to a scalar.

        Args:
            output: the student's.
            answers: the teacher's, with the maps in ``wanted``.
            targets: as in `Seen`.
            progress: share of the training that is done.
        """
        maps = {place: answers.map(place) for place in self.wanted}
        seen = Seen(output, answers, maps, targets)
        total = output.logits.new_zeros(())
        for section, call in zip(self._sections, self._calls, strict=True):
            factor = section.weight * SCHEDULES[section.schedule](progress)
            if factor > 0:
                total = total + factor * call(seen)
        return total

    def close(self) -> None:
        """Takes off what the losses have attached to the networks."""
        for call in self._calls:
            close = getattr(call, "close", None)
            if close is not None:
                close()


def make(
    section: DetectionLoss, student: Dense, teacher: Dense, search_in: Sequence[Path] = ()
) -> Callable[[Seen], Tensor]:
    """One loss, see `Terms`.

    Raises:
        InputError: see `Terms`.
    """
    what = f'[[detection.losses]] loss "{section.loss}"'
    found: Any = REGISTERED.get(section.loss)
    loss: Any = found or user_code.load(section.loss, what, search_in)
    try:
        if inspect.isclass(loss):
            inspect.signature(loss).bind(student, teacher, **section.args)
            made: Any = cast(Any, loss)(student, teacher, **section.args)
        else:
            made = functools.partial(loss, **section.args)
            if hasattr(loss, "wanted"):
                made.wanted = loss.wanted
        if not callable(made):
            raise TypeError("what the class makes is not callable")
        call = made.forward if isinstance(made, nn.Module) else made
        inspect.signature(call).bind(None)
    except TvmkdError:
        raise
    except Exception as error:  # a user's code may fail in any way
        ours = __file__, inspect.__file__
        raise InputError(f"{what}: {user_code.describe(error, *ours)}") from error
    checked: Callable[[Seen], Tensor] = made
    return checked


def identity(
    sections: Sequence[DetectionLoss], search_in: Sequence[Path] = ()
) -> list[dict[str, Any]]:
    """Everything that determines these losses, JSON-safe; for checkpoints."""
    return [
        {**section.model_dump(mode="json"), **({} if code is None else {"code": code})}
        for section in sections
        for code in [source_hash(section.loss, search_in)]
    ]
