"""Tasks by name: registered ones, and a user's ``module:callable``."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tvmkd.base import user_code
from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.base.text import suggest_or_own
from tvmkd.distill.task import Task

if TYPE_CHECKING:
    from tvmkd.config import Config

REGISTERED = {
    "classification": "tvmkd.distill.classification:ClassificationTask",
    "detection": "tvmkd.distill.detection:DetectionTask",
}


def make(cfg: Config, search_in: Sequence[Path] = ()) -> Task:
    """The task of a config: that of ``[data] task``, or the one that the data set is for.

    Args:
        cfg: the whole config; a ``module:callable`` is called with it and returns a `Task`.
        search_in: folders to look in for a ``module:callable``.

    Raises:
        InputError: there is no such task, its code fails, or the data cannot be used.
    """
    name = cfg.data.task or ("detection" if cfg.data.detection else "classification")
    what = f'[data] task "{name}"'
    if name in REGISTERED:
        module, _, attribute = REGISTERED[name].partition(":")
        found: Task = getattr(importlib.import_module(module), attribute)(cfg, search_in)
        return found
    if ":" not in name:
        raise InputError(f"{what}: not known" + suggest_or_own(name, REGISTERED))
    factory = user_code.load(name, what, search_in)
    try:
        made = factory(cfg)
    except TvmkdError:
        raise
    except Exception as error:  # a user's code may fail in any way
        raise InputError(f"{what}: {user_code.describe(error, __file__)}") from error
    if not isinstance(made, Task):
        raise InputError(
            f"{what}: returns {type(made).__name__}; it has to return a tvmkd.distill.task.Task"
        )
    made.search_in = made.search_in or tuple(search_in)
    return made
