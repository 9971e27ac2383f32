"""Recordings, and what is said of a library that does not give what was recorded."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest
import toy

from tvmkd import targets
from tvmkd.base.errors import InputError, MissingError
from tvmkd.base.manifest import FileEntry, TensorSpec
from tvmkd.boards import emulate
from tvmkd.deploy import native_programs
from tvmkd.deploy.bundles import model, self_test
from tvmkd.deploy.bundles.model import Model

NOTHING = Path("/none/tvmkd-run")
"""A program that must not be run."""


def _specs(*names: str, shape: tuple[int, ...] = (2,), dtype: str = "float32") -> list[TensorSpec]:
    return [TensorSpec(name=name, shape=list(shape), dtype=dtype) for name in names]


@pytest.fixture
def sample(artifacts: Mapping[int, Path]) -> Model:
    """The artifact that computes ``2 x + 1`` and a sum."""
    return model.read(artifacts[1])


@pytest.fixture
def run(sample: Model) -> Path:
    """``tvmkd-run`` for this machine."""
    return native_programs.run_program(sample.target)


def _changed(read: Model, **fields: Any) -> Model:
    return replace(read, manifest=read.manifest.model_copy(update=fields))


def _without_onnx(read: Model, **fields: Any) -> Model:
    files = {key: each for key, each in read.manifest.files.items() if key != self_test.NORMALISED}
    return _changed(read, files=files, **fields)


def test_recorded_with_onnx_runtime(sample: Model) -> None:
    # The program is not asked: it may not even run here.
    found = self_test.record(sample, NOTHING, None)
    np.testing.assert_allclose(found.outputs["y"], 2 * found.inputs["x"] + 1, rtol=1e-6)
    assert found.outputs["total"].tolist() == [found.inputs["counts"].sum()]
    assert np.unique(found.inputs["x"]).size == 4, "an input that would show a wrong order"
    assert found.source.startswith("onnxruntime ")
    again = self_test.record(sample, NOTHING, None)
    assert self_test.files(sample.manifest, again) == self_test.files(sample.manifest, found)


def test_recorded_on_a_given_input(sample: Model, tmp_path: Path) -> None:
    x = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
    np.savez(tmp_path / "in.npz", x=x, counts=np.arange(6, dtype=np.int64))
    found = self_test.record(sample, NOTHING, None, inputs=tmp_path / "in.npz")
    assert np.array_equal(found.inputs["x"], x[:1])
    assert found.outputs["y"].tolist() == [[3, 5, 7, 9]]
    assert found.outputs["total"].tolist() == [3]
    np.savez(tmp_path / "in.npz", x=x)
    with pytest.raises(InputError, match="counts"):
        self_test.record(sample, NOTHING, None, inputs=tmp_path / "in.npz")


def test_recorded_with_the_file_that_was_compiled(sample: Model, tmp_path: Path) -> None:
    read = _without_onnx(sample)
    onnx = sample.folder / self_test.NORMALISED
    found = self_test.record(read, NOTHING, None, onnx)
    np.testing.assert_allclose(found.outputs["y"], 2 * found.inputs["x"] + 1, rtol=1e-6)
    other = toy.onnx_file(tmp_path / "other.onnx", 2)
    with pytest.raises(InputError, match=r"other\.onnx: is not the file that .* was built from"):
        self_test.record(read, NOTHING, None, other)
    with pytest.raises(InputError, match=r"none\.onnx: there is no such ONNX file"):
        self_test.record(read, NOTHING, None, tmp_path / "none.onnx")


def test_recorded_by_the_library_itself(sample: Model, run: Path) -> None:
    """It may if the build compared it, and not otherwise: it would confirm its own faults."""
    give = r"give the ONNX file that was compiled: --onnx MODEL\.onnx"
    with pytest.raises(InputError, match=f"its library was not compared with ONNX Runtime.*{give}"):
        self_test.record(_without_onnx(sample), run, [])
    compared = _without_onnx(sample, check={"max_error": 1e-7, "tolerance": 0.5})
    with pytest.raises(InputError, match=f"its library does not run here.*{give}"):
        self_test.record(compared, NOTHING, None)
    found = self_test.record(compared, run, [])
    assert np.array_equal(found.outputs["y"], 2 * found.inputs["x"] + 1)
    assert found.outputs["total"].tolist() == [found.inputs["counts"].sum()]
    assert found.source.startswith("the library itself")
    assert found.tolerance == 0.5


@pytest.mark.parametrize(
    ("check", "dtypes", "tolerance"),
    [
        ({"tolerance": 0.25}, ["float32"], 0.25),
        ({"tolerance": 1}, ["float32"], 1.0),
        ({}, ["float32"], 1e-3),
        ({}, ["float16", "float32"], 2e-2),
        ({"tolerance": 0}, ["float64"], 1e-5),
        ({"tolerance": None}, ["int64"], 1e-3),
    ],
)
def test_the_tolerance(
    sample: Model, check: dict[str, Any], dtypes: list[str], tolerance: float
) -> None:
    """The build's own; else that of the least exact output."""
    outputs = [spec for at, dtype in enumerate(dtypes) for spec in _specs(f"o{at}", dtype=dtype)]
    if dtypes == ["float32"]:
        outputs = sample.manifest.outputs
        assert self_test.record(_changed(sample, check=check), NOTHING, None).tolerance == tolerance
    manifest = handmade.model(outputs=outputs, check=check).manifest
    assert self_test._tolerance(manifest) == tolerance


