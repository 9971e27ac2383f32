"""What a search leaves: ``study.json``, read by the report, the gate and other tools."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

STUDY = "study.json"
SCHEMA = 1

State = Literal["complete", "pruned", "infeasible", "failed"]


class Point(BaseModel):
    """One network that was tried.

    Times are in the study's ``unit``: milliseconds, or millions of instructions on emulated boards.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    """Of the trial."""
    structure: dict[str, Any]
    """The values of the space's parameters, by their names."""
    state: State
    accuracy: float | None = None
    """Deciding score on the validation split."""
    test_accuracy: float | None = None
    predicted: float | None = None
    low: float | None = None
    """With ``high``: the interval that holds 90 % of measured times."""
    high: float | None = None
    interpolated: float = 0.0
    """Share of the predicted time that is in kernels which nobody measured."""
    measured: float | None = None
    macs: int | None = None
    parameters: int | None = None
    epochs: int = 0
    """Epochs that were trained."""
    seconds: float = 0.0
    """Seconds of training."""
    seed: int = 0
    checkpoint: str | None = None
    """Its weights, relative to the search's folder."""
    error: str | None = None
    """Why it failed, one line."""

    @field_validator("accuracy", "test_accuracy")
    @classmethod
    def _known(cls, score: float | None) -> float | None:
        """A user's metric may be NaN before a network has learnt anything."""
        return score if score is None or math.isfinite(score) else None

    @property
    def latency(self) -> float | None:
        """Measured where it was measured, else predicted."""
        return self.predicted if self.measured is None else self.measured


class Study(BaseModel):
    """A search, finished or not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA
    tvmkd_version: str
    name: str
    method: Literal["study", "supernet", "joint"]
    objective: Literal["accuracy", "weighted", "front"]
    target: str
    unit: Literal["ms", "M instructions", "M MACs"]
    budget: float | None = None
    """The greatest latency allowed, in ``unit``."""
    metric: str
    """Name of the deciding score."""
    maximize: bool = True
    """Whether a higher score is better."""
    alpha: float = 1.0
    beta: float = 1.0
    seed: int = 0
    teacher: dict[str, Any] = Field(default_factory=dict)
    """``model``, ``accuracy`` (test), ``macs``, ``parameters``; empty without one."""
    table: dict[str, Any] = Field(default_factory=dict)
    """What `Latency.describe` says."""
    space: dict[str, Any] = Field(default_factory=dict)
    """The parameters and their values, as text."""
    points: list[Point] = Field(default_factory=list)
    baselines: list[Point] = Field(default_factory=list)
    """Hand-made students, measured beside the front; ``structure`` holds their names."""
    reference: tuple[float, float] | None = None
    """(accuracy, latency) that volumes of the front are taken against: see `front.reference`."""
    winner: int | None = None
    """Number of the chosen point."""
    board_seconds: float = 0.0
    training_seconds: float = 0.0
    complete: bool = False

    def feasible(self) -> list[Point]:
        """The complete points within the budget."""
        return [
            point
            for point in self.points
            if point.state == "complete"
            and point.latency is not None
            and (self.budget is None or point.latency <= self.budget)
        ]


def read(path: Path) -> Study:
    """Reads a ``study.json``, or the one in a folder.

    Raises:
        InputError: it is missing, damaged, or of another schema.
    """
    from pydantic import ValidationError

    from tvmkd.base.errors import InputError
    from tvmkd.base.files import read_text

    path = path / STUDY if path.is_dir() else path
    try:
        study = Study.model_validate_json(read_text(path))
    except FileNotFoundError:
        raise InputError(f"no {STUDY} at {path}: give the folder of a search") from None
    except (OSError, ValueError, ValidationError):
        raise InputError(f"{path} is damaged or of another tvmkd: run the search again") from None
    if study.schema_version != SCHEMA:
        raise InputError(
            f"{path} has schema {study.schema_version}; this tvmkd reads schema {SCHEMA}"
        )
    return study
