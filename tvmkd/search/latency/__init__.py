"""How long a network takes on the target: kernels are timed there and added up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tvmkd.base import console

if TYPE_CHECKING:
    from tvmkd.config import Config
    from tvmkd.search.latency.macs import Macs
    from tvmkd.search.latency.table import LatencyTable
    from tvmkd.targets import Target

__all__ = ["open_latency"]

FOLDER = "table"
"""Of the table, in that of a search."""


def open_latency(cfg: Config, target: Target, folder: Path) -> LatencyTable | Macs:
    """The latency predictor of a config. Use it as a context manager.

    Args:
        cfg: ``[search] table`` and ``budget`` (millions of instructions are counted), ``[tune]
            tracker``, ``key``, ``boards`` and ``stack``.
        target: to predict for.
        folder: of the search; its ``table`` is used where ``[search]`` names none.

    Returns:
        a table, which may still be empty; multiply-accumulates, with a warning, if the target does
        not run here, there are no boards, and there is no table.

    Raises:
        InputError: the table is damaged, or was made for another target.
    """
    from tvmkd.boards import here
    from tvmkd.config import parse_tracker
    from tvmkd.search.latency.macs import Macs
    from tvmkd.search.latency.table import LatencyTable
    from tvmkd.search.latency.target_boards import TargetBoards
    from tvmkd.tuning.records import holds_records

    search, tune = cfg.search, cfg.tune
    limit = search.limit if search else None
    named = search.table if search else None
    folder = folder / FOLDER if named is None else named
    boards = None
    local = tune.tracker == "local"
    reason = here.why_not(target) if local else None
    if reason is None:
        boards = TargetBoards(
            target,
            tune.stack,
            tracker=None if local else parse_tracker(tune.tracker),
            key=tune.key,
            evaluator="icount" if limit is not None and limit.unit == "M" and not local else "time",
            boards=tune.boards,
        )
    elif not holds_records(folder):
        console.warn(
            f"{target.name}: {reason}, [tune] tracker names no boards, and there is no latency "
            "table: networks are judged by multiply-accumulates, which say little about time"
        )
        return Macs(target, tune.stack)
    return LatencyTable(folder, target, boards, tune.stack)
