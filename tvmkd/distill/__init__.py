"""Distillation: a small network learns from a large one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tvmkd.distill import tasks
from tvmkd.distill.results import Result, Run
from tvmkd.distill.students import distill
from tvmkd.distill.task import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.progress import Progress

    from tvmkd.config import Config
    from tvmkd.distill.shaping import Shaper
    from tvmkd.distill.training import AfterCheckpoint

__all__ = ["Result", "Run", "Task", "distill", "make_task", "samples", "train"]

make_task = tasks.make


def train(
    cfg: Config,
    out_dir: Path,
    progress: Progress | None = None,
    *,
    search_in: Sequence[Path] = (),
    multiple: int | None = None,
    task: Task | None = None,
    shaper: Shaper | None = None,
    after_checkpoint: AfterCheckpoint | None = None,
) -> Result:
    """Distills for the config's task; the arguments and errors are those of `distill`."""
    return distill(
        cfg,
        out_dir,
        progress,
        search_in=search_in,
        multiple=multiple,
        task=task,
        shaper=shaper,
        after_checkpoint=after_checkpoint,
    )


def samples(cfg: Config, count: int, search_in: Sequence[Path] = ()) -> NDArray[np.float32]:
    """Real inputs, evenly spread over the test split: float32 ``[count, C, H, W]``.

    There are fewer where the split is smaller.

    Raises:
        InputError: the data cannot be used.
    """
    return tasks.make(cfg, search_in).samples(count)
