from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tvmkd.base.detector_description import Description
from tvmkd.base.frame_description import Frames
from tvmkd.runtime.standalone_program import NATIVE
from tvmkd.stacks.standalone import frames
from tvmkd.stacks.standalone.c_text import quoted


def described(**changes: Any) -> Frames:
    plain: dict[str, Any] = {
        "largest": (640, 480), "size": (64, 48), "channels": 3, "bgr": True,
        "channels_last": False, "shorter": 72, "antialias": True, "subtract": (0.1, 1.0, 2.0),
        "divide": (255.0, 254.0, 253.0), "task": "classify", "classes": ('a"', "b"),
        "activation": "softmax", "outputs": (1,), "class_count": 2,
    }  # fmt: skip
    return Frames(**{**plain, **changes})


def test_numbers_are_exact_and_names_stay_in_their_strings() -> None:
    text = frames.write(described(), "0", quoted)
    assert f"subtract[] = {{{(0.1).hex()}f, {(1.0).hex()}f, {(2.0).hex()}f}}" in text
    assert r'"a\042",' in text
    for line in (
        ".task = TVMKD_CLASSIFY", ".max_width = 640", ".max_height = 480", ".width = 64",
        ".height = 48", ".shorter = 72", ".bgr = 1", ".channels_last = 0", ".antialias = 1",
        ".activation = SCORES_SOFTMAX", ".scores = 1", ".class_count = 2", ".max_results = 2",
    ):  # fmt: skip
        assert f"{line},\n" in text


@pytest.mark.parametrize(("threshold", "written"), [(None, "0.05"), (0.375, "0.375")])
def test_a_detectors_threshold_is_the_calibrated_one(threshold: Any, written: str) -> None:
    anchors = np.zeros((3, 4), np.float32)
    about = Description(("a", "b"), 64, "softmax", (1.0,) * 4, anchors, threshold)
    text = frames.write(described(task="detect", detector=about), "anchors", quoted)
    assert f".threshold = {written},\n" in text
    assert ".overlap = 0.5,\n" in text


@pytest.mark.parametrize("classes", [(), ("one",)])
def test_classes_may_be_unknown(classes: tuple[str, ...]) -> None:
    text = frames.write(described(classes=classes), "0", quoted)
    assert f".classes = {'classes' if classes else '0'},\n" in text
    assert ("classes[] =" in text) is bool(classes)


def test_the_files_are_there() -> None:
    for name in frames.SOURCES:
        assert (NATIVE / f"{name}.c").is_file()
