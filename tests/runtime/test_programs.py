"""Programs run a library in this process or in a subprocess, with the same outputs and errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import relay_stack
import toys

from tvmkd import targets
from tvmkd.base.errors import TvmkdError, UsageError
from tvmkd.base.manifest import TensorSpec
from tvmkd.runtime import programs
from tvmkd.runtime.program import LoadError
from tvmkd.runtime.subprocess_program import SubprocessProgram
from tvmkd.stacks.compile import build

pytestmark = pytest.mark.usefixtures("warm_worker")

PAIR = [TensorSpec(name=name, shape=[1, 4], dtype="float32") for name in "xy"]
X, Y = np.arange(4, dtype=np.float32).reshape(1, 4), np.full((1, 4), 3, np.float32)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toys.library(tmp_path_factory.mktemp("programs") / "toy.so")


def test_an_unknown_stack_is_wrong_usage(library: Path) -> None:
    with pytest.raises(UsageError, match="known: relax, relay"):
        programs.open_program("glow", library, PAIR)


def test_a_library_runs_without_the_package_of_the_compiler(library: Path) -> None:
    code = (
        "import sys, pathlib, numpy as np; from tvmkd.base.manifest import TensorSpec;"
        "from tvmkd.runtime import programs; programs.preload('relax');"
        f"specs = [TensorSpec(**spec) for spec in {[spec.model_dump() for spec in PAIR]}];"
        f"program = programs.open_program('relax', pathlib.Path({str(library)!r}), specs);"
        "program.run([np.ones(spec.shape, spec.dtype) for spec in specs]);"
        "print([name for name in ('tvm', 'torch', 'cuda.bindings.driver') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_subprocess_gives_the_same_outputs(library: Path) -> None:
    here = programs.open_program("relax", library, PAIR)
    there = SubprocessProgram("relax", library, PAIR)
    assert here.takes([X, Y])
    assert not here.takes([X.astype(np.float64), Y])
    assert not there.takes([X, Y])
    for ours, theirs in zip(here.run([X, Y]), there.run([X, Y]), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(TvmkdError):
        there.run([X])  # the library raises the error
    np.testing.assert_array_equal(there.run([X, Y])[0], X + Y)


def test_the_subprocess_ends_with_its_program(library: Path) -> None:
    there = SubprocessProgram("relax", library, PAIR)
    pid, folder = there._child.pid, Path(there._folder.name)
    assert folder.is_dir()
    del there
    assert not Path(f"/proc/{pid}").exists()
    assert not folder.exists()


def test_a_library_that_cannot_be_loaded_is_an_error_in_both(tmp_path: Path) -> None:
    broken = tmp_path / "model.so"
    broken.write_bytes(b"not a library")
    with pytest.raises(LoadError):
        SubprocessProgram("relax", broken, PAIR)


def test_a_relay_artifact_runs_from_this_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TVMKD_RELAY_PYTHON", relay_stack.relay_python())
    onnx, out = toys.onnx_file(tmp_path / "m.onnx"), tmp_path / "out"
    build(onnx, targets.load("host"), [], out, shipped=False, stack="relay")
    import onnxruntime

    import tvmkd

    x = np.random.default_rng(0).standard_normal((1, 8)).astype(np.float32)
    (wanted,) = onnxruntime.InferenceSession(str(onnx)).run(None, {"x": x})
    np.testing.assert_allclose(tvmkd.load(out)(x), wanted, atol=1e-6)
    with pytest.raises(LoadError, match=r"."):
        # Relax's TVM cannot load it: the error, not a crash.
        programs.open_program(
            "relax", out / "model.so", [TensorSpec(name="x", shape=[1, 8], dtype="float32")]
        )
