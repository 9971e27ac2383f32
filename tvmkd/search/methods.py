"""The ways of searching, by ``[search] method``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base.errors import UsageError
from tvmkd.base.files import check_output
from tvmkd.base.wire import Event
from tvmkd.search.results import Study
from tvmkd.search.study.bench import Plan

if TYPE_CHECKING:
    from tvmkd.config import Config
    from tvmkd.targets import Target

METHODS = {
    "study": "tvmkd.search.study.studying:study",
    "supernet": "tvmkd.search.supernet.searching:search",
    "joint": "tvmkd.search.joint.searching:search",
}
"""For each method a function that takes a `Plan` and an `Event` callback and returns a `Study`."""
FOLDER = "search"
"""The search's folder, in that of the run."""


def folder(cfg: Config) -> Path:
    """Where a search's files are."""
    return cfg.project.out / FOLDER


def changed(cfg: Config, changes: Mapping[str, Any], where: str = "the command line") -> Config:
    """A config with other values in ``[search]``.

    Args:
        cfg: stays as it is.
        changes: by key; None: as in the file.
        where: they come from, for messages.

    Raises:
        InputError: a value is wrong.
    """
    from tvmkd import config

    given = {name: value for name, value in changes.items() if value is not None}
    if cfg.search is None or not given:
        return cfg
    data = cfg.model_dump(mode="json", exclude_unset=True)
    return config.parse({**data, "search": {**data["search"], **given}}, where)


def search(
    cfg: Config,
    target: Target,
    *,
    search_in: Sequence[Path] = (),
    on_event: Event | None = None,
) -> Study:
    """Searches as ``[search]`` says; the same call after an interruption continues.

    Args:
        cfg: the whole config.
        target: what networks have to be fast on.
        search_in: folders to look in for a ``module:callable``, such as that of the config file.
        on_event: gets ``study`` (what is known; at the start and after each network), ``doing``
            (what a worker does) and ``note`` (a line for the person).

    Raises:
        GateFailure: no network of the space meets the budget.
        InputError: something that the config names cannot be used, or the search in the folder is
            another one.
        UsageError: the settings do not go together.
        MissingError: a package, a board, a database or a compiler stack is missing.
    """
    plan = Plan(cfg, target, folder(cfg), tuple(search_in))
    chosen = plan.search.method
    check_output(plan.folder, folder=True)
    module, _, name = METHODS[chosen].partition(":")
    try:
        method: Callable[[Plan, Event], Study] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise UsageError(f'this tvmkd has no method "{chosen}"; use "study"') from None
    event = on_event or _silent
    if cfg.distill.latency_weight > 0:
        text = "warning: a search weighs latency itself: [distill] latency has no effect in it"
        event("note", {"text": text})
    return method(plan, event)


def _silent(name: str, data: dict[str, Any]) -> None:
    """Shows nothing."""
