"""A backbone that can tell the classes apart before it has to find them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.data.detection.crops import write_crops
from tvmkd.data.detection.splits import DetectionSplits
from tvmkd.distill.loop import distill
from tvmkd.distill.team import assemble

if TYPE_CHECKING:
    from rich.progress import Progress

    from tvmkd.config import Config

CLASSIFIER = "torchvision:resnet50"  # RetinaNet's
SIZE, BATCH, LR = 32, 32, 1e-3


def pretrain(
    cfg: Config, splits: DetectionSplits, out_dir: Path, progress: Progress | None = None
) -> Path:
    """Trains the teacher's backbone as a classifier of what is in the boxes, as ImageNet does.

    Args:
        cfg: ``detection.pretrain`` is how many epochs, ``project.seed`` the seed.
        splits: the detection set; only its training split is trained on.
        out_dir: gets ``crops`` and ``backbone``; what is there is used.
        progress: shows a bar.

    Returns:
        The classifier's checkpoint.

    Raises:
        InputError: as `write_crops` and `tvmkd.distill.distill`.
    """
    from tvmkd import config

    crops = out_dir / f"crops-{splits.sha256[:16]}"
    with assemble() as team:
        if team.leader and not crops.exists():
            write_crops(splits, crops, SIZE, cfg.project.seed)
        team.wait()
    sections: dict[str, Any] = {
        "project": {"name": "backbone", "seed": cfg.project.seed},
        "data": {
            "dataset": "folder",
            "path": str(crops),
            "image_size": SIZE,
            "channels": 3,
            "batch_size": BATCH,
        },
        "student": {"model": CLASSIFIER},
        "distill": {
            "loss": "ce",
            "epochs": cfg.detection.pretrain,
            "lr": LR,
            "seeds": [cfg.project.seed],
        },
    }
    return distill(config.parse(sections), out_dir / "backbone", progress).checkpoint
