"""What an engine is: something that is prepared once and then called with numpy arrays."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from tvmkd.base.errors import InputError
from tvmkd.base.tolerance import ENGINE
from tvmkd.bench.spec import EngineSpec
from tvmkd.timing.loop import time_calls

Inputs = Mapping[str, np.ndarray]
"""Input name -> array, in the order of the ONNX file's inputs."""


Device = Literal["CPU", "GPU"]
File = Literal["onnx", "artifact", "checkpoint"]
Link = Literal["rpc", "ssh"]


class Engine(abc.ABC):
    """One way to run a model, in a process of its own. A context manager.

    A call is timed as a user makes it: numpy arrays in, numpy arrays out, with every conversion and
    copy in between.

    A subclass describes itself in class attributes. They are read in the process that compares, so
    import the engine's libraries in `prepare`, not at the top of its module.

    Attributes:
        file: what `EngineSpec.path` is: an ONNX file, an artifact folder or a checkpoint.
        device: what it computes on. None: not known, or known of each artifact only: see
            `device_of`.
        link: how its board is reached, for an engine that runs on a board. None: it runs here.
        board_engine: registered name of the engine that runs the same on a board.
        built_here: it builds an engine when it is prepared and chooses tactics by measuring, so
            that two builds may differ in speed.
        cuda_graphs: it can run through a CUDA graph, see the option ``cuda_graph``.
        precisions: precisions that it can be asked to compute in beside the model's own.
        tolerance: largest error allowed by precision, a share of the output's largest magnitude.
        distribution: Python package that it needs beside tvmkd's requirements.
        how: command that installs this package. None: ``pip install`` with its name.
    """

    file: ClassVar[File] = "onnx"
    device: ClassVar[Device | None] = None
    link: ClassVar[Link | None] = None
    board_engine: ClassVar[str | None] = None
    built_here: ClassVar[bool] = False
    cuda_graphs: ClassVar[bool] = False
    precisions: ClassVar[tuple[str, ...]] = ()
    tolerance: ClassVar[Mapping[str, float]] = ENGINE
    distribution: ClassVar[str | None] = None
    how: ClassVar[str | None] = None

    @classmethod
    def device_of(cls, spec: EngineSpec) -> Device | None:
        """What the engine of ``spec`` computes on; None where only its process knows."""
        del spec
        return cls.device

    @classmethod
    def needs_gpu(cls) -> bool:
        """True if it runs on an NVIDIA GPU of this machine."""
        return cls.device == "GPU" and cls.link is None

    @classmethod
    def lacks(cls, name: str) -> str | None:
        """What this machine lacks to run the engine, as far as that shows without running it.

        Args:
            name: of the engine, for the message.
        """
        from tvmkd.tensorrt import device

        if cls.needs_gpu() and device.find() is None:
            return f"{name} needs an NVIDIA GPU and its driver (nvidia-smi shows them)"
        if cls.distribution is not None:
            try:
                metadata.distribution(cls.distribution)
            except metadata.PackageNotFoundError:
                how = cls.how or f"pip install {cls.distribution}"
                return f"{name} needs {cls.distribution}: {how}"
        return None

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

        An engine on a board overrides this: its calls are timed where they run.
        """
        return time_calls(call, count, limit_ns)

    def rest(self) -> None:  # noqa: B027 - most engines are only stopped
        """Called after each turn: releases what another engine needs for itself."""

    def close(self) -> None:  # noqa: B027 - most engines end with their process
        """Releases what is held outside of the process."""

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
