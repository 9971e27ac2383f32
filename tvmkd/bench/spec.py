"""The specification of an engine: name, kind, file. Few imports: engines' processes load it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class EngineSpec:
    """One engine of a comparison.

    Attributes:
        name: the name in tables and gates, unique in a comparison ("tvm", "onnxruntime").
        kind: the engine's class: a name in `tvmkd.base.engine_registry`, or
            ``package.module:Class`` of a user's subclass of `tvmkd.bench.engines.base.Engine`.
        path: the file to run: an ONNX file (onnxruntime), an artifact folder (tvm), a checkpoint
            (torch, torch.compile). None: the engine is left out, with a reason.
        precision: "fp32", "tf32", "fp16" or "int8"; determines the tolerance of the outputs.
        options: see the documentation of the engine's module.
    """

    name: str
    kind: str
    path: Path | str | None = None
    precision: str = "fp32"
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe, for the engine's process."""
        return {
            "name": self.name,
            "kind": self.kind,
            "path": None if self.path is None else str(Path(self.path).absolute()),
            "precision": self.precision,
            "options": dict(self.options),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EngineSpec:
        """The inverse of `to_dict`."""
        return cls(**data)
