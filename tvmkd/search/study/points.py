"""The trials of an Optuna study as the points of a search, and what a trial keeps to be one.

All is in user attributes of trials, in the study's unit, so that Optuna's dashboard shows it as
columns. What is measured after a trial has ended is in an attribute of the study.
"""

from __future__ import annotations

import functools
import math
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base.errors import InputError
from tvmkd.search.results import Point, State

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

KEY = "key"
"""Tells structures apart; see `tvmkd.search.space.Space.key`."""
STRUCTURE = "structure"
OWNER, BEAT = "owner", "beat"
"""See `tvmkd.search.study.owners`."""
VOID = "void"
"""Why a trial is no network that was tried: it was handed back to be continued by a later trial, or
another one had the same structure first."""
INFEASIBLE = "infeasible"
"""Why a network was not trained."""
ERROR = "error"
MEASURED, BOARD_SECONDS = "measured", "board_seconds"
TUNING = "tuning_board_seconds"
"""Attribute of a study: for how long boards were busy with tuning."""
HOST = "host"
DEATHS = "deaths"
"""Processes that ended while they worked on the structure."""
COPIED = (
    "test_accuracy",
    "predicted",
    "low",
    "high",
    "interpolated",
    "macs",
    "parameters",
    "epochs",
    "seconds",
    "seed",
)
"""Attributes that a point has under the same name."""


def point(
    trial: FrozenTrial, later: Mapping[str, Mapping[str, float]], folder: Path
) -> Point | None:
    """The point of a trial; None if it is not over, or is none.

    Args:
        trial: of the study.
        later: what was measured after trials ended, see `measured_later`.
        folder: the search's folder on this machine.
    """
    attributes = trial.user_attrs
    state = _state(trial)
    if state is None:
        return None
    found = {name: attributes[name] for name in COPIED if attributes.get(name) is not None}
    measured = attributes.get(MEASURED, later.get(str(trial.number), {}).get(MEASURED))
    checkpoint = attributes.get("checkpoint")
    return Point(
        number=trial.number,
        structure=attributes.get(STRUCTURE, trial.params),
        state=state,
        accuracy=attributes.get("accuracy"),
        measured=measured,
        checkpoint=checkpoint if _present(folder, attributes) else None,
        error=attributes.get(ERROR, attributes.get(INFEASIBLE)),
        **found,
    )


def _present(folder: Path, attributes: Mapping[str, Any]) -> bool:
    """Whether a trial's weights are in the folder.

    Another machine may have trained them elsewhere, while an unfinished training of the same
    network lies here.
    """
    if not attributes.get("checkpoint"):
        return False
    path = folder / attributes["checkpoint"]
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return False
    return attributes.get(HOST) in (None, platform.node()) or (
        _epochs(path, changed) >= attributes.get("epochs", 0)
    )


@functools.lru_cache(maxsize=1024)
def _epochs(path: Path, changed: int) -> int:
    """The epochs in a checkpoint; -1: it cannot be read. ``changed``: when it was written."""
    from tvmkd.models import checkpoint

    del changed
    try:
        return checkpoint.load(path).epoch
    except InputError:
        return -1


def points(
    trials: Iterable[FrozenTrial], later: Mapping[str, Mapping[str, float]], folder: Path
) -> list[Point]:
    """All points, by number."""
    found = (point(trial, later, folder) for trial in trials)
    return [each for each in found if each is not None]


def counted(trial: FrozenTrial) -> bool:
    """Whether a trial is one of ``[search] trials``: its network was trained, maybe not to the end.

    Networks that are too slow, that failed or that were tried before are not counted.
    """
    return _state(trial) in ("complete", "pruned")


def active(trial: FrozenTrial) -> bool:
    """Whether a trial waits or runs."""
    return not trial.state.is_finished() and VOID not in trial.user_attrs


def measured_later(attributes: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What was measured after trials ended, by their numbers, from the attributes of a study."""
    head = f"{MEASURED}:"
    return {
        name.removeprefix(head): value
        for name, value in attributes.items()
        if name.startswith(head)
    }


def board_seconds(trials: Iterable[FrozenTrial], later: Mapping[str, Mapping[str, float]]) -> float:
    """How long boards were busy with measuring."""
    spent = [trial.user_attrs.get(BOARD_SECONDS, 0.0) for trial in trials]
    return math.fsum([*spent, *(each.get(BOARD_SECONDS, 0.0) for each in later.values())])


def _state(trial: FrozenTrial) -> State | None:
    from optuna.trial import TrialState

    if not trial.state.is_finished() or VOID in trial.user_attrs:
        return None
    if INFEASIBLE in trial.user_attrs:
        return "infeasible"
    states: dict[TrialState, State] = {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: "failed",
    }
    return states[trial.state]
