"""The options of an engine's build."""

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
    """The options of an engine's build.

    Attributes:
        precision: ``fp32`` disables TF32; ``tf32`` lets FP32 products use tensor cores; with
            ``fp16`` and ``int8`` the layers that stay in FP32 use TF32, TensorRT's default.
        workspace_mib: limit of a layer's temporary memory in MiB; None: TensorRT's default.
        batch: smallest, best and largest batch, for a model whose first axis is free.
        dims: sizes of other free dimensions, by their name in the file.
        compute_capability: of a GPU that is not in this machine, for example ``8.6``; TensorRT-RTX
            only.
        timing_cache: file of measured tactics, read and written; makes later builds faster.
        calibration: for ``int8`` of a float model: samples of each input, float32 ``[N, ...]``.
        keep_fp32: layers that stay in FP32, as in `tvmkd.export.layers`; used where the precision
            is written into the ONNX file.
        verbose: print TensorRT's log.

    Raises:
        UsageError: a value is not valid.
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
        """The options that change the engine, with a hash of the calibration. JSON-safe."""
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
