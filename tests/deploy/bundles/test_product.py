"""From ONNX files to a product on an emulated Nano: a student and a detector, all the way."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import asking
import graphs
import numpy as np
import onnxruntime
import pytest
import toy
from board_machine import Board
from detector_files import onnx_detector

import tvmkd
from tvmkd.boards import emulate
from tvmkd.deploy.bundles import bundle, signing

QEMU = [emulate.QEMU, "-cpu", "cortex-a57", "-L", str(emulate.SYSTEM)]
FRAME = (48, 40)


def detector(path: Path) -> Path:
    return onnx_detector(path, "sigmoid")


@pytest.fixture
def nano(tmp_path: Path) -> Board:
    if (reason := emulate.why_not()) is not None:
        pytest.skip(reason)
    board = Board(tmp_path)
    board.environment |= {"TVMKD_MACHINE": "aarch64", "TVMKD_EMULATOR": " ".join(QEMU)}
    return board


@pytest.mark.board
@pytest.mark.parametrize(
    ("name", "make", "frames"),
    [("student", graphs.separable, None), ("detector", detector, tvmkd.FrameOptions(FRAME))],
)
def test_installed_served_asked_streamed_and_rolled_back(
    name: str,
    make: Callable[[Path], Path],
    frames: tvmkd.FrameOptions | None,
    nano: Board,
    keys: Path,
    tmp_path: Path,
) -> None:
    onnx = make(tmp_path / f"{name}.onnx")
    out = tmp_path / "out"
    manifest = tvmkd.build(
        onnx, out, target="jetson-nano", runtime="standalone", frames=frames, shipped=False
    )
    options = bundle.Options(
        key=signing.secret_key(keys / "ours.key", lambda _: ""), power="max", onnx=onnx
    )
    for version in ("1.0", "1.1"):
        made = toy.make(out, tmp_path / f"{name}-{version}.tar.gz", options)
        assert made.emulated
        done = nano.install(made.path, "--pubkey", keys / "ours.pub")
        assert done.returncode == 0, done.stderr
        assert "as recorded" in done.stdout + done.stderr
    current = nano.root / name / "current"
    assert current.resolve().name == "1.1"

    session = onnxruntime.InferenceSession(onnx)
    (spec,) = manifest.inputs
    x = np.random.default_rng(0).random(spec.shape, np.float32)
    asked = [
        {"name": spec.name, "shape": spec.shape, "datatype": "FP32", "data": x.ravel().tolist()}
    ]
    library = current / "lib" / manifest.library
    with asking.served([*QEMU, str(current / "bin/tvmkd-server"), str(library)]) as url:
        answer = asking.post(url, name, asked)
    names = [each.name for each in session.get_outputs()]
    wanted = dict(zip(names, session.run(names, {spec.name: x}), strict=True))
    for output in answer["outputs"]:
        want = wanted[output["name"]]
        got = np.array(output["data"]).reshape(want.shape)
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * np.ptp(want))

    # Not a rate that an emulated board keeps, but one that it is measured at.
    program = str(current / "bin/tvmkd-stream")
    words = [*QEMU, program, str(library), "--fps", "5", "--duration", "1"]
    words += ["--size", f"{FRAME[0]}x{FRAME[1]}"] if frames else []
    streamed = subprocess.run(words, capture_output=True, timeout=120)
    assert streamed.returncode == 0, streamed.stderr
    header = json.loads(streamed.stdout.partition(b"\n")[0])
    assert 1 <= header["frames"] <= 5
    assert header["models"][0]["preprocessing"] is (frames is not None)

    done = nano.own("rollback", name)
    assert done.returncode == 0, done.stderr
    assert current.resolve().name == "1.0"
    test = [*QEMU, str(current / "bin/tvmkd-run"), str(current / "lib" / manifest.library)]
    test += ["--inputs", str(current / "self-test/inputs"), "--tolerance", "1e-3"]
    again = subprocess.run(
        [*test, "--compare", str(current / "self-test/outputs")], capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
