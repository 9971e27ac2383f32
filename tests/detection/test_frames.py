"""A standalone library with pre-processing gives what the same detector gives in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from detector_files import onnx_detector, patches, scene

import tvmkd
from tvmkd import artifact
from tvmkd.base.errors import InputError
from tvmkd.base.runtimes import STANDALONE
from tvmkd.cli import build as cli
from tvmkd.detection import runtime
from tvmkd.stacks import worker_pool
from tvmkd.stacks.worker_pool import Pool


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory, workers: Pool) -> Path:
    folder = tmp_path_factory.mktemp("compiled")
    onnx = onnx_detector(folder / "d.onnx", "sigmoid")
    with worker_pool.shared(workers):
        tvmkd.build(
            onnx, folder / "out", shipped=False, runtime=STANDALONE,
            frames=tvmkd.FrameOptions((640, 480)),
        )  # fmt: skip
    return folder


def test_boxes_are_the_same(compiled: Path) -> None:
    model, python = tvmkd.load(compiled / "out"), runtime.load(compiled / "out")
    reference = runtime.load(compiled / "d.onnx")
    assert model.manifest.frames["task"] == "detect"
    for width, height in ((64, 32), (32, 32), (640, 480), (480, 478), (33, 400), (1, 1)):
        frame = scene(width, height)
        found = model.run_frame(frame)
        wanted = python(frame)
        np.testing.assert_array_equal(found.boxes, wanted.boxes)
        np.testing.assert_array_equal(found.scores, wanted.scores)
        np.testing.assert_array_equal(found.labels + 1, wanted.labels)
        np.testing.assert_array_equal(found.labels + 1, reference(frame).labels)
        assert found.outputs == []
        assert set(found.times) == {"prepare", "model", "decode", "suppress"}
        assert min(found.times.values()) >= 0
    assert {tuple(box) for box in model.run_frame(scene(640, 480)).boxes.tolist()} == {
        tuple(map(float, box)) for box in patches(640, 480).values()
    }


def test_views_orders_and_settings(compiled: Path) -> None:
    model = tvmkd.load(compiled / "out")
    large = scene(640, 480)
    wanted = model.run_frame(np.ascontiguousarray(large[:256, :320]))
    assert len(wanted) > 0
    for view, order in (
        (large[:256, :320], "RGB"),
        (large[:256, :320, ::-1], "BGR"),
        (np.asfortranarray(large[:256, :320]), "RGB"),
    ):
        np.testing.assert_array_equal(model.run_frame(view, order).boxes, wanted.boxes)
    upright = model.run_frame(np.ascontiguousarray(large[::-1]))
    np.testing.assert_array_equal(model.run_frame(large[::-1]).boxes, upright.boxes)
    assert len(model.run_frame(large, threshold=0.9999)) == 0
    few = model.run_frame(large, room=1)
    assert (len(few), few.total) == (1, 2)
    assert model.run_frame(large, room=0).total == 2
    assert len(model.run_frame(large[..., 0], "gray")) == 0


@pytest.mark.parametrize(
    ("frame", "order", "said"),
    [
        (np.zeros((4, 4, 3), np.float32), "RGB", r"a frame in RGB is a uint8 array .* got float32"),
        (np.zeros((4, 4, 4), np.uint8), "BGR", r"got uint8 \[4, 4, 4\]"),
        (np.zeros((4, 4, 3), np.uint8), "YUV", 'no order "YUV"'),
        (np.zeros((0, 4, 3), np.uint8), "RGB", "it is empty"),
        (np.zeros((481, 4, 3), np.uint8), "RGB", "larger than the library was built for"),
        ([1], "RGB", "got list"),
        (np.zeros((4, 6), np.uint8), "BGR", r"height, width, 3\], got uint8 \[4, 6\]$"),
        (np.zeros((4, 4, 3), np.uint8), ["RGB"], "there is no order"),
    ],
)
def test_bad_frames(compiled: Path, frame: Any, order: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        tvmkd.load(compiled / "out").run_frame(frame, order)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"threshold": "a"}, "^threshold must be a number, got 'a'"),
        ({"threshold": float("nan")}, "^threshold must be a number, got nan"),
        ({"overlap": [0.5]}, "^overlap must be a number"),
        ({"room": 1.5}, "^room must be a whole number, got 1.5"),
        ({"deadline_ns": "1"}, "^deadline_ns must be a whole number"),
    ],
)
def test_bad_settings(compiled: Path, settings: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        tvmkd.load(compiled / "out").run_frame(scene(), **settings)


def test_an_artifact_that_takes_no_frames(compiled: Path, tmp_path: Path) -> None:
    manifest, library = artifact.read_with_library(compiled / "out")
    plain = manifest.model_copy(update={"frames": {}})
    program = artifact.load(compiled / "out")._program
    with pytest.raises(InputError, match=r"artifact d: takes no frames; build it with"):
        artifact.Artifact(plain, compiled / "out", program).run_frame(scene())
    del library


def test_what_is_missing_is_said_before_the_compiler_works(tmp_path: Path, workers: Pool) -> None:
    import toys

    onnx = toys.onnx_file(tmp_path / "m.onnx")
    with worker_pool.shared(workers), pytest.raises(InputError, match='has no "preprocessing"'):
        tvmkd.build(onnx, tmp_path / "out", runtime=STANDALONE, frames=tvmkd.FrameOptions())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--with-preprocessing"], "pre-processing is for --runtime standalone"),
        (["--frame", "9x9"], "go with --with-preprocessing"),
        (["--with-preprocessing", "--frame", "9"], "is not WxH"),
        (["--with-preprocessing", "--preprocessing", "none.json"], "none.json: cannot be read"),
        (["--with-preprocessing", "--preprocessing", "{"], "--preprocessing: preprocessing is no"),
    ],
)
def test_wrong_usage(tmp_path: Path, options: list[str], said: str) -> None:
    done = CliRunner().invoke(cli.command, ["m.onnx", "-o", str(tmp_path / "o"), *options])
    assert done.exit_code != 0
    assert said in done.output + str(done.exception)
