from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_detectors import small

from tvmkd import config
from tvmkd.data.detection.load import load
from tvmkd.data.detection.scenes import Recipe, write_scenes
from tvmkd.distill import checkpoint as files
from tvmkd.distill.detector import pretrain as module
from tvmkd.errors import InputError
from tvmkd.models.detectors import retinanet


def test_the_classifier_is_what_the_teacher_starts_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scenes(tmp_path / "scenes", Recipe(40, 40, 40, size=64))
    changes: dict[str, Any] = {
        "data": {"scenes": [40, 40, 40]},
        "teacher": {"model": "retinanet", "args": {}},
        "detection": {"pretrain": 1},
    }
    cfg = small(tmp_path, **changes)
    monkeypatch.setattr(module, "BATCH", 8)
    splits = load(cfg.data)
    path = module.pretrain(cfg, splits, cfg.project.out)
    weights = files.weights(path)
    assert weights["fc.weight"].shape[0] == 11  # ten digits and nothing
    detector = retinanet(10, 64)
    detector.load_backbone(weights)
    own = detector.state_dict()["backbone.body.layer4.2.conv3.weight"]
    assert torch.equal(own, weights["layer4.2.conv3.weight"])
    trained = cfg.project.out / "backbone" / "students" / "baseline-3.pt"
    before = trained.stat().st_mtime_ns
    assert module.pretrain(cfg, splits, cfg.project.out) == path
    assert trained.stat().st_mtime_ns == before


def test_only_a_retinanet_is_pretrained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pretrain is for a teacher retinanet"):
        small(tmp_path, detection={"pretrain": 1})
    assert isinstance(small(tmp_path), config.Config)
