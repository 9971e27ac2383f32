"""How much of a model runs tuned kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tvmkd.stacks.builder import Builder, Chosen
from tvmkd.tuning.space import Task

UNKNOWN_SPEED = 1e9
"""Operations a second that are assumed if no task is tuned; then only shares are reported."""


def coverage(
    builder: Builder,
    chosen: Chosen,
    aside: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """Which tasks run tuned, and their share of the estimated time.

    A tuned task counts with its measured time; an untuned one with its operations at the median
    speed of the tuned tasks of its kind (of all tuned tasks if its kind has none). That is a lower
    bound, since untuned kernels are slower.

    Args:
        builder: of the model.
        chosen: the records that the library was built with.
        aside: the records that were set aside, see `tvmkd.stacks.wrong_kernel.build_until_right`.

    Returns:
        JSON-safe: numbers of ``tasks`` and ``tuned`` ones, ``tuned_share`` of the time (0 to 1),
        ``estimate_us`` (all kernels; None if nothing is tuned), ``untuned`` tasks with their
        ``share`` of the time, and ``set_aside``.
    """
    tasks = list(builder.tasks.values())
    speeds: dict[str, list[float]] = {}
    for task in tasks:
        if task.key in chosen and task.flop:
            speed = task.flop / chosen[task.key].seconds
            speeds.setdefault(task.kind, []).append(speed)
            speeds.setdefault("", []).append(speed)

    def estimate(task: Task) -> float:
        if task.key in chosen:
            return task.weight * chosen[task.key].seconds
        known = sorted(speeds.get(task.kind) or speeds.get("") or [UNKNOWN_SPEED])
        return task.weight * task.flop / known[len(known) // 2]

    total = sum(map(estimate, tasks)) or 1.0
    untuned = [task for task in tasks if task.key not in chosen]
    return {
        "tasks": len(tasks),
        "tuned": len(tasks) - len(untuned),
        "tuned_share": 1.0 - sum(map(estimate, untuned)) / total,
        "estimate_us": total * 1e6 if len(untuned) < len(tasks) else None,
        "untuned": [
            {
                "name": task.name,
                "kind": task.kind,
                "share": estimate(task) / total,
                "schedule": builder.default_schedule(task),
            }
            for task in untuned
        ],
        "set_aside": [dict(entry) for entry in aside],
    }
