from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tvmkd.base import frame_reader
from tvmkd.base.detector_description import Description
from tvmkd.base.errors import InputError
from tvmkd.base.frame_description import FrameOptions, Frames
from tvmkd.data.decoded import NORMS

STEPS = {"color": "RGB", "scale": 1 / 255, "resize_shorter_side": 24, "crop_center": [20, 24],
         "mean": NORMS[3][0], "std": NORMS[3][1], "layout": "NCHW"}  # fmt: skip
IMAGE = (1, 3, 20, 24)


def read(
    steps: dict[str, Any] | None,
    shape: tuple[Any, ...] = IMAGE,
    output: tuple[int, ...] = (1, 4),
    dtype: str = "float32",
    given: dict[str, Any] | None = None,
    **metadata: str,
) -> Frames:
    if steps is not None:
        metadata["preprocessing"] = json.dumps(steps)
    return frame_reader.read(
        metadata,
        [{"name": "x", "shape": shape, "dtype": dtype}],
        [{"name": "y", "shape": output, "dtype": "float32"}],
        FrameOptions((640, 480), given or {}),
        "m.onnx",
    )


def test_what_a_student_says_of_itself() -> None:
    found = read(STEPS, classes='["a", "b", "c", "d"]')
    assert found.size == (24, 20)
    assert (found.shorter, found.channels, found.channels_last, found.bgr) == (24, 3, False, False)
    assert (found.task, found.classes, found.activation) == ("classify", tuple("abcd"), "softmax")
    np.testing.assert_array_equal(
        np.float32(found.subtract), np.float32(NORMS[3][0]) * np.float32(255)
    )
    assert found.to_dict()["largest"] == [640, 480]
    assert read({"resize": [20, 24]}).shorter == 0
    assert read(STEPS, output=(1, 4, 9)).task == "tensors"
    assert read(STEPS, given={"activation": "none"}).activation == "none"
    assert read({"color": "BGR"}, (1, 20, 24, 3)).channels_last
    assert read({"scale": 1}, (1, 1, 8, 8)).divide == (1.0,)


def test_a_detector_needs_no_more_than_its_description() -> None:
    about = Description(("a", "b"), 32, "softmax", (1.0,) * 4, np.zeros((5, 4), np.float32))
    inputs = [{"name": "input", "shape": (1, 3, 32, 32), "dtype": "float32"}]
    outputs = [{"name": "offsets", "shape": [1, 5, 4], "dtype": "float32"},
               {"name": "logits", "shape": [1, 5, 3], "dtype": "float32"}]  # fmt: skip
    found = frame_reader.read(about.to_metadata(), inputs, outputs, FrameOptions(), "d.onnx")
    assert (found.task, found.activation, found.outputs) == ("detect", "softmax", (1, 0))
    assert found.divide == (255.0,) * 3
    outputs[1]["shape"] = [1, 5, 4]
    with pytest.raises(InputError, match="a detector's logits must be float32 1 x 5 x 3"):
        frame_reader.read(about.to_metadata(), inputs, outputs, FrameOptions(), "d.onnx")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": None}, 'its metadata has no "preprocessing".*--preprocessing \'{"color"'),
        ({"given": {"maen": 1}}, 'preprocessing: maen is not known; did you mean "mean"'),
        ({"given": {"mean": [1, 2]}}, "mean must be a number, or a list of 3 numbers"),
        ({"given": {"std": 0}}, "std must be above 0"),
        ({"given": {"scale": -1}}, "scale must be above 0"),
        ({"given": {"scale": 1e60}}, "out of the range of float32"),
        ({"given": {"color": "CMYK"}}, "color must be one of RGB, BGR, gray"),
        ({"given": {"color": "gray"}}, "color is gray, and the input has 3 channels"),
        ({"given": {"resize_shorter_side": 10}}, "at least 24"),
        ({"given": {"crop_center": [9, 9]}}, r"crop_center must be \[20, 24\]"),
        ({"given": {"resize": [9, 9]}}, r"resize must be \[20, 24\]"),
        (
            {"given": {"interpolation": "cubic"}},
            'interpolation must be "bilinear, antialiased" or "bilinear"',
        ),
        ({"steps": {"mean": [1, 2]}, "shape": (1, 1, 8, 8)}, "a list of 1 number$"),
        ({"given": {"activation": "relu"}}, "activation must be one of"),
        ({"shape": (2, 3, 20, 24)}, "is for one input.*x: float32 2 x 3 x 20 x 24"),
        ({"dtype": "int8"}, "x: int8"),
        ({"classes": '["a"]'}, "has 1 classes in its metadata and 4 outputs"),
        ({"classes": "["}, "classes is no JSON"),
    ],
)
def test_what_cannot_be(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read(**{"steps": STEPS, **changes})
    assert "\n" not in str(caught.value)


def test_steps_of_a_user() -> None:
    assert frame_reader.parse_steps('{"scale": 1}', "--preprocessing") == {"scale": 1}
    for text, said in (("[1]", 'must be an object, such as {"color"'), ("[]", "must be an object"),
                       ("{", "is no JSON"), ("7", "must be an object")):  # fmt: skip
        with pytest.raises(InputError, match=f"--preprocessing: preprocessing {said}"):
            frame_reader.parse_steps(text, "--preprocessing")
