from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import detector_files
import numpy as np
import onnx
import pytest
import toys
from detector_files import SIZE, onnx_detector, patches, scene
from onnx import helper
from PIL import Image

import tvmkd
from tvmkd import artifact, targets
from tvmkd.base.errors import InputError
from tvmkd.detection import runtime
from tvmkd.detection.decode import Detections
from tvmkd.stacks import worker_pool
from tvmkd.stacks.worker_pool import Pool


def boxes_of(found: Detections, classes: tuple[str, ...]) -> dict[str, list[float]]:
    assert len(found) == len(set(found.labels.tolist()))
    return {each["class"]: each["box"] for each in found.to_list(classes)}


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_what_is_there_is_found_where_it_is(tmp_path: Path, activation: Any) -> None:
    detector = runtime.load(onnx_detector(tmp_path / "d.onnx", activation))
    assert detector.classes == ("red", "blue")
    assert detector.runtime.startswith("ONNX Runtime 1.")
    for width, height in ((64, 32), (32, 32), (640, 480)):
        picture = scene(width, height)
        found = detector(picture)
        assert boxes_of(found, detector.classes) == patches(width, height)
        assert found.scores.min() > 0.9
    Image.fromarray(picture).save(tmp_path / "a.png")
    from_file = detector(tmp_path / "a.png")
    np.testing.assert_array_equal(from_file.boxes, found.boxes)
    assert len(detector(np.full((9, 9, 3), 128, np.uint8))) == 0
    detector.threshold = 0.999
    assert len(detector(picture)) == 0


def test_the_threshold_is_the_calibrated_one_if_there_is_one(tmp_path: Path) -> None:
    assert runtime.load(onnx_detector(tmp_path / "old.onnx")).threshold == 0.05
    about = detector_files.description(threshold=0.999)
    detector = runtime.load(onnx_detector(tmp_path / "new.onnx", about=about))
    assert detector.threshold == 0.999
    assert len(detector(scene())) == 0


def test_free_sizes_and_one_thread(tmp_path: Path) -> None:
    path = onnx_detector(tmp_path / "d.onnx", batch="batch", size="side")
    assert len(runtime.load(path, threads=1)(scene())) == 2


