"""The base class of engines: prepare once, then call with numpy arrays."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from tvmkd.base.errors import InputError, MissingError
from tvmkd.base.tolerance import ENGINE
from tvmkd.bench.spec import EngineSpec
from tvmkd.timing.loop import time_calls

Inputs = Mapping[str, np.ndarray]
"""Input name -> array, in the order of the ONNX file's inputs."""


Device = Literal["CPU", "GPU"]
File = Literal["onnx", "artifact", "checkpoint"]
Link = Literal["rpc", "ssh"]


class Engine(abc.ABC):
    """One way to run a model. Each engine runs in its own process. A context manager.

    A timed call is what a user calls: numpy arrays in, numpy arrays out, including all conversions
    and copies.

    A subclass describes itself in class attributes. They are read in the process that compares, so
    import the engine's libraries in `prepare`, not at the top of its module.

    Attributes:
        file: the kind of file in `EngineSpec.path`: ONNX file, artifact folder or checkpoint.
        device: the device that it computes on. None: unknown, or it depends on the artifact: see
            `device_of`.
        link: how its board is reached, if the engine runs on a board. None: it runs on this
            machine.
        board_engine: registered name of the equivalent engine on a board.
        built_here: `prepare` builds the engine and chooses tactics by measuring, so that two builds
            may differ in speed.
        cuda_graphs: it can run as a CUDA graph, see the option ``cuda_graph`` and `captures`.
        precisions: precisions that can be requested in addition to the model's own.
        tolerance: largest error allowed for each precision, relative to the output's largest
            magnitude.
        distribution: Python packages that it needs in addition to tvmkd's requirements, separated
            by spaces.
        how: command that installs them. None: ``pip install`` with their names.
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
        """The device that the engine of ``spec`` computes on; None if only its process knows."""
        del spec
        return cls.device

    @classmethod
    def captures(cls, spec: EngineSpec) -> bool:
        """Whether the engine of ``spec`` can run as a CUDA graph."""
        del spec
        return cls.cuda_graphs

    @classmethod
    def needs_gpu(cls) -> bool:
        """True if it runs on an NVIDIA GPU of this machine."""
        return cls.device == "GPU" and cls.link is None

    @classmethod
    def lacks(cls, name: str) -> str | None:
        """What this machine lacks to run the engine, found without running it; None: nothing.

        Args:
            name: the engine's name, for the message.
        """
        from tvmkd.tensorrt import device

        if cls.needs_gpu() and device.find() is None:
            return f"{name} needs an NVIDIA GPU and its driver (nvidia-smi shows them)"
        return cls.lacks_package(name)

    @classmethod
    def lacks_package(cls, name: str) -> str | None:
        """The first package of `distribution` that is not installed, as `lacks`."""
        for package in (cls.distribution or "").split():
            try:
                metadata.distribution(package)
            except metadata.PackageNotFoundError:
                return f"{name} needs {package}: {cls.how or f'pip install {cls.distribution}'}"
        return None

    def require(self) -> None:
        """Called in `prepare` before the engine's libraries are imported.

        Raises:
            MissingError: one of its packages is not installed.
        """
        lack = self.lacks_package(self.spec.kind)
        if lack is not None:
            raise MissingError(lack)

    def __init__(self, spec: EngineSpec, threads: int) -> None:
        self.spec = spec
        self.threads = threads

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abc.abstractmethod
    def prepare(self, example: Inputs) -> None:
        """Loads and compiles the model, for inputs with the shapes of ``example``."""

    @abc.abstractmethod
    def bind(self, inputs: Inputs) -> Callable[[], Any]:
        """Returns a function without arguments that runs the model once on ``inputs``."""

    @abc.abstractmethod
    def facts(self) -> dict[str, Any]:
        """Facts needed to interpret the results: versions, options. JSON-safe."""

    def times(self, call: Callable[[], Any], count: int, limit_ns: int | None = None) -> list[int]:
        """Nanoseconds of each of ``count`` calls of the function from `bind`, as `loop.time_calls`.

        Engines on a board override this, because their calls are timed on the board.
        """
        return time_calls(call, count, limit_ns)

    def rest(self) -> None:  # noqa: B027 - most engines are only stopped
        """Called after each turn: releases resources that another engine needs exclusively."""

    def close(self) -> None:  # noqa: B027 - most engines end with their process
        """Releases resources outside of the process."""

    def infer(self, inputs: Inputs) -> list[np.ndarray]:
        """Runs the model once; returns the outputs in the order of the ONNX file."""
        return as_list(self.bind(inputs)())

    def size_bytes(self) -> int | None:
        """Size in bytes of the files to ship: one file, or a folder with its contents."""
        return None if self.spec.path is None else size_of(Path(self.spec.path))

    def path(self) -> Path:
        """The spec's path.

        Raises:
            InputError: no path was given, or it does not exist.
        """
        if self.spec.path is None:
            which = " that it runs (one with regions is tvm+ENGINE's)" * (self.file == "artifact")
            raise InputError(f"engine {self.spec.name}: no {self.file} was given{which}")
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
    """Size in bytes of a file, or of all files below a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
