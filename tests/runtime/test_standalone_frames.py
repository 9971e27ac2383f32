"""Frames in C against the project's own pre-processing, decoding and suppression in Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from frames_program import RACES, Case, Found, FrameProgram
from PIL import Image
from torch.nn import functional

from tvmkd.base import frame_reader
from tvmkd.base.detector_description import Description
from tvmkd.base.frame_description import FrameOptions, Frames
from tvmkd.data.decoded import NORMS
from tvmkd.data.pictures import Decoder
from tvmkd.data.splits import TensorImages
from tvmkd.detection import preprocess
from tvmkd.detection.decode import Detections, decode
from tvmkd.detection.nms import suppress

SIZES = ((64, 48), (32, 32), (1, 1), (3, 300), (300, 3), (33, 31), (15, 300), (299, 257), (17, 40))
LARGEST = (300, 300)


def noise(width: int, height: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def described(
    steps: dict[str, Any], shape: tuple[int, ...], outputs: list[tuple[int, ...]], **metadata: str
) -> Frames:
    return frame_reader.read(
        {"preprocessing": json.dumps(steps), **metadata},
        [{"name": "x", "shape": shape, "dtype": "float32"}],
        [{"name": f"y{number}", "shape": each, "dtype": "float32"}
         for number, each in enumerate(outputs)],
        FrameOptions(LARGEST),
        "m.onnx",
    )  # fmt: skip


def program(folder: Path, steps: dict[str, Any], shape: tuple[int, ...]) -> FrameProgram:
    """With one output that means nothing."""
    frames = described(steps, shape, [(1, 1, 1)])
    return FrameProgram(folder, frames, shape, (1, 1, 1))


def seen(found: Found) -> np.ndarray:
    assert found.status == 0, found.error
    assert found.seen is not None
    return found.seen


NOTHING = [np.zeros((1, 1, 1), np.float32)]


def test_the_whole_frame_is_resized_as_pillow_does(tmp_path: Path) -> None:
    run = program(tmp_path, {"scale": 1 / 255, "resize": [40, 40]}, (1, 3, 40, 40))
    frames = [noise(*size) for size in SIZES]
    frames += [np.full((50, 60, 3), value, np.uint8) for value in (0, 255)]
    wanted = [preprocess.prepare(frame, 40) for frame in frames]
    for threads in (1, 3):
        for found, array in zip(run([Case(each, NOTHING) for each in frames], threads), wanted,
                                strict=True):  # fmt: skip
            np.testing.assert_array_equal(seen(found), array)
    # The same frames with gaps between the rows, bottom up, and in other orders of their bytes.
    frame = noise(33, 31)
    four = np.concatenate([frame, noise(33, 31, 1)], 2)
    cases = [
        Case(frame, NOTHING, stride=33 * 3 + 5),
        Case(frame, NOTHING, stride=-(33 * 3 + 5)),
        Case(frame[..., ::-1], NOTHING, order=1),
        Case(four, NOTHING, order=2),
        Case(four[..., [2, 1, 0, 3]], NOTHING, order=3),
    ]
    for found in run(cases):
        np.testing.assert_array_equal(seen(found), preprocess.prepare(frame, 40))
    gray = noise(33, 31, 1)
    (found,) = run([Case(gray, NOTHING, order=4)])
    np.testing.assert_array_equal(seen(found), preprocess.prepare(gray.repeat(3, 2), 40))


def test_threads_do_not_race(tmp_path: Path) -> None:
    frames = described({"resize": [40, 40]}, (1, 3, 40, 40), [(1, 1, 1)])
    run = FrameProgram(tmp_path, frames, (1, 3, 40, 40), (1, 1, 1), sanitize=RACES)
    pictures = [noise(299, 257, seed=seed) for seed in range(20)]
    for picture, found in zip(
        pictures, run([Case(each, NOTHING) for each in pictures], 3), strict=True
    ):
        np.testing.assert_array_equal(seen(found), preprocess.prepare(picture, 40))


FOLDER = {"color": "RGB", "scale": 1 / 255, "resize_shorter_side": 24, "crop_center": [24, 24],
          "interpolation": "bilinear, antialiased", "mean": NORMS[3][0], "std": NORMS[3][1],
          "layout": "NCHW"}  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
def test_the_centre_is_cut_out_as_a_folder_of_images_is_read(tmp_path: Path, channels: int) -> None:
    mean, std = NORMS[channels]
    steps = {**FOLDER, "mean": mean, "std": std, "color": "gray" if channels == 1 else "RGB"}
    run = program(tmp_path, steps, (1, channels, 24, 24))
    frames = [noise(*size) for size in SIZES]
    for frame, found in zip(frames, run([Case(each, NOTHING) for each in frames]), strict=True):
        Image.fromarray(frame).save(tmp_path / "frame.png")
        pixels = torch.tensor(Decoder(24, channels)(tmp_path / "frame.png"))[None]
        images = TensorImages(pixels, torch.zeros(1), mean, std)
        np.testing.assert_array_equal(seen(found), images.get(torch.tensor([0])).numpy())


def test_the_digits_are_interpolated_as_torch_does(tmp_path: Path) -> None:
    steps = {"color": "gray", "scale": 1 / 16, "resize": [32, 32], "interpolation": "bilinear",
             "mean": [0.305], "std": [0.35], "source": "8x8 pixels of 0 to 16"}  # fmt: skip
    run = program(tmp_path, steps, (1, 1, 32, 32))
    frames = [noise(8, 8, 1) // 16, noise(1, 1, 1), noise(45, 32, 1), noise(9, 100, 1)]
    for frame, found in zip(
        frames, run([Case(each, NOTHING, order=4) for each in frames]), strict=True
    ):
        raw = torch.from_numpy(frame.astype(np.float32)).permute(2, 0, 1)[None] / 16
        wanted = functional.interpolate(raw, (32, 32), mode="bilinear", align_corners=False)
        wanted = (wanted - 0.305) / 0.35
        np.testing.assert_allclose(seen(found), wanted.numpy(), rtol=1e-5, atol=2e-5)


def test_other_layouts_and_orders_of_the_network(tmp_path: Path) -> None:
    run = program(tmp_path, {"color": "BGR", "resize": [17, 20]}, (1, 17, 20, 3))
    frame = noise(61, 47)
    (found,) = run([Case(frame, NOTHING)])
    image = Image.fromarray(frame).resize((20, 17), Image.Resampling.BILINEAR)
    wanted = np.asarray(image)[None, ..., ::-1].astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(seen(found), wanted)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size": (301, 1)}, "larger than the library was built for"),
        ({"size": (0, 1)}, "it is empty"),
        ({"order": 5}, "there is no such order"),
        ({"stride": 1, "size": (2, 2), "pixels": np.zeros((2, 1), np.uint8)}, "longer than the"),
        ({"threshold": 1.5}, "at most 1"),
        ({"overlap": float("nan")}, "at most 1"),
    ],
)
def test_bad_frames(refusing: FrameProgram, changes: dict[str, Any], said: str) -> None:
    case = Case(**{"pixels": noise(1, 1), "outputs": [], "size": (1, 1), **changes})
    (found,) = refusing([case])
    assert found.status == 1
    assert said in found.error
    assert found.error.startswith("run_frame: ")


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> FrameProgram:
    return program(tmp_path_factory.mktemp("refusing"), {"scale": 1}, (1, 3, 4, 4))


class Both:
    """A detector in C and in Python."""

    def __init__(self, folder: Path, activation: Any, count: int, classes: int) -> None:
        random = np.random.default_rng(1)
        corners = random.uniform(0, 90, (count, 2))
        sides = random.uniform(2, 40, (count, 2))
        anchors = np.concatenate([corners, corners + sides], 1).astype(np.float32)
        names = tuple(f"c{number}" for number in range(classes))
        self.about = Description(names, 96, activation, (10.0, 10.0, 5.0, 5.0), anchors)
        self.shapes = ((1, count, self.about.outputs), (1, count, 4))
        frames = frame_reader.read(
            self.about.to_metadata(),
            [{"name": "input", "shape": (1, 3, 96, 96), "dtype": "float32"}],
            [{"name": name, "shape": shape, "dtype": "float32"}
             for name, shape in zip(("logits", "offsets"), self.shapes, strict=True)],
            FrameOptions(LARGEST),
            "d.onnx",
        )  # fmt: skip
        self.run = FrameProgram(folder, frames, (1, 3, 96, 96), *self.shapes)

    def python(self, case: Case, threshold: float, overlap: float) -> Detections:
        height, width = case.pixels.shape[:2]
        found = decode(case.outputs[0], case.outputs[1], self.about, threshold)[0]
        kept = found.take(suppress(found.boxes, found.scores, found.labels, overlap)[:300])
        boxes = preprocess.restore(kept.boxes, 96, width, height)
        return Detections(boxes, kept.scores, kept.labels)

    def same(self, cases: list[Case]) -> list[int]:
        """Makes sure that both give the same, and returns how many boxes each has."""
        counts = []
        for case, found in zip(cases, self.run(cases), strict=True):
            wanted = self.python(case, max(0.0, case.threshold or 0.05), case.overlap or 0.5)
            assert found.status == 0, found.error
            assert found.rows is not None
            assert found.total == len(wanted)
            some = slice(case.room)
            np.testing.assert_array_equal(found.rows["label"] + 1, wanted.labels[some])
            np.testing.assert_array_equal(found.rows["score"], wanted.scores[some])
            np.testing.assert_array_equal(found.rows["box"], wanted.boxes[some])
            counts.append(len(wanted))
        return counts


@pytest.fixture(scope="module", params=[("sigmoid", 700, 3), ("softmax", 900, 4)])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    activation, count, classes = request.param
    return Both(tmp_path_factory.mktemp(activation), activation, count, classes)


def outputs(both: Both, seed: int, spread: float, shift: float, coarse: bool) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    logits = random.normal(shift, spread, both.shapes[0]).astype(np.float32)
    if coarse:  # many equal scores
        logits = np.round(logits)
    return [logits, random.normal(0, 3, both.shapes[1]).astype(np.float32)]


def test_boxes_are_those_of_tvmkd_detect(both: Both) -> None:
    cases = [
        Case(noise(120 + seed, 77), outputs(both, seed, spread, shift, seed % 2 == 1), **settings)
        for seed, (spread, shift, settings) in enumerate(
            [
                (1.0, -3.0, {}),
                (1.0, -3.0, {}),
                (3.0, 0.0, {"threshold": 0.3, "overlap": 0.45}),
                (3.0, 0.0, {"threshold": 0.3, "overlap": 0.3}),
                (30.0, 0.0, {"overlap": 0.7}),  # scores of exactly 0 and 1
                (1.0, 2.0, {"overlap": 1.0}),  # more candidates than are kept
                (1.0, 2.0, {"threshold": -1.0, "overlap": 0.9}),
                (0.0, 0.0, {"overlap": 0.99}),  # all the same
                (0.0, 5.0, {}),
                (1.0, 0.0, {"room": 7}),
                (1.0, 0.0, {"room": 0}),
                (1.0, -30.0, {}),
                (1.0, 0.0, {"threshold": 1.0}),
            ]
        )
    ]
    counts = both.same(cases)
    assert max(counts) == 300
    assert counts[-1] == 0


def test_enormous_values_are_clipped_and_nan_is_an_error(both: Both) -> None:
    logits, offsets = outputs(both, 3, 1.0, -2.0, False)
    large = offsets * np.float32(1e30)
    both.same([Case(noise(96, 96), [logits, large])])
    logits[0, 3, -1] = offsets[0, 5, 2] = np.inf
    logits[0, 5, -1] = 5
    both.same([Case(noise(96, 96), [logits, offsets])])
    for place in ((0, 0, 0), (0, 699, 1), (0, 64, 2)):
        broken = logits.copy()
        broken[place] = np.nan
        (found,) = both.run([Case(noise(9, 9), [broken, offsets])])
        assert found.status == 4
        assert "answers NaN" in found.error
    offsets[0, 5, 3] = np.nan
    (found,) = both.run([Case(noise(9, 9), [logits, offsets])])
    assert "answers NaN" in found.error


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_classes_are_sorted_by_probability(tmp_path: Path, activation: str) -> None:
    names = json.dumps([f"c{number}" for number in range(10)])
    frames = described({**FOLDER, "activation": activation}, (1, 3, 24, 24), [(1, 10)],
                       classes=names)  # fmt: skip
    run = FrameProgram(tmp_path, frames, (1, 3, 24, 24), (1, 10))
    logits = np.random.default_rng(0).normal(0, 2, (1, 10)).astype(np.float32)
    if activation == "none":
        logits = abs(logits) / 10
    logits[0, 7] = logits[0, 2]  # equal: the first one comes first
    scores = {
        "softmax": torch.softmax(torch.from_numpy(logits), 1),
        "sigmoid": torch.sigmoid(torch.from_numpy(logits)),
        "none": torch.from_numpy(logits),
    }[activation].numpy()[0]
    order = np.argsort(-scores, kind="stable")
    whole, few, sure = run(
        [
            Case(noise(96, 48), [logits]),
            Case(noise(96, 48), [logits], room=3),
            Case(noise(96, 48), [logits], threshold=float(scores[order[4]])),
        ]
    )
    assert whole.rows is not None
    assert few.rows is not None
    assert sure.rows is not None
    np.testing.assert_array_equal(whole.rows["label"], order)
    np.testing.assert_allclose(whole.rows["score"], scores[order], rtol=1e-6)
    np.testing.assert_array_equal(whole.rows["box"][0], [24, 0, 72, 48])  # the centre
    np.testing.assert_array_equal(few.rows, whole.rows[:3])
    assert few.total == 10
    assert abs(len(sure.rows) - 4) <= 1
    logits[0, 4] = np.nan
    (found,) = run([Case(noise(9, 9), [logits])])
    assert (found.status, "answers NaN" in found.error) == (4, True)
