"""Pieces of C text that generated files are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


class Shapes:
    """Lists of sizes, each written once."""

    def __init__(self) -> None:
        self._starts: dict[tuple[int, ...], int] = {}
        self._all: list[int] = []

    def add(self, sizes: tuple[int, ...]) -> str:
        """A pointer to these sizes."""
        if sizes not in self._starts:
            self._starts[sizes] = len(self._all)
            self._all += sizes or (1,)
        return f"sizes + {self._starts[sizes]}"

    def text(self) -> str:
        """The array that the pointers are into."""
        return f"static const int64_t sizes[] = {{{row(self._all or [1])}}};"


def described(spec: Mapping[str, Any], shapes: Shapes) -> str:
    """A ``tvmkd_tensor`` of ``{"name", "shape", "dtype"}``."""
    shape = tuple(int(size) for size in spec["shape"])
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(spec["dtype"]).itemsize
    start = shapes.add(shape)
    return f"{{{quoted(spec['name'])}, {quoted(spec['dtype'])}, {start}, {len(shape)}, {size}}}"


def quoted(text: str) -> str:
    """A C string; bytes that are not plain ASCII as octal, which cannot run into what follows."""
    return '"' + "".join(_character(byte) for byte in text.encode()) + '"'


def _character(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"


def row(values: Iterable[int]) -> str:
    """Numbers on one line; one where there is none, since C has no empty arrays."""
    return ", ".join(map(str, values)) or "0"


def rows(values: Sequence[str]) -> str:
    """A line for each value."""
    return ",\n  ".join(values)
