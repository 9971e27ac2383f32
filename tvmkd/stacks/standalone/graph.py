"""A model as a straight line of kernel calls on tensors with fixed places."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

ALIGNMENT = 64
"""Bytes; every tensor begins at a multiple, as TVM's kernels expect."""


class Place(enum.Enum):
    """Where a tensor lies; the names are those of ``runtime.h``."""

    ARENA = "IN_ARENA"
    CONSTANTS = "IN_CONSTANTS"
    INPUT = "IN_INPUT"
    OUTPUT = "IN_OUTPUT"


@dataclass(frozen=True)
class Storage:
    """A piece of memory; several tensors may be views of it.

    Attributes:
        place: where it lies.
        number: of the input, output or constant; of the piece itself in the arena.
        size: bytes.
    """

    place: Place
    number: int
    size: int


@dataclass(frozen=True)
class Tensor:
    """What a kernel gets: a shape on a storage.

    Attributes:
        storage: the memory.
        shape: sizes; C-contiguous.
        dtype: numpy's.
    """

    storage: Storage
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]


@dataclass(frozen=True)
class Call:
    """One kernel call.

    Attributes:
        kernel: its name for people.
        symbol: its symbol in the object files.
        arguments: the tensors, those that it writes last.
    """

    kernel: str
    symbol: str
    arguments: tuple[Tensor, ...]


@dataclass(frozen=True)
class Graph:
    """A model.

    Attributes:
        calls: in the order of execution.
        constants: C-contiguous arrays, by the numbers of their storages.
        ends: for each exit, how many of the calls lead to its outputs.
    """

    calls: tuple[Call, ...]
    constants: tuple[np.ndarray, ...]
    ends: tuple[int, ...]

    def renamed(self, symbols: dict[str, str]) -> Graph:
        """The graph with other symbols for its kernels."""
        calls = (replace(each, symbol=symbols.get(each.symbol, each.symbol)) for each in self.calls)
        return replace(self, calls=tuple(calls))


@dataclass
class _Life:
    storage: Storage
    first: int
    last: int
    offset: int = field(default=-1)


def plan(calls: Sequence[Call]) -> tuple[dict[Storage, int], int]:
    """Gives every storage of the arena an offset, so that no two that live at once overlap.

    The largest are placed first, each at the lowest offset that is free while it lives ("greedy by
    size": Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference, 2020).

    Returns:
        the offset of each storage, and the size of the arena, in bytes.
    """
    lives: dict[Storage, _Life] = {}
    for number, call in enumerate(calls):
        for tensor in call.arguments:
            if tensor.storage.place is Place.ARENA:
                life = lives.setdefault(tensor.storage, _Life(tensor.storage, number, number))
                life.last = number
    placed: list[_Life] = []
    for life in sorted(lives.values(), key=lambda each: (-each.storage.size, each.first)):
        beside = [each for each in placed if each.first <= life.last and life.first <= each.last]
        life.offset = _lowest(beside, life.storage.size)
        placed.append(life)
    total = max((each.offset + each.storage.size for each in placed), default=0)
    return {each.storage: each.offset for each in placed}, aligned(total)


def _lowest(beside: Iterable[_Life], size: int) -> int:
    offset = 0
    for each in sorted(beside, key=lambda life: life.offset):
        if offset + size <= each.offset:
            break
        offset = max(offset, aligned(each.offset + each.storage.size))
    return offset


def aligned(size: int) -> int:
    """``size`` rounded up to a multiple of `ALIGNMENT`."""
    return math.ceil(size / ALIGNMENT) * ALIGNMENT
