"""A fake session of ONNX Runtime, whose outputs a test chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np


class FakeSession:
    """A session with one float32 input ``x`` and one output ``y``.

    Args:
        function: computes the output from the input; a tuple if the model has several.
        shape: of the input; a string is a free size.

    Attributes:
        fed: every input it has run on.
    """

    def __init__(
        self,
        function: Callable[[np.ndarray], np.ndarray | tuple[np.ndarray, ...]],
        shape: Sequence[int | str] = ("batch", 2),
    ) -> None:
        self._function = function
        self._input = SimpleNamespace(name="x", shape=list(shape), type="tensor(float)")
        self.fed: list[np.ndarray] = []

    def get_inputs(self) -> list[SimpleNamespace]:
        return [self._input]

    def get_outputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="y")]

    def run(self, names: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        assert names is None
        (array,) = feed.values()
        self.fed.append(array.copy())
        found = self._function(array)
        return list(found) if isinstance(found, tuple) else [found]
