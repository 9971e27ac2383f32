"""The requests from the parent to a stack's worker, and their form as JSON.

``model`` holds the facts of the ONNX file, checked and normalised by the parent
(`tvmkd.export.door.admit`); without it the worker checks the file and imports it as it is.
``checked`` says that the caller has checked the records and the artifact's folder too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from tvmkd.base.exits import Exits
from tvmkd.base.frame_description import FrameOptions
from tvmkd.base.runtimes import TVM
from tvmkd.export.check import ModelInfo

Request = TypeVar("Request")


@dataclass(frozen=True)
class LowerRequest:
    """Asks for the tuning tasks of a model: see `tvmkd.stacks.client.StackClient.lower`."""

    onnx: Path
    target: dict[str, Any]
    dims: dict[str, int] = field(default_factory=dict)
    show: bool = False
    byoc: str | None = None
    model: ModelInfo | None = None
    features: bool = False


@dataclass(frozen=True)
class TuneRequest:
    """Asks for trials: see `tvmkd.stacks.client.StackClient.tune`.

    ``model`` and ``others`` are tuned together. ``weights`` says how much a second of each task
    counts, by key; tasks that are not in it are left out. None: as often as the models run them.
    """

    onnx: Path
    target: dict[str, Any]
    records: Path
    trials: int
    tracker: dict[str, Any]
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    dims: dict[str, int] = field(default_factory=dict)
    model: ModelInfo | None = None
    others: list[ModelInfo] = field(default_factory=list)
    weights: dict[str, float] | None = None


@dataclass(frozen=True)
class BuildRequest:
    """Asks for an artifact: see `tvmkd.stacks.client.StackClient.build`."""

    onnx: Path
    target: dict[str, Any]
    records: list[Path]
    out: Path
    real_inputs: Path | None = None
    check: bool = True
    board: dict[str, Any] | None = None
    byoc: str | None = None
    byoc_precision: str | None = None
    dims: dict[str, int] = field(default_factory=dict)
    model: ModelInfo | None = None
    checked: bool = False
    runtime: str = TVM
    exits: Exits | None = None
    frames: FrameOptions | None = None


@dataclass(frozen=True)
class ProfileRequest:
    """Asks for the times of an artifact's kernels: see `StackClient.profile`."""

    artifact: Path
    inputs: Path | None = None
    repeats: int = 10
    onnx: Path | None = None


REQUESTS: Mapping[str, type[Any]] = {
    "lower": LowerRequest,
    "tune": TuneRequest,
    "build": BuildRequest,
    "profile": ProfileRequest,
}
"""The request of each method of `tvmkd.stacks.base.Stack` that has one."""


def pack(request: Any) -> dict[str, Any]:
    """A request as plain JSON data."""
    data: dict[str, Any] = TypeAdapter(type(request)).dump_python(request, mode="json")
    return data


def unpack(kind: type[Request], data: Mapping[str, Any]) -> Request:
    """The request that `pack` made the data of."""
    request: Request = TypeAdapter(kind).validate_python(data)
    return request
