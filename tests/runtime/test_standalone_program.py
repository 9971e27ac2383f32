from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import graphs
import numpy as np
import onnxruntime
import pytest

import tvmkd
from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.runtime import standalone_program
from tvmkd.runtime.program import LoadError
from tvmkd.runtime.standalone_program import StandaloneProgram

X = np.random.default_rng(0).standard_normal((1, 3, 20, 20), np.float32)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("standalone")
    onnx = graphs.separable(folder / "net.onnx")
    tvmkd.build(onnx, folder / "out", runtime="standalone")
    return folder / "out"


def expected(built: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(built.parent / "net.onnx")
    result: np.ndarray = session.run(None, {"x": X})[0]
    return result


def test_it_agrees_with_onnxruntime_without_tvm(built: Path) -> None:
    code = (
        "import sys, numpy as np, tvmkd; model = tvmkd.load(sys.argv[1]); "
        "np.save(sys.argv[2], model(np.load(sys.argv[3]))); "
        "print([name for name in ('tvm', 'tvm_ffi', 'torch') if name in sys.modules])"
    )
    given, made = built.parent / "x.npy", built.parent / "y.npy"
    np.save(given, X)
    words = [sys.executable, "-c", code, built, made, given]
    said = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
    np.testing.assert_allclose(np.load(made), expected(built), rtol=1e-4, atol=1e-4)


def test_the_caller_owns_the_outputs(built: Path) -> None:
    model = tvmkd.load(built)
    first, other = model(X), model(X * 2)
    assert not np.shares_memory(first, other)
    kept = first.copy()
    model(X * 3)
    np.testing.assert_array_equal(first, kept)


def test_arrays_with_gaps_and_without_alignment(built: Path) -> None:
    model = tvmkd.load(built)
    wide = np.repeat(X, 2, axis=3)[..., ::2]
    raw = np.empty(X.nbytes + 4, np.uint8)[4:].view(np.float32)
    raw[:] = X.ravel()
    for given in (wide, raw.reshape(X.shape), np.asfortranarray(X)):
        np.testing.assert_array_equal(model(given), model(X))
    with pytest.raises(InputError, match="expects dtype float32, got float64"):
        model(X.astype(np.float64))


def test_one_instance_for_each_thread(built: Path) -> None:
    want, found = expected(built), []

    def use() -> None:
        model = tvmkd.load(built)
        found.extend(np.allclose(model(X), want, rtol=1e-4, atol=1e-4) for _ in range(30))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 240


def test_deadlines(built: Path) -> None:
    manifest = tvmkd.load(built).manifest
    program = StandaloneProgram(built / manifest.library, manifest.inputs)
    outputs, taken = program.run_until([X], time.monotonic_ns() + 10**10)
    assert taken == 0
    np.testing.assert_allclose(outputs[0], expected(built), rtol=1e-4, atol=1e-4)
    with pytest.raises(TvmkdError, match="run_until: the first exit would be late"):
        program.run_until([X], time.monotonic_ns() - 1)


def workers() -> int:
    """Threads of instances here; other libraries start and end threads when they like."""
    found = 0
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it ended
            found += (thread / "comm").read_text() == "tvmkd-worker\n"
    return found


def test_instances_are_closed(built: Path) -> None:
    manifest = tvmkd.load(built).manifest
    before = workers()
    programs = [
        StandaloneProgram(built / manifest.library, manifest.inputs, threads=3) for _ in range(4)
    ]
    assert workers() == before + 8
    programs.clear()
    assert workers() == before


def test_the_number_of_threads_comes_from_tvms_variable(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TVM_NUM_THREADS", "3")
    before = workers()
    model = tvmkd.load(built)
    assert workers() == before + 2
    del model


def test_what_is_no_standalone_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "libx.so"
    text.write_text("no library")
    with pytest.raises(LoadError, match=r"invalid ELF header|file too short"):
        standalone_program.describe(text)
    with pytest.raises(LoadError, match="tvmkd_library_v1"):
        standalone_program.describe(Path("libc.so.6"))
    newer = SimpleNamespace(contents=SimpleNamespace(api_version=2))
    loaded = SimpleNamespace(tvmkd_library_v1=lambda: newer)
    monkeypatch.setattr(standalone_program.ctypes, "CDLL", lambda _: loaded)
    loaded.tvmkd_library_v1.restype = None  # type: ignore[attr-defined]
    with pytest.raises(LoadError, match="its interface has version 2"):
        standalone_program.describe(text)


def test_a_changed_byte_is_refused(built: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(built, tmp_path / "copy")
    path = copy / "libnet.so"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"libnet\.so: does not have the SHA-256"):
        tvmkd.load(copy)
