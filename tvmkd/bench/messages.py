"""Messages between `tvmkd.bench.process` and an engine's process, which imports little else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tvmkd.bench.spec import EngineSpec


@dataclass(frozen=True)
class Prepare:
    """The request to load an engine and to run every sample once.

    Attributes:
        spec: the engine.
        threads: number of the engine's threads.
        cpus: numbers of the CPUs to use; empty: all.
        inputs: ``.npz`` files, one per sample.
        names: names of the model's inputs, in the order of the arrays in these files.
        outputs: folder for the output files, one ``.npz`` per sample.
    """

    spec: EngineSpec
    threads: int
    cpus: list[int]
    inputs: list[str]
    names: list[str]
    outputs: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {**vars(self), "spec": self.spec.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Prepare:
        """The inverse of `to_dict`."""
        return cls(**{**data, "spec": EngineSpec.from_dict(data["spec"])})


@dataclass(frozen=True)
class Loaded:
    """The answer to `Prepare`.

    Attributes:
        seconds: to load or compile, imports not counted.
        size_bytes: size of the files to ship; None if the engine does not report it.
    """

    seconds: float
    size_bytes: int | None
