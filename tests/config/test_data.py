from __future__ import annotations

from tvmkd import config

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
