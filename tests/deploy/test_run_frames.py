"""``tvmkd-run --frame``: on this machine, and as a board's program under QEMU."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import sample_library

from tvmkd import targets
from tvmkd.base import frame_reader, machine
from tvmkd.base.detector_description import Description
from tvmkd.base.frame_description import FrameOptions
from tvmkd.boards import emulate, symbols
from tvmkd.deploy import native_programs
from tvmkd.detection import preprocess
from tvmkd.detection.decode import decode
from tvmkd.detection.nms import suppress
from tvmkd.stacks.standalone import source
from tvmkd.stacks.standalone.graph import Call, Graph, Place, Storage, Tensor
from tvmkd.stacks.standalone.library import Package

ANCHORS, SIDE = 60, 32
COPY = "tvmkd_rt_copy"


class Sample:
    """A detector that answers the same whatever it sees, as a shared library, without TVM."""

    def __init__(self, target: targets.Target, folder: Path) -> None:
        random = np.random.default_rng(5)
        corners = random.uniform(0, 24, (ANCHORS, 2)).astype(np.float32)
        sides = random.uniform(3, 12, (ANCHORS, 2)).astype(np.float32)
        anchors = np.concatenate([corners, corners + sides], 1)
        weights = (10.0, 10.0, 5.0, 5.0)
        self.about = Description(("cat", "dog"), SIDE, "softmax", weights, anchors)
        self.logits = random.normal(0, 2, (1, ANCHORS, 3)).astype(np.float32)
        self.offsets = random.normal(0, 1, (1, ANCHORS, 4)).astype(np.float32)
        answers = {"logits": self.logits, "offsets": self.offsets}
        inputs = [{"name": "input", "shape": (1, 3, SIDE, SIDE), "dtype": "float32"}]
        outputs = [{"name": name, "shape": array.shape, "dtype": "float32"}
                   for name, array in answers.items()]  # fmt: skip
        frames = frame_reader.read(
            self.about.to_metadata(), inputs, outputs, FrameOptions((200, 100)), "d.onnx"
        )
        calls = [
            Call("copy", COPY, tuple(
                Tensor(Storage(place, number, array.nbytes), array.shape, array.dtype)
                for place in (Place.CONSTANTS, Place.OUTPUT)
            ))
            for number, array in enumerate(answers.values())
        ]  # fmt: skip
        features = machine.required_features(target.mcpu)
        about = source.About(
            "pets", target.name, "a test", "0", inputs, outputs, 2, features, 0,
            cpu=target.mcpu, frames=frames,
        )  # fmt: skip
        graph = Graph(tuple(calls), (*answers.values(), anchors), (len(calls),))
        package = Package(graph, about, target.toolchain, [], folder)
        self.library = package.shared(folder / "libpets.so")
        needs = symbols.check([self.library], target.toolchain.glibc)[self.library.name]
        assert set(needs) == {"GLIBC"}
        program = native_programs.run_program(target)
        self._words = [*sample_library.runner(target), str(program), str(self.library)]

    def __call__(self, *options: str, given: bytes = b"", code: int = 0) -> str:
        done = subprocess.run([*self._words, *options], input=given, capture_output=True)
        assert done.returncode == code, done.stderr.decode()
        return (done.stderr if code else done.stdout).decode()


@pytest.fixture(scope="module", params=["host", pytest.param("board", marks=pytest.mark.board)])
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    if request.param == "board" and emulate.why_not() is not None:
        pytest.skip(str(emulate.why_not()))
    target = targets.load("jetson-nano" if request.param == "board" else "host")
    return Sample(target, tmp_path_factory.mktemp(request.param))


def test_frames_on_stdin_give_their_boxes(sample: Sample) -> None:
    size, threshold = (150, 90), 0.3
    frames = np.random.default_rng(0).integers(0, 256, (2, size[1], size[0], 4), np.uint8)
    out = sample("--raw", "--frame=150x90", "--order", "bgrx", "--threshold=0.3",
                 given=frames.tobytes())  # fmt: skip
    candidates = decode(sample.logits, sample.offsets, sample.about, threshold)[0]
    kept = suppress(candidates.boxes, candidates.scores, candidates.labels)
    wanted = candidates.take(kept)
    boxes = preprocess.restore(wanted.boxes, SIDE, *size)
    assert 3 < len(wanted) < ANCHORS
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) == 2
    for line in lines:
        found = line["results"]
        assert [each["class"] for each in found] == [sample.about.classes[label - 1]
                                                     for label in wanted.labels]  # fmt: skip
        assert [each["label"] for each in found] == (wanted.labels - 1).tolist()
        np.testing.assert_array_equal(np.float32([each["score"] for each in found]), wanted.scores)
        np.testing.assert_array_equal(np.float32([each["box"] for each in found]), boxes)
        assert list(line["stages_ms"]) == ["prepare", "model", "decode", "suppress"]
    assert "frame 0 on stdin ends after 9 of 27" in sample(
        "--raw", "--frame=3x3", given=b"123456789", code=4
    )


def test_a_benchmark_has_stages(sample: Sample) -> None:
    options = ["--warmUp=1", "--duration=0", "--iterations=20", "--frame", "200x100"]
    found = json.loads(sample(*options, "--json", "--instances=2", "--deadline=1000"))
    assert found["frames"] == {"task": "detect", "largest": [200, 100], "size": [32, 32],
                               "classes": ["cat", "dog"]}  # fmt: skip
    assert found["runs"] == 40
    assert found["exits_taken"] == [40]
    total = 0.0
    for name in ("prepare", "model", "decode", "suppress"):
        stage = found["stages_ms"][name]
        assert 0 < stage["median"] <= stage["percentiles"]["99"] <= stage["max"]
        total += stage["median"]
    assert total < found["latency_ms"]["percentiles"]["99"] * 1.5
    assert "  prepare  median = " in sample(*options)
    assert "frames of up to 200 x 100 pixels, 2 classes" in sample("--describe")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--frame=201x1"], 4, "--frame: pets was built for frames of up to 200 x 100"),
        (["--frame=9"], 2, "wants a size such as 1280x720"),
        (["--frame=9x9x"], 2, "wants a size such as 1280x720"),
        (["--frame=9x9", "--order=yuv"], 2, "wants one of rgb, bgr, rgbx, bgrx, gray"),
        (["--order=bgr"], 2, "go with --frame"),
        (["--frame=9x9", "--describe"], 2, "--frame is for timing and for --raw"),
        (["--frame=9x9", "--threshold=2"], 2, "wants a number from 0 to 1"),
    ],
)
def test_wrong_usage(sample: Sample, options: list[str], code: int, said: str) -> None:
    assert said in sample(*options, code=code)


@pytest.mark.parametrize("flags", [(), ("-DSAMPLE_OLD",)])
def test_a_library_that_takes_none(tmp_path: Path, flags: tuple[str, ...]) -> None:
    host = targets.load("host")
    library = sample_library.shared(host, tmp_path / "libsample.so", *flags)
    program = native_programs.run_program(host)
    done = subprocess.run([program, library, "--describe", "--json"], capture_output=True)
    assert "frames" not in json.loads(done.stdout)
    done = subprocess.run([program, library, "--frame=9x9"], capture_output=True, text=True)
    assert done.returncode == 4
    assert "takes no frames; build it with --runtime standalone --with-preprocessing" in done.stderr
