from __future__ import annotations

from typing import Any

import pytest

from tvmkd import config
from tvmkd.base.errors import InputError

NAMED = {"project": {"name": "a"}}


def test_a_camera_and_its_ranges() -> None:
    wanted = {"augment": "camera+affine", "camera": {"motion": [0, 5], "effects": ["motion"]}}
    cfg = config.parse({**NAMED, "data": wanted})
    assert cfg.data.camera.motion == (0.0, 5.0)
    assert cfg.data.camera.effects == ("motion",)
    assert cfg.data.camera.defocus == config.Camera().defocus
    assert config.parse({**NAMED, "data": {"augment": "camera"}}).data.camera == config.Camera()
    # What a config dumps can be read again, with a camera or without.
    for name in ("none", "camera"):
        dumped = config.Data(augment=name).model_dump(mode="json")
        assert config.Data.model_validate(dumped).augment == name


SCENES = {**NAMED, "data": {"dataset": "scenes", "image_size": 64}}


@pytest.mark.parametrize(
    ("detection", "line"),
    [
        ({"losses": [{"loss": "fdg"}]}, r'there is no loss "fdg"; did you mean "fgd"\?'),
        ({"losses": [{"loss": "sum"}]}, "known: fgd, mgd, pkd, crosskd, ld; or give module:"),
        ({"losses": [{"loss": "ld", "wieght": 2}]}, r'losses.0.wieght"; did you mean "weight"\?'),
        ({"losses": [{"loss": "ld", "weight": 0}]}, "detection.losses.0.weight"),
        ({"box_loss": "l2"}, "detection.box_loss"),
        ({"threshold": 1.0}, "detection.threshold"),
        ({"threshold": "f3"}, "detection.threshold"),
    ],
)
def test_losses_and_thresholds_of_detectors(detection: Any, line: str) -> None:
    with pytest.raises(InputError, match=line):
        config.parse({**SCENES, "detection": detection})


def test_further_losses_need_a_teacher() -> None:
    changes = {"detection": {"losses": [{"loss": "pkd"}]}, "distill": {"loss": "ce"}}
    with pytest.raises(InputError, match=r'distill.loss = "ce" has no teacher, and detection.loss'):
        config.parse({**SCENES, **changes})


def test_keys_that_are_not_used_leave_the_identity_as_it_was() -> None:
    """Trainings of before these keys existed must not start again."""
    old = {"augment", "variants", "classification", "boxes", "features", "temperature"}
    assert set(config.parse(SCENES).detection.identity()) == old
    given = {"losses": [{"loss": "own:loss"}], "box_loss": "ciou", "threshold": 0.25}
    found = config.parse({**SCENES, "detection": given}).detection.identity()
    assert set(found) == old | set(given)
    assert found["losses"][0] == {
        "loss": "own:loss",
        "weight": 1.0,
        "schedule": "constant",
        "args": {},
    }
