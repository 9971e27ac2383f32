"""Loads the detection set of a config's ``[data]``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvmkd.base import resources
from tvmkd.data.detection.splits import DetectionSplits, Division

if TYPE_CHECKING:
    from tvmkd.config import Data


def load(cfg: Data) -> DetectionSplits:
    """Loads the set selected by ``[data]``; the same config gives the same splits.

    Raises:
        InputError: the folder contains no such set, or an annotation or an image is invalid.
    """
    division = Division(cfg.val_fraction, cfg.test_fraction, cfg.split_seed)
    if cfg.dataset == "voc":
        from tvmkd.data.detection.voc import load_voc

        assert cfg.path is not None
        return load_voc(cfg.path, cfg.classes or None, division)
    if cfg.dataset == "coco":
        from tvmkd.data.detection.coco import load_coco

        assert cfg.path is not None
        return load_coco(cfg.path, division)
    from tvmkd.data.detection.scenes import VERSION, Recipe, load_scenes

    recipe = Recipe(*cfg.scenes, size=cfg.image_size, seed=cfg.split_seed)
    name = "-".join(map(str, (*cfg.scenes, cfg.image_size, cfg.split_seed, VERSION)))
    return load_scenes(cfg.path or resources.cache(f"scenes-{name}"), recipe)
