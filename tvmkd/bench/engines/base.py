"""What an engine is: something that is prepared once and then called with numpy arrays."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd.base.errors import InputError
from tvmkd.bench.spec import EngineSpec
from tvmkd.timing.loop import time_calls

Inputs = Mapping[str, np.ndarray]
"""Input name -> array, in the order of the ONNX file's inputs."""


class Engine(abc.ABC):
    """One way to run a model, in its own process. A context manager.

    What is timed is what a user calls: numpy arrays in, numpy arrays out, every conversion and
    copy the engine needs in between included.
    """

    def __init__(self, spec: EngineSpec, threads: int) -> None:
        self.spec = spec
        self.threads = threads

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abc.abstractmethod
    def prepare(self, example: Inputs) -> None:
        """Loads and compiles, so that `bind` may be called with inputs shaped like ``example``."""

    @abc.abstractmethod
    def bind(self, inputs: Inputs) -> Callable[[], Any]:
        """A call without arguments that runs the model once on ``inputs``."""

    @abc.abstractmethod
    def facts(self) -> dict[str, Any]:
        """What a reader needs to judge the figures: versions, options. JSON-safe."""

    def times(self, call: Callable[[], Any], count: int, limit_ns: int | None = None) -> list[int]:
        """Nanoseconds of each of ``count`` calls of what `bind` gave, as `loop.time_calls`.

        For an engine elsewhere to override, whose calls are timed where they run.
        """
        return time_calls(call, count, limit_ns)

    def rest(self) -> None:  # noqa: B027 - most engines are only stopped
        """Its turn is over: gives back what another engine needs on its own."""

    def close(self) -> None:  # noqa: B027 - most engines end with their process
        """Lets go of what is held outside the process."""

    def infer(self, inputs: Inputs) -> list[np.ndarray]:
        """Runs once; the outputs in the order of the ONNX file's outputs."""
        return as_list(self.bind(inputs)())

    def size_bytes(self) -> int | None:
        """What has to be shipped, in bytes: a file, or a folder with all that is in it."""
        return None if self.spec.path is None else size_of(Path(self.spec.path))

    def path(self) -> Path:
        """The spec's path.

        Raises:
            InputError: none was given or it is not there.
        """
        if self.spec.path is None:
            raise InputError(f"engine {self.spec.name}: no path was given")
        path = Path(self.spec.path)
        if not path.exists():
            raise InputError(f"engine {self.spec.name}: {path} does not exist")
        return path


def as_list(result: Any) -> list[np.ndarray]:
    """An engine's result (array, tuple, list or dict of arrays) as a list of arrays."""
    if isinstance(result, Mapping):
        return [np.asarray(value) for value in result.values()]
    if isinstance(result, (tuple, list)):
        return [np.asarray(value) for value in result]
    return [np.asarray(result)]


def size_of(path: Path) -> int:
    """Bytes of a file, or of every file below a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