def test_free_sizes_are_refused() -> None:
    spec = TensorSpec(name="x", shape=["n", 4], dtype="float32")
    with pytest.raises(InputError, match="/none: the input x has free sizes; build with fixed"):
        self_test.record(handmade.model(inputs=[spec]), NOTHING, None)


def _recording(y: list[float], tolerance: float = 1e-3) -> self_test.Recording:
    return self_test.Recording(
        {"x": np.array([[1, 2, 3, 4]], np.float32), "counts": np.array([1, 2, 3], np.int64)},
        {"y": np.array([y], np.float32), "total": np.array([6], np.int64)},
        tolerance,
        "by hand",
    )


def test_what_passes_and_what_does_not(sample: Model, run: Path) -> None:
    """``y`` is 3, 5, 7, 9: its largest magnitude is 9."""
    said = self_test.check(sample, run, _recording([3, 5, 7, 9]), [])
    assert said == "sample: 2 outputs as recorded"
    self_test.check(sample, run, _recording([3, 5, 7 + 0.0085, 9]), [])
    for y, tolerance in (([3, 5, 7.0095, 9], 1e-3), ([5, 3, 7, 9], 0.1), ([3, 5, 7, 9.01], 1e-4)):
        with pytest.raises(InputError, match=r"does not pass its own self-test.*: .*y differs"):
            self_test.check(sample, run, _recording([float(each) for each in y], tolerance), [])
    wrong = replace(_recording([3, 5, 7, 9]), inputs={"x": np.ones((1, 4), np.float32)})
    wrong = replace(wrong, inputs={**wrong.inputs, "counts": np.array([1, 2, 4], np.int64)})
    with pytest.raises(InputError, match="differs"):
        self_test.check(sample, run, wrong, [])