def test_overlapping_boxes_go(tmp_path: Path) -> None:
    anchors = np.tile(np.array([[0, 0, 9, 9], [0, 0, 10, 9]], np.float32), (8, 1))
    about = detector_files.description(anchors=anchors)
    detector = runtime.load(onnx_detector(tmp_path / "d.onnx", about=about))
    red = np.zeros((SIZE, SIZE, 3), np.uint8)
    red[..., 0] = 255
    assert len(detector(red)) == 1
    detector.overlap = 0.95
    assert len(detector(red)) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"about": detector_files.description(size=64)}, r"input input is float32 1 x 3 x 32 x 32"),
        ({"batch": 2}, r"input input is float32 2 x 3 x 32 x 32.*says float32 1 x 3 x 32 x 32"),
        ({"names": ("logits",)}, r"has the outputs logits, offsets, this has logits;"),
        ({"names": ("a", "b")}, r"has the outputs logits, offsets, this has a, b;"),
        ({"names": ("logits", "offsets", "more")}, r"this has logits, offsets, more;"),
        ({"names": ("offsets", "logits")}, r"output logits is float32 1 x 16 x 4"),
        (
            {"about": detector_files.description(classes=("a", "b", "c"))},
            r"output logits is float32 1 x 16 x 2, and its description says float32 1 x 16 x 3",
        ),
        (
            {"about": detector_files.description(anchors=np.zeros((9, 4), np.float32))},
            r"output logits is float32 1 x 16 x 2.*1 x 9 x 2",
        ),
    ],
)
def test_what_differs_from_its_description(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "d.onnx"
    if changes.get("names") == ("logits",):
        model = onnx.load(onnx_detector(path))
        del model.graph.output[1]
        onnx.save(model, path)
    else:
        onnx_detector(path, **changes)
    with pytest.raises(InputError, match=rf"^{path}: .*{message}"):
        runtime.load(path)


def test_another_shape_that_only_shows_when_it_runs(tmp_path: Path) -> None:
    about = detector_files.description(anchors=np.zeros((9, 4), np.float32))
    path = onnx_detector(tmp_path / "d.onnx", batch="n", size="side", about=about)
    with pytest.raises(InputError, match=r"d\.onnx: its output logits is float32 1 x 16 x 2, and"):
        runtime.load(path)(scene())


def test_a_graph_that_cannot_run_at_its_size(tmp_path: Path) -> None:
    about = detector_files.description(size=4)
    path = onnx_detector(tmp_path / "d.onnx", size="side", about=about)
    with pytest.raises(InputError, match=r"d\.onnx: (ONNX Runtime cannot run it|its output)"):
        runtime.load(path)(scene())


def test_what_is_no_detector(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone: there is no such ONNX file or artifact"):
        runtime.load(tmp_path / "gone")
    with pytest.raises(InputError, match=r"m\.onnx: has no anchors and classes"):
        runtime.load(toys.onnx_file(tmp_path / "m.onnx"))
    (tmp_path / "text").write_text("text")
    with pytest.raises(InputError, match="text: ONNX Runtime cannot load it"):
        runtime.load(tmp_path / "text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder: not an artifact"):
        runtime.load(tmp_path / "folder")


def test_an_artifact_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "model.so").write_bytes(b"none")
    fields: dict[str, Any] = {
        "name": "m",
        "target": targets.load("host").to_dict(),
        "stack": "relax",
        "stack_version": "0",
        "onnx_sha256": "0" * 64,
        "inputs": [],
        "outputs": [],
    }
    artifact.write(tmp_path / "out", {"model.so": tmp_path / "model.so"}, **fields)
    with pytest.raises(InputError, match="out: has no anchors and classes"):
        runtime.load(tmp_path / "out")


def test_an_unreadable_picture(tmp_path: Path) -> None:
    detector = runtime.load(onnx_detector(tmp_path / "d.onnx"))
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(InputError, match=r"a\.png: cannot be read as an image"):
        detector(tmp_path / "a.png")


def test_nan_is_an_error(tmp_path: Path) -> None:
    model = onnx.load(onnx_detector(tmp_path / "d.onnx", scale=float("nan")))
    helper.set_model_props(model, detector_files.description().to_metadata())
    onnx.save(model, tmp_path / "d.onnx")
    with pytest.raises(InputError, match="answers NaN"):
        runtime.load(tmp_path / "d.onnx")(scene())


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory, workers: Pool) -> Path:
    folder = tmp_path_factory.mktemp("compiled")
    path = onnx_detector(folder / "d.onnx", "softmax")
    with worker_pool.shared(workers):
        tvmkd.build(path, folder / "out", shipped=False)
    return folder


def test_a_compiled_one_gives_the_same_and_needs_no_torch(compiled: Path) -> None:
    script = (
        "import sys, numpy as np; from tvmkd.detection import runtime; "
        "d = runtime.load(sys.argv[1]); found = d(np.load(sys.argv[2])); "
        "assert 'torch' not in sys.modules; print(d.runtime); "
        "np.savez(sys.argv[3], boxes=found.boxes, scores=found.scores, labels=found.labels)"
    )
    np.save(compiled / "scene.npy", scene())
    paths = [compiled / name for name in ("out", "scene.npy", "found.npz")]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, paths)],
        capture_output=True,
        text=True,
        env={**os.environ, "TVM_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("TVM (relax 0.")
    wanted = runtime.load(compiled / "d.onnx")(scene())
    found = np.load(paths[-1])
    np.testing.assert_allclose(found["boxes"], wanted.boxes, atol=1e-3)
    np.testing.assert_allclose(found["scores"], wanted.scores, rtol=1e-4)
    np.testing.assert_array_equal(found["labels"], wanted.labels)
