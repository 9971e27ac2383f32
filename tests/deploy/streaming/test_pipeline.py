from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector_files import onnx_detector, patches, scene
from PIL import Image
from streams import fake_model

from tvmkd.base.errors import InputError
from tvmkd.base.manifest import TensorSpec
from tvmkd.data.pictures import Decoder
from tvmkd.deploy.streaming.model import Whole, open_model
from tvmkd.deploy.streaming.pipeline import InLibrary, is_image, pipeline_of
from tvmkd.detection import runtime


def spec(shape: list[Any], dtype: str = "float32", name: str = "input") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype=dtype)


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        ([spec([1, 3, 8, 16])], True),
        ([spec([1, 1, 8, 16])], True),
        ([spec([1, 8, 16, 3])], True),
        ([spec([1, 8, 16, 3], "uint8")], False),
        ([spec([1, 7, 8, 16])], False),
        ([spec([2, 3, 8, 16])], False),
        ([spec([1, 3, 8])], False),
        ([spec([1, 3, 8, 16], "int64")], False),
        ([spec([1, 3, 8, 16]), spec([1], name="b")], False),
    ],
)
def test_an_image_is_known_by_its_shape(inputs: list[TensorSpec], found: bool) -> None:
    assert is_image(inputs) is found


def test_the_whole_frame_becomes_0_to_1_where_nothing_is_known() -> None:
    steps = pipeline_of(fake_model())
    frame = np.full((40, 30, 3), 255, np.uint8)
    frame[..., 1], frame[..., 2] = 51, 0
    (values,) = steps.prepare(frame)
    assert (values.shape, values.dtype) == ((1, 3, 8, 16), np.float32)
    assert np.allclose(values[0, :, 3, 7], [1.0, 0.2, 0.0])
    assert "assumed" in steps.kind


def test_the_steps_of_the_training_are_applied() -> None:
    metadata = {
        "preprocessing": json.dumps(
            {
                "resize_shorter_side": 8,
                "crop_center": [8, 8],
                "mean": [0.5, 0.2, 0.0],
                "std": [0.5, 1.0, 2.0],
            }
        )
    }
    model = fake_model(inputs=[spec([1, 3, 8, 8])], metadata=metadata)
    steps = pipeline_of(model)
    frame = np.zeros((8, 24, 3), np.uint8)
    frame[:, 8:16] = 255  # the square in the middle
    (values,) = steps.prepare(frame)
    assert np.allclose(values[0, :, 4, 4], [1.0, 0.8, 0.5])
    # Nothing of what lies beside it.
    assert np.allclose(values, values[:, :, 4:5, 4:5])
    assert "as trained" in steps.kind


def test_pictures_are_prepared_as_in_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for width, height in ((30, 20), (20, 30), (9, 9), (16, 40)):
        frame = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(frame).save(tmp_path / "a.png")
        trained = Decoder(9, 3)(tmp_path / "a.png")
        steps = {"resize_shorter_side": 9, "crop_center": [9, 9]}
        metadata = {"preprocessing": json.dumps(steps)}
        (values,) = pipeline_of(fake_model(inputs=[spec([1, 3, 9, 9])], metadata=metadata)).prepare(
            frame
        )
        assert np.allclose(values[0], trained / 255, atol=1e-6)


def test_gray_and_channels_last_and_blue_first() -> None:
    gray = pipeline_of(fake_model(inputs=[spec([1, 1, 4, 4])]))
    (values,) = gray.prepare(np.full((4, 4, 3), 51, np.uint8))
    assert np.allclose(values, 0.2)
    frame = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    last = pipeline_of(fake_model(inputs=[spec([1, 4, 4, 3])]))
    assert np.allclose(last.prepare(frame)[0][0], frame / 255)
    metadata = {"preprocessing": '{"color": "BGR"}'}
    bgr = pipeline_of(fake_model(inputs=[spec([1, 3, 4, 4])], metadata=metadata))
    assert np.allclose(bgr.prepare(frame)[0][0, 0], frame[..., 2] / 255)


def test_a_library_that_takes_frames_does_everything_itself() -> None:
    model = fake_model(run_frame=lambda pixels, deadline: Whole(1, 2, 0))
    assert isinstance(pipeline_of(model), InLibrary)


def test_the_class_of_logits_and_other_outputs_as_they_are() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    logits = np.log(np.array([[1.0, 7.0, 2.0]], np.float32))
    best, sure = pipeline_of(fake_model()).finish([logits], frame)
    assert best == 1
    assert sure == pytest.approx(0.7)
    maps = pipeline_of(fake_model(outputs=[spec([1, 3, 8, 8])]))
    assert maps.finish([logits], frame) == [logits]


def test_a_model_of_other_inputs_gets_the_same_arrays_each_time() -> None:
    model = fake_model(inputs=[spec([1, 5]), spec([2], "int64", "b")])
    steps = pipeline_of(model)
    first = steps.prepare(np.zeros((4, 4, 3), np.uint8))
    assert [array.shape for array in first] == [(1, 5), (2,)]
    assert first[1].dtype == np.int64
    assert steps.prepare(np.ones((4, 4, 3), np.uint8)) is first
    assert steps.finish(["any"], np.zeros((4, 4, 3), np.uint8)) == ["any"]


def test_a_detectors_boxes_are_those_of_tvmkd_detect(tmp_path: Path) -> None:
    path = onnx_detector(tmp_path / "d.onnx", names=("logits", "offsets"))
    model = open_model(path)
    steps = pipeline_of(model)
    for width, height in ((64, 32), (640, 480)):
        frame = scene(width, height)
        outputs, taken = model.run(steps.prepare(frame), 0)
        found, wanted = steps.finish(outputs, frame), runtime.load(path)(frame)
        assert taken == 0
        assert (found.boxes == wanted.boxes).all()
        assert len(found) == len(patches(width, height))


def test_free_sizes_are_refused() -> None:
    with pytest.raises(InputError, match=r"has free sizes .*--dim"):
        pipeline_of(fake_model(inputs=[spec(["batch", 3, 8, 8])]))


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"mean": "high"}', '{"std": [0.0]}', '{"mean": [[1]]}', '{"colour": "RGB"}'],
)
def test_damaged_steps_are_one_line(text: str) -> None:
    with pytest.raises(InputError, match="preprocessing") as raised:
        pipeline_of(fake_model(metadata={"preprocessing": text}))
    assert "\n" not in str(raised.value)
