"""Which engine to measure: a label, a kind, a file. Light, since every engine process reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class EngineSpec:
    """One engine of a comparison.

    Attributes:
        name: the label in tables and gates, unique in a comparison ("tvm", "onnxruntime").
        kind: what runs it: a name in `tvmkd.base.engine_registry`, or ``package.module:Class`` of
            your own subclass of `tvmkd.bench.engines.base.Engine`.
        path: what it runs: the ONNX file (onnxruntime), an artifact folder (tvm), a checkpoint
            (torch, torch.compile). None makes the engine say that it was left out, and why.
        precision: "fp32", "tf32", "fp16" or "int8"; decides how far outputs may differ.
        options: what the engine's own file documents.
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
        """The reverse of `to_dict`."""
        return cls(**data)
