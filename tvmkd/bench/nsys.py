"""Times of an artifact's GPU kernels from NVIDIA Nsight Systems' SQLite export.

``nsys profile --trace=cuda -o report python run.py`` writes a report, and ``nsys export --type
sqlite report.nsys-rep`` the file. Kernels of a CUDA graph are in it only with
``--cuda-graph-trace=node``.
https://docs.nvidia.com/nsight-systems/UserGuide/index.html#sqlite-schema-reference
"""

from __future__ import annotations

import re
import sqlite3
import statistics
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tvmkd.base.errors import InputError

TABLE = "CUPTI_ACTIVITY_KIND_KERNEL"
_QUERY = f"""
SELECT names.value, kernels.end - kernels.start, kernels.start
FROM {TABLE} AS kernels JOIN StringIds AS names ON names.id = kernels.demangledName
ORDER BY kernels.start
"""
_FUNCTION = re.compile(r"^(\w+?)_kernel(?:_\d+)?$")


@dataclass(frozen=True)
class GpuKernel:
    """One kernel of the model on the GPU.

    Attributes:
        name: in the artifact; its GPU functions are ``NAME_kernel``, ``NAME_kernel_1``...
        launches: of its GPU functions in a run.
        us: all of them in a run: medians, added up.
        share: of the time that the GPU computes in a run.
        kind: of its task; empty for a kernel that is no task.
        gflops: its speed; None if its operations are not counted.
        registers, occupancy: as ptxas says; None if unknown.
        nodes: the ONNX nodes that it computes; empty if unknown.
    """

    name: str
    launches: int
    us: float
    share: float
    kind: str = ""
    gflops: float | None = None
    registers: int | None = None
    occupancy: float | None = None
    nodes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class GpuProfile:
    """A model's runs on the GPU.

    Attributes:
        kernels: the slowest first.
        runs: how many are in the file.
        gpu_us: the time that kernels take in a run.
        run_us: from one run's begin to the next one's, the median; None with one run.
        others: launches that belong to no kernel of the artifact.
    """

    kernels: list[GpuKernel]
    runs: int
    gpu_us: float
    run_us: float | None
    others: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return asdict(self)


def profile(path: Path, kernels: Mapping[str, Mapping[str, Any]]) -> GpuProfile:
    """The kernels of an artifact in an export.

    Args:
        path: the ``.sqlite`` file.
        kernels: the manifest's ``coverage.kernels``.

    Raises:
        InputError: it is no export of Nsight Systems, or has no kernels of this artifact.
    """
    times: dict[str, list[int]] = defaultdict(list)  # GPU function: ns of each launch
    begins: dict[str, list[int]] = defaultdict(list)
    others = 0
    for function, took, begin in _launches(path):
        if _kernel_of(function) in kernels:
            times[function].append(took)
            begins[function].append(begin)
        else:
            others += 1
    if not times:
        raise InputError(
            f"{path}: has {others} kernels, none of this artifact: another model ran, or its CUDA "
            "graph was traced as a whole (nsys profile --cuda-graph-trace=node)"
        )
    # What runs once in a run of the model is what runs least often.
    rarest = min(times, key=lambda function: len(times[function]))
    runs = len(times[rarest])
    parts: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for function, found in times.items():
        launches = max(1, round(len(found) / runs))
        us = launches * statistics.median(found) / 1e3
        parts[_kernel_of(function)].append((launches, us))
    total = sum(us for found in parts.values() for _, us in found)
    gaps = [
        after - before for before, after in zip(begins[rarest], begins[rarest][1:], strict=False)
    ]
    rows = [_row(name, found, total, kernels[name]) for name, found in parts.items()]
    return GpuProfile(
        sorted(rows, key=lambda row: -row.us),
        runs,
        total,
        statistics.median(gaps) / 1e3 if gaps else None,
        others,
    )


def _row(
    name: str, parts: list[tuple[int, float]], total: float, facts: Mapping[str, Any]
) -> GpuKernel:
    us = sum(each for _, each in parts)
    ptxas = facts.get("ptxas") or {}
    flop = float(facts.get("flop") or 0)
    calls = min(launches for launches, _ in parts)
    return GpuKernel(
        name,
        sum(launches for launches, _ in parts),
        us,
        us / total,
        str(facts.get("kind") or ""),
        flop * calls / us / 1e3 if flop and us else None,
        ptxas.get("registers"),
        ptxas.get("occupancy"),
        list(facts.get("nodes") or ()),
    )


def _kernel_of(function: str) -> str:
    """The kernel that a GPU function is of; empty for a function of another library."""
    found = _FUNCTION.match(function.partition("(")[0])
    return found[1] if found else ""


def _launches(path: Path) -> list[tuple[str, int, int]]:
    """Function, duration and begin of each launch, in ns."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as opened:
            return [
                (str(name), int(took), int(begin)) for name, took, begin in opened.execute(_QUERY)
            ]
    except sqlite3.OperationalError as error:
        if "no such" in str(error):
            raise InputError(
                f"{path}: has no GPU kernels ({error}): nsys profile --trace=cuda"
            ) from None
        raise InputError(f"{path}: cannot be read: {error}") from None
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"{path}: not an SQLite file ({error}): nsys export --type sqlite REPORT.nsys-rep"
        ) from None
