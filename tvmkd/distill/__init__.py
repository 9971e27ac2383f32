"""Distillation: a small network learns from a large one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tvmkd.distill.loop import distill
from tvmkd.distill.results import Result, Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.progress import Progress

    from tvmkd.config import Config, Data
    from tvmkd.distill.detector.run import DetectorResult

__all__ = ["Result", "Run", "distill", "samples", "train"]


def train(
    cfg: Config,
    out_dir: Path,
    progress: Progress | None = None,
    *,
    search_in: Sequence[Path] = (),
    multiple: int | None = None,
) -> Result | DetectorResult:
    """Distills classifiers or detectors, as the data has labels or boxes.

    The arguments and errors are those of `distill`.
    """
    if cfg.data.detection:
        from tvmkd.distill.detector.run import distill_detector

        return distill_detector(cfg, out_dir, progress, search_in=search_in)
    return distill(cfg, out_dir, progress, search_in=search_in, multiple=multiple)


def samples(cfg: Data, count: int) -> NDArray[np.float32]:
    """Real inputs, evenly spread over the test split: float32 ``[count, C, H, W]``.

    There are fewer where the split is smaller.

    Raises:
        InputError: the data cannot be used.
    """
    if cfg.detection:
        from tvmkd.data.detection.load import load
        from tvmkd.distill.detector.evaluate import sample
        from tvmkd.distill.detector.views import Views

        return sample(Views(load(cfg).test, cfg.image_size), count).numpy()
    from tvmkd import data

    return data.load(cfg).sample(count)
