from __future__ import annotations

import json
from typing import Any

import pytest

from tvmkd.base.frame_description import LARGEST, FrameOptions, Frames


def frames(**changes: Any) -> Frames:
    plain: dict[str, Any] = {
        "largest": (640, 480), "size": (64, 48), "channels": 3, "bgr": False,
        "channels_last": False, "shorter": 0, "antialias": True, "subtract": (0.0, 1.0, 2.0),
        "divide": (255.0, 255.0, 255.0), "task": "classify", "classes": ("a", "b"),
    }  # fmt: skip
    return Frames(**{**plain, **changes})


def test_full_hd_is_the_largest_frame_by_default() -> None:
    assert FrameOptions() == FrameOptions(LARGEST, {})
    assert LARGEST == (1920, 1080)


@pytest.mark.parametrize(("shorter", "resize"), [(0, "stretch"), (256, "crop")])
def test_what_a_manifest_says(shorter: int, resize: str) -> None:
    said = frames(shorter=shorter).to_dict()
    assert json.loads(json.dumps(said)) == said
    assert said == {
        "task": "classify", "largest": [640, 480], "size": [64, 48], "channels": 3,
        "resize": resize, "subtract": [0.0, 1.0, 2.0], "divide": [255.0, 255.0, 255.0],
        "classes": ["a", "b"],
    }  # fmt: skip
