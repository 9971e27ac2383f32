"""A tuning session's trials as a curve, and what each task gained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tvmkd.base.errors import InputError
from tvmkd.base.files import read_text


@dataclass
class TaskGain:
    """One task: trials made, first and best time of one call in µs (None: no trial worked)."""

    name: str
    weight: int
    trials: int = 0
    failed: int = 0
    first_us: float | None = None
    best_us: float | None = None


@dataclass(frozen=True)
class History:
    """What a session did.

    Attributes:
        curve: (trials so far, estimated ms for the model), from the first trial at which every
            task that ever got a figure has one: before that the sum would leave kernels out.
        tasks: one entry a task, the costliest first.
        trials: how many there were, failed ones included.
    """

    curve: list[tuple[int, float]]
    tasks: list[TaskGain]
    trials: int


def read(folder: Path) -> History | None:
    """The history of a records folder, or None where nothing has been tried.

    Raises:
        InputError: ``session.json`` is not there or not JSON.
    """
    try:
        session = json.loads(read_text(folder / "session.json"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: not a folder of tuning records: {error}") from None
    gains: dict[str, TaskGain] = {}
    by_any: dict[str, TaskGain] = {}
    try:
        for task in session.get("tasks", []):
            gain = gains[task["key"]] = TaskGain(task["name"], int(task["weight"]))
            by_any[_same(task["key"])] = by_any[task["name"]] = gain
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(f"{folder / 'session.json'}: not the sidecar of tuning records") from None
    trials = []
    for trial in _lines(folder / "trials.jsonl"):
        trial["task"] = _same(str(trial.get("task")))
        if trial["task"] in by_any:
            trials.append(trial)
    if not trials:
        return None
    alive = {id(by_any[trial["task"]]) for trial in trials if _figure(trial) is not None}
    curve: list[tuple[int, float]] = []
    for count, trial in enumerate(trials, 1):
        gain = by_any[trial["task"]]
        gain.trials += 1
        figure = _figure(trial)
        if figure is None:
            gain.failed += 1
            continue
        us = figure * 1e6
        gain.first_us = us if gain.first_us is None else gain.first_us
        gain.best_us = us if gain.best_us is None else min(us, gain.best_us)
        known = [task for task in gains.values() if task.best_us is not None]
        if len(known) == len(alive):
            total = sum(task.weight * (task.best_us or 0.0) for task in known) / 1e3
            if not curve or total < curve[-1][1]:
                curve.append((count, total))
    if curve and curve[-1][0] != len(trials):
        curve.append((len(trials), curve[-1][1]))
    ordered = sorted(gains.values(), key=lambda task: -task.weight * (task.best_us or 0.0))
    return History(curve, ordered, len(trials))


def _same(key: str) -> str:
    """A structural hash written one way: with or without ``0x`` and leading zeros is the same."""
    try:
        return f"{int(key, 16):x}"
    except ValueError:
        return key


def _figure(trial: dict[str, Any]) -> float | None:
    """The seconds that stand for a trial, or None where it failed."""
    if trial.get("figure") is not None:
        return float(trial["figure"])
    return median(trial["seconds"]) if trial.get("seconds") else None


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines that parse: the last one of a session that was killed may be torn."""
    result = []
    if path.exists():
        for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            if isinstance(value, dict):
                result.append(value)
    return result
