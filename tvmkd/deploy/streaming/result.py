"""The result of a stream as data, ``stream.json``: what the gate, the page and people read.

Incompatible changes of the format change ``schema_version``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tvmkd.base.errors import InputError
from tvmkd.base.files import read_text, write_text
from tvmkd.bench.gate import StreamFigures

SCHEMA_VERSION = 1


class _Table(BaseModel):
    # The docstring below a field is its description in docs/reference/formats.md.
    model_config = ConfigDict(use_attribute_docstrings=True)


class Spread(_Table):
    """How times spread, in milliseconds."""

    p50: float
    """Median."""
    p90: float
    """90th percentile."""
    p95: float
    """95th percentile."""
    p99: float
    """99th percentile."""
    p999: float
    """99.9th percentile."""
    mean: float
    """Mean."""
    min: float
    """Smallest."""
    worst: float
    """Largest."""


class Stage(_Table):
    """One step of a frame."""

    name: str
    """``capture``, ``pre-processing``, ``model`` or ``post-processing``."""
    ms: Spread
    """Its time."""
    edges: list[float]
    """Edges of the histogram's bins, milliseconds."""
    counts: list[int]
    """Frames in each bin."""


class StreamModel(_Table):
    """A model of the ladder; the first is the best."""

    name: str
    """The model's name."""
    path: str
    """Its folder."""
    sha256: str
    """SHA-256 of its manifest, in hex."""
    runtime: str
    """What ran it."""
    steps: str
    """Pre- and post-processing."""
    reference_ms: float
    """Median of a frame's steps before the stream began."""
    frames: int
    """Frames that it ran."""
    exits: list[int]
    """How many of them left at each exit; one number where there is no early exit."""


class Change(_Table):
    """A step on the ladder."""

    second: float
    """Since the start."""
    before: int
    """The model before, 0 is the first."""
    after: int
    """The model after."""
    why: str
    """The reason."""


class Moment(_Table):
    """A part of the stream: what the charts over time show."""

    second: float
    """Its start, since the start of the stream."""
    p50: float | None
    """Median latency of its frames, ms; null: there were none."""
    worst: float | None
    """Largest latency of its frames, ms."""
    late: int
    """Frames that ended after their deadline."""
    dropped: int
    """Frames that were not run."""
    rung: int | None
    """The model that ran most of them."""


class State(_Table):
    """A reading of the board's state."""

    second: float
    """Since the start."""
    celsius: float | None
    """The hottest thermal zone."""
    mhz: float | None
    """The slowest clock of the CPUs."""
    watts: float | None
    """Power of the board."""
    throttled: bool | None
    """Whether it throttles, or did since the reading before."""
    load_1min: float | None
    """Load average."""


class Settings(_Table):
    """What the stream was asked for."""

    fps: float
    """Frames a second."""
    budget_ms: float
    """From a frame's release to its end, milliseconds."""
    model_ms: float | None = None
    """The target's budget for the model alone, milliseconds."""
    seconds: float
    """How long it was to run."""
    source: str
    """Where the frames came from."""
    when_late: Literal["drop", "exit", "ladder"]
    """What was done when late."""
    threads: int | None = None
    """Threads of the model; null: the runtime decides."""
    cpus: list[int] = Field(default_factory=list)
    """CPUs that the process was pinned to; empty: none."""
    priority: str | None = None
    """Scheduling policy and priority, such as ``fifo:50``."""
    locked_memory: bool = False
    """Whether its memory was locked."""
    power: str | None = None
    """The power mode that was set."""


class StreamResult(_Table):
    """The content of ``stream.json``."""

    schema_version: int = SCHEMA_VERSION
    """1."""
    kind: Literal["stream"] = "stream"
    """``stream``."""
    tool: str
    """The program that made it."""
    created: str
    """UTC, ISO 8601."""
    settings: Settings
    """What was asked for."""
    machine: dict[str, Any]
    """The machine: CPU, system, governor."""
    models: list[StreamModel]
    """The models, the best first."""
    seconds: float
    """How long it ran."""
    interrupted: bool
    """Whether it was ended early."""
    released: int
    """Frames that were due."""
    processed: int
    """Frames that were run."""
    late: int
    """Frames that ended after their deadline."""
    dropped: int
    """Frames that were not run because a newer one had come."""
    latency: Spread
    """From a frame's release to its end."""
    release_jitter: Spread
    """From a frame's release to the start of its first step."""
    finish_jitter: Spread
    """By how much the time between two frames' ends differs from that between their releases."""
    stages: list[Stage]
    """The steps of a frame."""
    changes: list[Change]
    """Steps on the ladder."""
    timeline: list[Moment]
    """The stream in parts of equal length."""
    states: list[State]
    """The board's state over time."""

    @property
    def misses(self) -> int:
        """Frames that were not done by their deadline: late or dropped."""
        return self.late + self.dropped

    @property
    def throttled(self) -> bool | None:
        """Whether the board throttled at any reading; None if it does not tell."""
        known = [state.throttled for state in self.states if state.throttled is not None]
        return any(known) if known else None

    def celsius(self) -> tuple[float, float] | None:
        """The lowest and the highest temperature, °C."""
        known = [state.celsius for state in self.states if state.celsius is not None]
        return (min(known), max(known)) if known else None

    def figures(self) -> StreamFigures:
        """What the gate may require: ``stream.worst < 30ms``."""
        latency, warmest = self.latency, self.celsius()
        throttled = [state for state in self.states if state.throttled]
        return StreamFigures(
            {
                **latency.model_dump(),
                "jitter": self.release_jitter.p99,
                "misses": self.misses,
                "late": self.late,
                "dropped": self.dropped,
                "frames": self.processed,
                "fps": self.processed / self.seconds if self.seconds else 0.0,
                "celsius": None if warmest is None else warmest[1],
                "throttled": None if self.throttled is None else len(throttled),
            },
            self.settings.budget_ms,
        )

    def save(self, path: Path) -> None:
        """Writes the file, in one step."""
        write_text(path, self.model_dump_json(indent=2) + "\n")


def is_stream(path: Path) -> bool:
    """Whether a file says of itself that it is a stream's result; False if it cannot be read."""
    try:
        data = json.loads(read_text(path))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and data.get("kind") == "stream"


def load(path: Path) -> StreamResult:
    """Reads what `StreamResult.save` wrote.

    Raises:
        InputError: it cannot be read, is damaged, or of another version.
    """
    try:
        data = json.loads(read_text(path))
        version = data["schema_version"]
        if version != SCHEMA_VERSION:
            raise InputError(
                f"{path}: schema {version!r}, and this tvmkd reads {SCHEMA_VERSION}; stream again"
            )
        return StreamResult.model_validate(data)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: damaged ({where}: {first['msg']}); stream again") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is no result of tvmkd stream") from None
