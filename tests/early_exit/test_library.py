"""One standalone library of a network with early exits, here and on an emulated board."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import exits
import numpy as np
import onnx
import plant
import pytest

import tvmkd
from tvmkd import early_exit, targets
from tvmkd.base.errors import InputError, TvmkdError, UsageError
from tvmkd.base.exits import CONFIDENCE, Rule
from tvmkd.base.frame_description import FrameOptions
from tvmkd.boards import emulate
from tvmkd.deploy import native_programs
from tvmkd.early_exit import EarlyExitLibrary
from tvmkd.early_exit.calibrate import confidence
from tvmkd.early_exit.library import one_file
from tvmkd.early_exit.runtime import Plan
from tvmkd.early_exit.scores import of_exits
from tvmkd.runtime.standalone_program import Late

IMAGES = np.random.default_rng(0).standard_normal((24, 1, 1, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pieces with thresholds at which some of the images leave at each exit."""
    folder = exits.pieces(tmp_path_factory.mktemp("run") / "two-exits" / "early-exit" / "exits")
    rows = np.stack([np.concatenate(exits.run(folder, image)) for image in IMAGES])
    first = confidence(rows[:, 0])
    threshold = float(np.median(first))
    second = float(np.median(confidence(rows[first < threshold, 1])))
    Plan.of(folder, ["0", "1", "2"], [threshold, second]).save(folder)
    return folder


