"""Opens the latency table that ``[distill] latency = "table"`` shapes students with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tvmkd.base.errors import MissingError
from tvmkd.base.files import file_hash

if TYPE_CHECKING:
    from rich.progress import Progress

    from tvmkd.config import Config
    from tvmkd.distill.training import AfterCheckpoint
    from tvmkd.search.soft.shaper import LatencyShaper
    from tvmkd.targets import Target

STUDENTS = "students"


def table_folder(cfg: Config, folder: Path) -> Path:
    """The folder of the latency table: of ``[distill]``, of ``[search]``, or the run's own.

    Args:
        cfg: the whole config.
        folder: of the run.
    """
    from tvmkd.search.latency import FOLDER

    named = cfg.distill.table or (cfg.search.table if cfg.search else None)
    return folder / "search" / FOLDER if named is None else named


def check(cfg: Config, target: Target, folder: Path) -> None:
    """Looks for the table before anything is trained.

    Raises:
        MissingError: there is none.
        InputError: it was made for another target or with another stack.
    """
    from tvmkd.tuning.records import holds_records
    from tvmkd.tuning.session import check_made_for

    table = table_folder(cfg, folder)
    if not holds_records(table):
        raise MissingError(
            f'[distill] latency = "table": no latency table of {target.name} at {table}; make one '
            f"with: tvmkd latency table --space tvmkd.toml --target {cfg.target.name} "
            f"--records {table}"
        )
    check_made_for(table, target.to_dict(), cfg.tune.stack)


@contextlib.contextmanager
def open_shaper(
    cfg: Config,
    target: Target,
    folder: Path,
    progress: Progress | None = None,
    watch: AfterCheckpoint | None = None,
) -> Iterator[LatencyShaper]:
    """The shaper of a config's students; it only reads the table.

    Args:
        cfg: the whole config.
        target: of the table.
        folder: of the run; gets ``students/shaping/differences.json``.
        progress: shows what the table is asked.
        watch: see `LatencyShaper`.

    Raises:
        MissingError, InputError: as `check`.
    """
    from tvmkd.distill.shaping import FOLDER
    from tvmkd.search.latency.table import LatencyTable
    from tvmkd.search.soft.shaper import LatencyShaper

    check(cfg, target, folder)
    section, table = cfg.distill, table_folder(cfg, folder)
    with LatencyTable(table, target, None, cfg.tune.stack) as latency:
        yield LatencyShaper(
            latency,
            file_hash(table),
            section.latency_weight,
            folder / STUDENTS / FOLDER,
            target.channel_multiple,
            section.shape,
            progress,
            watch,
        )
