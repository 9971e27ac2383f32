"""What a loss is made of: losses note their parts, and a training that wants them collects them.

Noting changes no value and waits for no GPU. Where nobody collects, it is one look at a variable.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch
from torch import Tensor

FOLD = 128
"""Values of one part that are kept before they are summed: one sum of many costs less."""
REST = "other"
"""The part that nobody noted, such as what a loss of your own adds."""


class Parts:
    """Collects the parts of the loss over the steps of an epoch."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, float], list[Tensor]] = {}
        self._sums: dict[str, Tensor] = {}

    def add(self, name: str, value: Tensor, factor: float) -> None:
        """Adds what a part is in a step, see `note`."""
        kept = self._kept.setdefault((name, factor), [])
        kept.append(value.detach())
        if len(kept) >= FOLD:
            self._fold(name, factor)

    def means(self, steps: int) -> dict[str, float]:
        """The mean of each part over the steps of an epoch; looks at the GPU."""
        for name, factor in list(self._kept):
            self._fold(name, factor)
        return {name: float(value) / steps for name, value in self._sums.items()}

    def _fold(self, name: str, factor: float) -> None:
        kept = self._kept.pop((name, factor))
        same = all(value.shape == kept[0].shape for value in kept)
        values = torch.stack(kept if same else [value.float().mean() for value in kept])
        total = values.double().mean() * (factor * len(kept))
        self._sums[name] = self._sums[name] + total if name in self._sums else total


_PARTS: ContextVar[Parts | None] = ContextVar("parts", default=None)


def note(name: str, value: Tensor, factor: float = 1.0) -> Tensor:
    """Notes a part of the loss of this step; returns it unchanged.

    Args:
        name: for people: "labels", "hint features.3". Parts of one name are summed.
        value: the part as it is in the sum: a scalar, or one number an image, whose mean it is.
        factor: of the part in the sum, where ``value`` is without it.
    """
    parts = _PARTS.get()
    if parts is not None:
        parts.add(name, value, factor)
    return value


def wanted() -> bool:
    """Whether anybody collects: where a part has to be computed, it is computed only then."""
    return _PARTS.get() is not None


@contextlib.contextmanager
def collected() -> Iterator[Parts]:
    """Collects what is noted in the block."""
    parts = Parts()
    token = _PARTS.set(parts)
    try:
        yield parts
    finally:
        _PARTS.reset(token)


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Nothing is noted in the block: its losses are parts of one that is noted as a whole."""
    token = _PARTS.set(None)
    try:
        yield
    finally:
        _PARTS.reset(token)


def with_rest(parts: dict[str, float], total: float) -> dict[str, float]:
    """The parts, and what they lack of the whole loss, unless that is rounding.

    Empty where nothing was noted.
    """
    rest = total - sum(parts.values())
    size = max(abs(total), *map(abs, parts.values())) if parts else 0.0
    return {**parts, REST: rest} if parts and abs(rest) > 1e-3 * size else parts