@pytest.fixture(scope="module")
def out(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library") / "out"
    tvmkd.build(network, folder, runtime="standalone", frames=FrameOptions((64, 64)))
    return folder


def test_the_artifact(network: Path, out: Path) -> None:
    manifest = tvmkd.artifact.read(out)
    assert (manifest.name, manifest.library) == ("two-exits", "libtwo_exits.so")
    assert [spec.model_dump() for spec in manifest.outputs] == [
        {"name": "logits", "shape": [1, 10], "dtype": "float32"}
    ]
    assert manifest.exits["thresholds"] == list(Plan.read(network).rule.thresholds)
    assert [each["name"] for each in manifest.check["outputs"]] == ["exit0", "exit1", "exit2"]
    assert manifest.check["max_error"] < 1e-4


def test_each_exit_is_that_of_the_pieces_one_by_one(network: Path, out: Path) -> None:
    library = tvmkd.load(out)
    for image in IMAGES[:4]:
        for index, want in enumerate(exits.run(network, image)):
            np.testing.assert_allclose(library.run_exit([image], index)[0], want, atol=1e-5)


def test_it_leaves_where_the_thresholds_say(network: Path, out: Path) -> None:
    library = early_exit.load(out)
    assert isinstance(library, EarlyExitLibrary)
    left = []
    for image in IMAGES:
        rows = exits.run(network, image)
        logits, taken = library(image)
        assert taken == library.rule.taken([row[0] for row in rows])
        np.testing.assert_allclose(logits, rows[taken], atol=1e-5)
        np.testing.assert_array_equal(tvmkd.load(out)(image), logits)
        left.append(taken)
    assert set(left) == {0, 1, 2}


@pytest.fixture(scope="module")
def other(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another library of the network: with temperatures, and a learnt score at the second exit."""
    learnt = shutil.copytree(network, tmp_path_factory.mktemp("learnt") / "exits")
    rows = [[row[0] for row in exits.run(network, image)] for image in IMAGES]
    scales, weights = (0.5, 2.0, 1.25), (CONFIDENCE, (0.25, 0.25, 0.25, 0.25))
    scores = [of_exits([row[None] for row in each], scales, weights)[1][0] for each in rows]
    middle = float(np.mean(np.sort(scores)[len(scores) // 2 - 1 : len(scores) // 2 + 1]))
    Plan.of(learnt, ["0", "1", "2"], Rule((2.0, middle), scales, weights)).save(learnt)
    folder = learnt.parent / "other"
    tvmkd.build(learnt, folder, runtime="standalone", name="other")
    return folder


def test_a_learnt_rule_decides_in_the_library(network: Path, out: Path, other: Path) -> None:
    library = early_exit.load(other)
    assert library.rule == Plan.read(other.parent / "exits").rule
    assert tvmkd.artifact.read(other).exits["temperatures"] == [0.5, 2.0, 1.25]
    assert "temperatures" not in tvmkd.artifact.read(out).exits
    left = [library(image)[1] for image in IMAGES]
    rows = [[row[0] for row in exits.run(network, image)] for image in IMAGES]
    assert left == [library.rule.taken(each) for each in rows]
    assert sorted(left) == [1] * 12 + [2] * 12


def test_frames_leave_early_too(out: Path) -> None:
    library = tvmkd.load(out)
    assert library.manifest.metadata == exits.METADATA
    left = set()
    for contrast in (1, 4, 8, 16, 32, 64, 127):
        for seed in range(8):
            noise = np.random.default_rng(seed).integers(-1, 2, (16, 16))
            frame = (128 + contrast * noise).astype(np.uint8)
            image = (frame[None, None] / np.float32(255) - np.float32(0.25)) / np.float32(0.5)
            found = library.run_frame(frame, "gray", room=1)
            (logits,), taken = library.run_until([image.astype(np.float32)])
            assert found.exit_taken == taken
            assert found.labels.tolist() == [logits.argmax()]
            assert found.scores[0] == pytest.approx(confidence(logits)[0], abs=1e-5)
            left.add(taken)
    assert len(left) > 1


def test_a_deadline(network: Path, out: Path) -> None:
    library = early_exit.load(out)
    last = next(image for image in IMAGES if library(image)[1] == 2)
    assert library.run_until(last, time.monotonic_ns() + 10**10)[1] == 2
    # What is past is too late for the first exit, which this interface reaches nevertheless.
    assert library.run_until(last, time.monotonic_ns() - 1)[1] == 0
    with pytest.raises(Late):
        tvmkd.load(out).run_until([last], time.monotonic_ns() - 1)


def test_wrong_inputs_and_exits(out: Path) -> None:
    library = tvmkd.load(out)
    with pytest.raises(UsageError, match="artifact two-exits: there is no exit 3: it has 3"):
        library.run_exit([IMAGES[0]], 3)
    with pytest.raises(InputError, match="expects shape 1 x 1 x 16 x 16"):
        library.run_until([IMAGES[0, 0]])
    with pytest.raises(InputError, match="expects shape"):
        early_exit.load(out)(IMAGES[0, 0])


def test_refusals(network: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for options, kind, said in (
        ({"onnx": tmp_path / "other"}, InputError, "is a folder without exits.json; give an ONNX"),
        ({"runtime": "tvm"}, UsageError, "needs --runtime standalone"),
        ({"stack": "relay"}, UsageError, "it is for --stack relax"),
        ({"dims": {"n": 1}}, InputError, f"{network}: there is no free dimension"),
    ):
        given: dict[str, Any] = {"onnx": network, "runtime": "standalone", **options}
        with pytest.raises(kind, match=said):
            tvmkd.build(out=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_it_is_tuned_as_it_is_compiled(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels of the joined network are not all those of its pieces."""
    given = []

    def tune(path: Path, *_: Any, **__: Any) -> dict[str, Any]:
        given.append([value.name for value in onnx.load(path).graph.output])
        raise TvmkdError(f"{path}: told")

    monkeypatch.setattr("tvmkd.stacks.compile.tune", tune)
    with pytest.raises(TvmkdError, match=f"^{network}: told$"):
        tvmkd.tune(network, tmp_path / "records", trials=1)
    assert given == [["exit0", "exit1", "exit2"]]
    with pytest.raises(InputError, match="is a folder without exits"):
        tvmkd.tune(tmp_path, tmp_path / "records", trials=1)


def test_a_wrong_record_is_set_aside(network: Path, tmp_path: Path) -> None:
    target = targets.load("host")
    with one_file(network) as path:
        name = plant.plant(path, tmp_path / "records", target.to_dict(), ["wrong"])
    aside = []

    def note(event: str, data: dict[str, Any]) -> None:
        if event == "set_aside":
            aside.append(data["task"])

    options: dict[str, Any] = {"records": [tmp_path / "records"], "on_event": note}
    tvmkd.build(network, tmp_path / "out", runtime="standalone", shipped=False, **options)
    assert aside == [name]
    made, wanted = tvmkd.load(tmp_path / "out"), exits.run(network, IMAGES[0])
    for index, want in enumerate(wanted):
        np.testing.assert_allclose(made.run_exit([IMAGES[0]], index)[0], want, atol=1e-5)


def test_an_artifact_without_exits_is_told(tmp_path: Path, network: Path) -> None:
    tvmkd.build(network / "2.onnx", tmp_path / "plain", runtime="standalone")
    with pytest.raises(InputError, match="has no early exits; load it with tvmkd"):
        early_exit.load(tmp_path / "plain")
    plain = tvmkd.load(tmp_path / "plain")
    features = np.zeros(plain.manifest.inputs[0].shape, np.float32)
    outputs, taken = plain.run_until([features])
    assert taken == 0
    np.testing.assert_array_equal(outputs[0], plain.run_exit([features], 0)[0])


BOTH = """
#include <stdio.h>
#include "two_exits.h"
#include "other.h"
static int run(const tvmkd_library *library, const float *image) {
  float logits[10];
  const void *inputs[] = {image};
  void *outputs[] = {logits};
  tvmkd_instance *instance;
  int32_t taken;
  if (library->open(0, &instance)) return 1;
  if (library->run_until(instance, inputs, outputs, INT64_MAX, &taken)) return 2;
  printf("%s %d %.6f\\n", library->name, taken, logits[0]);
  library->close(instance);
  return 0;
}
int main(void) {
  float image[256];
  if (fread(image, 4, 256, stdin) != 256) return 3;
  return run(two_exits_library(), image) || run(other_library(), image);
}
"""


def test_two_libraries_in_one_program(
    network: Path, out: Path, other: Path, tmp_path: Path
) -> None:
    """Both are of one network, with two rules."""
    (tmp_path / "both.c").write_text(BOTH)
    words = ["gcc", f"-I{out}", f"-I{other}", tmp_path / "both.c"]
    words += [out / "libtwo_exits.a", other / "libother.a"]
    words += ["-lm", "-lpthread", "-o", tmp_path / "both"]
    subprocess.run(list(map(os.fspath, words)), check=True)
    library = tvmkd.load(out)
    second = tvmkd.load(other)
    taken = ((library.run_until([each])[1], second.run_until([each])[1]) for each in IMAGES)
    image = IMAGES[list(taken).index((0, 2))]
    said = subprocess.run([tmp_path / "both"], input=image.tobytes(), capture_output=True)
    rows = exits.run(network, image)
    assert said.stdout.decode().splitlines() == [
        f"two-exits 0 {library.run_exit([image], 0)[0][0, 0]:.6f}",
        f"other 2 {library.run_exit([image], 2)[0][0, 0]:.6f}",
    ]
    assert not np.allclose(rows[0], rows[2])


@pytest.mark.board
def test_on_an_emulated_nano(network: Path, tmp_path: Path) -> None:
    if reason := emulate.why_not():
        pytest.skip(reason)
    nano = targets.load("jetson-nano")
    tvmkd.build(network, tmp_path / "out", runtime="standalone", target="jetson-nano")
    program = [
        emulate.QEMU, "-cpu", "cortex-a57", "-L", os.fspath(emulate.SYSTEM),
        os.fspath(native_programs.run_program(nano)), os.fspath(tmp_path / "out/libtwo_exits.so"),
    ]  # fmt: skip
    (name,) = [spec.name for spec in tvmkd.artifact.read(tmp_path / "out").inputs]
    for index in range(3):
        np.save(tmp_path / "x.npy", IMAGES[0])
        options = ["--input", f"{name}={tmp_path}/x.npy", f"--exit={index}"]
        subprocess.run([*program, *options, "--output", tmp_path / "got"], check=True)
        got = np.load(tmp_path / "got/logits.npy")
        np.testing.assert_allclose(got, exits.run(network, IMAGES[0])[index], atol=1e-4)
    for wanted in (0, 2):
        image = next(each for each in IMAGES if _taken(network, each) == wanted)
        np.save(tmp_path / "x.npy", image)
        given = ["--input", f"{name}={tmp_path}/x.npy"]
        subprocess.run([*program, *given, "--output", tmp_path / "got"], check=True)
        got = np.load(tmp_path / "got/logits.npy")
        np.testing.assert_allclose(got, exits.run(network, image)[wanted], atol=1e-4)
        options = [*given, "--deadline=60000", "--warmUp=0", "--duration=0", "--iterations=3"]
        done = subprocess.run([*program, *options, "--json"], capture_output=True, check=True)
        assert json.loads(done.stdout)["exits_taken"] == [3 * (each == wanted) for each in range(3)]
    # After the warm-up the first exit is expected to take longer than 1 µs.
    options = ["--deadline=0.001", "--warmUp=1", "--duration=0", "--iterations=3", "--json"]
    done = subprocess.run([*program, *options], capture_output=True, check=True)
    found = json.loads(done.stdout)
    assert found["late"] == 3
    # One in 32 is tried nevertheless.
    assert found["exits_taken"] in ([0, 0, 0], [1, 0, 0])


def _taken(network: Path, image: np.ndarray) -> int:
    return Plan.read(network).rule.taken([row[0] for row in exits.run(network, image)])