def test_programs_that_do_not_run(
    sample: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = _recording([3, 5, 7, 9])
    with pytest.raises(MissingError, match="/none/tvmkd-run: cannot be run here: No such file"):
        self_test.check(sample, NOTHING, recording, [])
    program = tmp_path / "run"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(InputError, match="so it is not shipped: code 3"):
        self_test.check(sample, program, recording, [])
    program.write_text("#!/bin/sh\nexec sleep 30\n")
    monkeypatch.setattr(self_test, "RUN_SECONDS", 0.2)
    with pytest.raises(InputError, match="the self-test took more than 0 s"):
        self_test.check(sample, program, recording, [])


@pytest.mark.parametrize("linked", [True, False])
def test_the_command_line(sample: Model, tmp_path: Path, linked: bool) -> None:
    program = tmp_path / "run"
    program.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    program.chmod(0o755)
    start = ["/usr/bin/env", "-u", "NOTHING"]
    said = self_test.check(sample, program, _recording([3] * 4, 2e-5), start, linked=linked)
    given = said.split("|")[:-1]
    assert given[: len(given) - 3] == ([] if linked else [str(sample.library)])
    inputs, compare, tolerance = given[-3:]
    assert inputs.startswith("--inputs=/")
    assert compare == inputs.replace("--inputs", "--compare").replace("inputs", "outputs")
    assert tolerance == "--tolerance=2e-05"
    assert not Path(inputs.partition("=")[2]).exists(), "nothing is left"


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["x", "y"], ["x.npy", "y.npy"]),
        (["a/b", "a:b", "a_b"], ["a_b.npy", "a_b-1.npy", "a_b-2.npy"]),
        (["../x", ".hidden"], ["_._x.npy", "_hidden.npy"]),
        (["größe"], ["gr__e.npy"]),
        (["-o.1"], ["-o.1.npy"]),
    ],
)
def test_file_names(names: list[str], files: list[str]) -> None:
    assert self_test.file_names(_specs(*names)) == files


def test_the_files_of_a_recording() -> None:
    manifest = handmade.model(inputs=_specs("a/b"), outputs=_specs("c", "d")).manifest
    x, c, d = (np.array([at, -at], np.float32) for at in (1, 2, 3))
    found = self_test.files(manifest, self_test.Recording({"a/b": x}, {"d": d, "c": c}, 1e-3, ""))
    loaded = {name: np.load(io.BytesIO(data)).tolist() for name, data in found.items()}
    assert loaded == {
        "self-test/inputs/a_b.npy": [1, -1],
        "self-test/outputs/c.npy": [2, -2],
        "self-test/outputs/d.npy": [3, -3],
    }


@pytest.mark.parametrize("dtype", ["float32", ">f4", "float16", "int64", ">i8", "uint8", "bool"])
def test_npy(dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype).T
    data = self_test.npy(array)
    loaded = np.load(io.BytesIO(data), allow_pickle=False)
    assert np.array_equal(loaded, array)
    # The first format, C order, little-endian: all that tvmkd-run reads.
    assert data[:8] == b"\x93NUMPY\x01\x00"
    header = data[10:128].decode("latin-1")
    assert "'fortran_order': False" in header
    assert ">" not in header
    assert data.endswith(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())


def test_types_that_cannot_be_recorded() -> None:
    for array in (np.array([None]), np.array(["a"]), np.zeros(1, np.complex64)):
        with pytest.raises(InputError, match=f"type {array.dtype} cannot be recorded"):
            self_test.npy(array)


def test_what_starts_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    assert self_test.runner(handmade.model("host")) == []
    here = targets.load("host").architecture
    if here != "x86_64":
        pytest.skip("for a machine on which aarch64 is emulated")
    monkeypatch.setattr(emulate, "why_not", lambda: None)
    found = self_test.runner(handmade.model("jetson-nano"))
    assert found is not None
    assert found[1:] == ["-cpu", "cortex-a57", "-L", os.fspath(emulate.SYSTEM)]
    assert Path(found[0]).name == emulate.QEMU
    # A GPU is not emulated.
    assert self_test.runner(handmade.model("jetson-nano-gpu")) is None
    monkeypatch.setattr(emulate, "why_not", lambda: "no QEMU")
    assert self_test.runner(handmade.model("jetson-nano")) is None


def test_a_normalised_file_of_the_folder_is_used_only_if_it_is_listed(
    sample: Model, tmp_path: Path
) -> None:
    """A file that the manifest does not know was not verified."""
    toy.onnx_file(tmp_path / self_test.NORMALISED, 5)
    stray = replace(_without_onnx(sample), folder=tmp_path)
    with pytest.raises(InputError, match="there is nothing to record the self-test with"):
        self_test.record(stray, NOTHING, None)
    entry = FileEntry(sha256="0" * 64, size=1)
    listed = _changed(stray, files={self_test.NORMALISED: entry})
    found = self_test.record(listed, NOTHING, None)
    np.testing.assert_allclose(found.outputs["y"], 2 * found.inputs["x"] + 5, rtol=1e-6)
