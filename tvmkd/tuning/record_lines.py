"""What a line of each file of a records folder has to hold.

A line may be JSON and no record: after an edit by hand, or where folders of two tools were merged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Check = Callable[[Any], None]
"""Raises ValueError, in words, for a value that is no such line."""


def trial(value: Any) -> None:
    """A line of ``trials.jsonl``: the keys of task and candidate, and numbers or null."""
    _keys(value, "trial")
    for name in ("figure", "wall"):
        if not isinstance(value.get(name), (int, float, type(None))):
            raise ValueError(f'no trial: "{name}" is no number')


def counted(value: Any) -> None:
    """The part of a trial that says what it was a trial of."""
    if not isinstance(value, dict) or not _whole(value.get("task"), 16):
        raise ValueError('no trial: its "task" is no structural hash')


def wall(value: Any) -> None:
    """The part of a trial that says how long it took."""
    if not isinstance(value, dict) or not isinstance(value.get("wall"), (int, float, type(None))):
        raise ValueError('no trial: "wall" is no number')


def aside(value: Any) -> None:
    """A line of ``aside.jsonl``: the keys of task and candidate."""
    _keys(value, "record that was set aside")


def workload(value: Any) -> None:
    """A line of ``database_workload.json``: ``[structural hash, module]``."""
    if not isinstance(value, list) or not value or not _whole(value[0], 10):
        raise ValueError("no workload of MetaSchedule")


def record(value: Any) -> None:
    """A line of ``database_tuning_record.json``: ``[workload's number, [trace, seconds, ...]]``."""
    good = isinstance(value, list) and len(value) == 2 and type(value[0]) is int and value[0] >= 0
    if not good or not isinstance(value[1], list) or len(value[1]) < 2:
        raise ValueError("no tuning record of MetaSchedule")
    if not isinstance(value[1][0], list):
        raise ValueError("no tuning record of MetaSchedule: its trace is no list")
    seconds = value[1][1]
    if seconds is not None and not (
        isinstance(seconds, list) and all(isinstance(one, (int, float)) for one in seconds)
    ):
        raise ValueError("no tuning record of MetaSchedule: its times are no numbers")


def workload_of(value: Any) -> int:
    """The number of a record's workload; -1 for what is no record."""
    return value[0] if isinstance(value, list) and value and type(value[0]) is int else -1


def _keys(value: Any, what: str) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"no {what}")
    for name in ("task", "key"):
        if not isinstance(value.get(name), str):
            raise ValueError(f'no {what}: it has no "{name}"')
    if not _whole(value["task"], 16):
        raise ValueError(f'no {what}: its "task" is no structural hash')


def _whole(text: Any, base: int) -> bool:
    try:
        int(text, base)
    except (TypeError, ValueError):
        return False
    return True
