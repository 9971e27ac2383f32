"""What a stream is asked for, as a message to its process."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tvmkd import artifact
from tvmkd.base.errors import InputError, UsageError
from tvmkd.deploy.streaming.realtime import Priority
from tvmkd.deploy.streaming.sources import Source
from tvmkd.early_exit import runtime as early_exit
from tvmkd.early_exit.runtime import EXITS
from tvmkd.targets import Target

WhenLate = Literal["drop", "exit", "ladder"]
WHEN_LATE: tuple[WhenLate, ...] = ("drop", "exit", "ladder")
MOST_FPS = 1000.0


def target_of(model: Path) -> Target | None:
    """What an artifact was built for; None for an ONNX file.

    Raises:
        InputError: the path is a folder and no artifact, or does not exist.
    """
    if model.is_file():
        return None
    if (model / EXITS).is_file():
        model = model / early_exit.Plan.read(model).pieces[0].folder
    if not model.exists():
        raise InputError(f"{model}: there is no such artifact")
    return Target.from_dict(artifact.read(model, verify=False).target, where=str(model))


@dataclass(frozen=True)
class Plan:
    """A stream.

    Attributes:
        models: paths of the models, the best first; several only with ``ladder``.
        fps: frames a second.
        budget_ms: from a frame's release to its end.
        seconds: how long.
        when_late: ``drop``: skip to the newest frame. ``exit``: also leave a network with early
            exits before the deadline. ``ladder``: also step down to a smaller model.
        source, input, size, severity: as of `tvmkd.deploy.streaming.sources.open_frames`.
        cpus, priority, lock_memory: as of `tvmkd.deploy.streaming.realtime.applied`.
        threads: of the model; None: as many as ``cpus``, or the runtime decides.
        hot, cool: °C at which the ladder steps down, and below which it may step up.
        calm_s: seconds without a miss before the ladder steps up.
    """

    models: tuple[str, ...]
    fps: float
    budget_ms: float
    seconds: float
    when_late: WhenLate = "drop"
    source: Source = "random"
    input: str | None = None
    size: tuple[int, int] | None = None
    severity: int = 2
    cpus: tuple[int, ...] = ()
    priority: str | None = None
    lock_memory: bool = False
    threads: int | None = None
    hot: float | None = None
    cool: float | None = None
    calm_s: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.fps <= MOST_FPS:
            raise UsageError(f"--fps {self.fps:g}: give more than 0 and at most {MOST_FPS:g}")
        if not (self.budget_ms > 0 and self.seconds > 0 and self.calm_s > 0):
            raise UsageError("the budget, the duration and the calm time must be above zero")
        if len(self.models) > 1 and self.when_late != "ladder":
            raise UsageError("several models are a ladder: give --when-late ladder")
        if len(self.models) < 2 and self.when_late == "ladder":
            raise UsageError("--when-late ladder: give the smaller models, each with --ladder")
        if self.hot is not None and self.cool is not None and self.cool >= self.hot:
            raise UsageError(f"--cool {self.cool:g} is not below --hot {self.hot:g}")
        if self.priority is not None:
            Priority.parse(self.priority)
        # At a real-time priority a thread that waits for work would keep its CPU from the others.
        if self.cpus and (self.threads or 0) > len(self.cpus):
            raise UsageError(
                f"--threads {self.threads} on {len(self.cpus)} CPUs: at most one a CPU"
            )

    @property
    def period_ns(self) -> int:
        """Nanoseconds between two frames."""
        return round(1e9 / self.fps)

    @property
    def thread_count(self) -> int | None:
        """Threads of the model; None: the runtime decides."""
        return self.threads or len(self.cpus) or None

    @property
    def paths(self) -> list[Path]:
        """The models."""
        return [Path(model) for model in self.models]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe; `from_dict` restores it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Plan:
        """From `to_dict`, also where JSON has turned tuples into lists."""
        size = data["size"]
        lists = {name: tuple(data[name]) for name in ("models", "cpus")}
        return cls(**{**data, **lists, "size": None if size is None else tuple(size)})
