"""What an engine is built for."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from tvmkd.base.errors import UsageError

Precision = Literal["fp32", "tf32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class BuildOptions:
    """What an engine is built for.

    Attributes:
        precision: ``fp32`` keeps every bit; ``tf32`` lets FP32 products use tensor cores; ``fp16``
            and ``int8`` leave the rest of the network to TensorRT's default, which is TF32.
        workspace_mib: most memory that a layer may use beside its tensors; None: TensorRT's own.
        batch: smallest, best and largest batch, where the model leaves its first axis free.
        dims: sizes of other free dimensions, by their name in the file.
        compute_capability: build for a GPU that is not here, ``8.6``; TensorRT-RTX only.
        timing_cache: file with measured tactics, read and written; makes a second build quick.
        calibration: for ``int8`` of a float model: each input's samples, float32 ``[n, ...]``.
        keep_fp32: layers that stay in FP32, as `tvmkd.export.layers` takes them, where the
            precision goes into the ONNX file.
        verbose: show what TensorRT says.

    Raises:
        UsageError: a value that cannot be.
    """

    precision: Precision = "fp32"
    workspace_mib: int | None = None
    batch: tuple[int, int, int] | None = None
    dims: Mapping[str, int] = field(default_factory=dict)
    compute_capability: str | None = None
    timing_cache: Path | None = None
    calibration: Mapping[str, np.ndarray] | None = None
    keep_fp32: tuple[str, ...] = ()
    verbose: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f'"{self.precision}" is no precision: {", ".join(PRECISIONS)}')
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise UsageError(f"a workspace of {self.workspace_mib} MiB: it is at least 1")
        if self.batch is not None and not 1 <= self.batch[0] <= self.batch[1] <= self.batch[2]:
            raise UsageError(f"batch {self.batch}: it is smallest ≤ best ≤ largest, from 1")
        capability = self.compute_capability
        if capability is not None and not re.fullmatch(r"\d+\.\d", capability):
            raise UsageError(f'"{capability}" is no compute capability, for example 8.6')

    def identity(self) -> dict[str, Any]:
        """What of it changes an engine: JSON-safe, calibration as its hash."""
        values = asdict(self)
        for name in ("timing_cache", "verbose", "calibration"):
            del values[name]
        values["calibration"] = _digest(self.calibration)
        return values


def _digest(samples: Mapping[str, np.ndarray] | None) -> str | None:
    if samples is None:
        return None
    digest = hashlib.sha256()
    for name, array in sorted(samples.items()):
        digest.update(f"{name}\0{array.dtype}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
