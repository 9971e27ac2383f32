"""Opens the watch that ``[distill] watch`` asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tvmkd.base.errors import UsageError
from tvmkd.boards import here

if TYPE_CHECKING:
    from tvmkd.config import Config
    from tvmkd.distill.task import Task
    from tvmkd.search.watch.watch import Watch
    from tvmkd.targets import Target

FOLDER = "watch"


def check(cfg: Config, target: Target) -> None:
    """Looks for what cannot work before anything is trained.

    Raises:
        UsageError: the target does not run on this machine, and there is no tracker.
    """
    reason = here.why_not(target)
    if reason is not None and cfg.tune.tracker == "local":
        raise UsageError(
            f"[distill] watch runs the student, and {target.name} does not run on this machine: "
            f"{reason}; give [tune] tracker and key of its boards"
        )


def open_watch(
    cfg: Config,
    target: Target,
    folder: Path,
    task: Task,
    records: Sequence[Path],
    code: str | None = None,
) -> Watch:
    """The watch of a config. Use it as a context manager.

    Args:
        cfg: the whole config.
        target: what the students are built for.
        folder: of the run.
        task: what they learn.
        records: folders that may hold tuning records.
        code: identifies the user's code behind the student, if any.

    Raises:
        UsageError: as `check`.
    """
    from tvmkd.config import parse_tracker
    from tvmkd.search.latency.target_boards import TargetBoards
    from tvmkd.search.watch.artifacts import Artifacts
    from tvmkd.search.watch.watch import Watch
    from tvmkd.tuning.records import holds_records

    check(cfg, target)
    limit, tune = cfg.distill.limit, cfg.tune
    assert limit is not None
    # A CPU's code is timed here whatever the tracker; there may be several GPUs of a kind.
    on_cpu = target.runs_here() is None
    boards = TargetBoards(
        target,
        tune.stack,
        tracker=None if on_cpu or tune.tracker == "local" else parse_tracker(tune.tracker),
        key=tune.key,
    )
    tuned = [path for path in dict.fromkeys(records) if holds_records(path)]
    shape = (cfg.export.batch, *task.input_shape[1:])
    artifacts = Artifacts(folder / FOLDER, target, tune.stack, tuned, shape, code)
    kind = "baseline" if cfg.distill.loss == "ce" else "distilled"
    return Watch(
        folder, task, target, boards, artifacts, limit.value, cfg.distill.watch_every, kind, on_cpu
    )
