"""The recorded self-test: an input, and the output that the library has to give for it."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvmkd.base import given_inputs, onnx_runtime, tolerance
from tvmkd.base.errors import InputError, MissingError
from tvmkd.base.files import sha256
from tvmkd.base.manifest import Manifest, TensorSpec
from tvmkd.base.random_inputs import random_sample
from tvmkd.boards import emulate
from tvmkd.deploy.bundles.model import Model

NORMALISED = "normalised.onnx"
RUN_SECONDS = 300.0

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Recording:
    """One recorded run.

    Attributes:
        inputs, outputs: arrays by the names of the manifest.
        tolerance: the largest difference of an output, as a share of its largest magnitude.
        source: what the outputs were computed with, for people.
    """

    inputs: Arrays
    outputs: Arrays
    tolerance: float
    source: str


def record(
    model: Model,
    run_program: Path,
    start: Sequence[str] | None,
    onnx: Path | None = None,
    inputs: Path | None = None,
) -> Recording:
    """Runs the model once and keeps the input and the outputs.

    ONNX Runtime runs it where the artifact holds its normalised ONNX file or ``onnx`` is given.
    Else the library itself does, if the build has compared it with ONNX Runtime.

    Args:
        model: the artifact.
        run_program: ``tvmkd-run`` for its target.
        start: from `runner`.
        onnx: the file that was compiled.
        inputs: an ``.npz`` whose first sample is the input; None: one is drawn, always the same.

    Raises:
        InputError: there is no ONNX file and the library was not compared or does not run here;
            ``onnx`` is another file; or ONNX Runtime refuses it.
    """
    manifest = model.manifest
    free = [spec.name for spec in manifest.inputs if any(isinstance(n, str) for n in spec.shape)]
    if free:
        raise InputError(
            f"{model.folder}: the input {free[0]} has free sizes; build with fixed ones"
        )
    specs = [spec.model_dump() for spec in manifest.inputs]
    given = given_inputs.real_samples(inputs, specs, most=1)
    path = _onnx_file(model, onnx)
    if path is not None:
        return _by_onnx_runtime(model, path, given or _drawn(path, specs))
    if start is None or "max_error" not in manifest.check:
        why = "does not run here" if start is None else "was not compared with ONNX Runtime"
        raise InputError(
            f"{model.folder}: its library {why}, so there is nothing to record the self-test with; "
            "give the ONNX file that was compiled: --onnx MODEL.onnx"
        )
    sample = given[0] if given else random_sample(np.random.default_rng(0), specs)
    outputs = _by_library(model, [*start, os.fspath(run_program)], sample)
    source = "the library itself, which the build compared with ONNX Runtime"
    return Recording(sample, outputs, _tolerance(manifest), source)


def _onnx_file(model: Model, onnx: Path | None) -> Path | None:
    if onnx is None:
        normalised = model.folder / NORMALISED
        return normalised if NORMALISED in model.manifest.files else None
    if not onnx.is_file():
        raise InputError(f"{onnx}: there is no such ONNX file")
    if sha256(onnx) != model.manifest.onnx_sha256:
        raise InputError(f"{onnx}: is not the file that {model.folder} was built from")
    return onnx


def _by_onnx_runtime(model: Model, path: Path, samples: Sequence[Arrays]) -> Recording:
    session = onnx_runtime.open_session(path, threads=1, exact=True, spin=False)
    names = [spec.name for spec in model.manifest.outputs]
    refused = "it refuses every input that was drawn"
    for sample in samples:
        try:
            found = session.run(names, dict(sample))
        except Exception as error:  # its exceptions have no common base class
            refused = onnx_runtime.plain(error)
            continue
        return Recording(
            sample,
            dict(zip(names, (np.ascontiguousarray(array) for array in found), strict=True)),
            _tolerance(model.manifest),
            f"onnxruntime {onnx_runtime.package().__version__}, one thread",
        )
    raise InputError(f"{path}: ONNX Runtime cannot run it: {refused}; give --inputs")


def _by_library(model: Model, program: Sequence[str], sample: Arrays) -> dict[str, np.ndarray]:
    specs = model.manifest.outputs
    with tempfile.TemporaryDirectory(prefix="tvmkd-bundle-") as work:
        _write(work, _files("inputs", model.manifest.inputs, sample))
        given = [f"--inputs={work}/self-test/inputs", f"--output={work}/found"]
        _run(model, [*program, os.fspath(model.library)], given)
        return {
            spec.name: np.load(Path(work) / "found" / name, allow_pickle=False)
            for name, spec in zip(file_names(specs), specs, strict=True)
        }


def _drawn(path: Path, specs: Sequence[Mapping[str, object]]) -> list[Arrays]:
    import onnx

    from tvmkd.export.samples import Sampler

    sampler = Sampler(onnx.load(path, load_external_data=False), specs, seed=0)
    return [sample for choices in sampler.samples() for sample in choices]


def _tolerance(manifest: Manifest) -> float:
    """What the build's own check allowed; without one, what is allowed for the outputs' dtypes."""
    checked = manifest.check.get("tolerance")
    if isinstance(checked, (int, float)) and checked > 0:
        return float(checked)
    return max(tolerance.compiled(spec.dtype) for spec in manifest.outputs)


def file_names(specs: Sequence[TensorSpec]) -> list[str]:
    """The files that ``tvmkd-run`` reads for tensors: plain letters, a number where two collide."""
    plain = [re.sub(r"[^A-Za-z0-9_.-]", "_", spec.name) for spec in specs]
    plain = [f"_{name[1:]}" if name.startswith(".") else name for name in plain]
    return [f"{name}{f'-{at}' if name in plain[:at] else ''}.npy" for at, name in enumerate(plain)]


def npy(array: np.ndarray) -> bytes:
    """The array as an ``.npy`` file: little-endian and C-contiguous.

    Raises:
        InputError: numpy's format has no such type (bfloat16).
    """
    if array.dtype.kind not in "fiub":
        raise InputError(f"a tensor of type {array.dtype} cannot be recorded for a self-test")
    stream = io.BytesIO()
    little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    np.lib.format.write_array(stream, little, version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def files(manifest: Manifest, recording: Recording) -> dict[str, bytes]:
    """The recording's files, by their paths in a bundle."""
    inputs = _files("inputs", manifest.inputs, recording.inputs)
    return inputs | _files("outputs", manifest.outputs, recording.outputs)


def _files(part: str, specs: Sequence[TensorSpec], arrays: Arrays) -> dict[str, bytes]:
    return {
        f"self-test/{part}/{name}": npy(np.asarray(arrays[spec.name]))
        for name, spec in zip(file_names(specs), specs, strict=True)
    }


def _write(folder: str, content: Mapping[str, bytes]) -> None:
    for name, data in content.items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def runner(model: Model) -> list[str] | None:
    """What starts a program of the target here: nothing before it, QEMU, or None: it cannot run."""
    if model.target.why_not_here(model.manifest.runtime) is None:
        return []
    if model.target.device != "cpu" or model.target.architecture != "aarch64":
        return None
    if emulate.why_not() is not None:
        return None
    cpu = model.target.mcpu
    named = cpu if cpu.startswith("cortex-") else "max"
    qemu = shutil.which(emulate.QEMU) or emulate.QEMU
    return [qemu, "-cpu", named, "-L", os.fspath(emulate.SYSTEM)]


def check(
    model: Model,
    run_program: Path,
    recording: Recording,
    start: Sequence[str],
    *,
    linked: bool = False,
) -> str:
    """Runs the self-test as a board will, with the same program; returns what it says.

    Args:
        model: the artifact.
        run_program: ``tvmkd-run`` for its target.
        recording: what has to come.
        start: from `runner`.
        linked: the model is linked into ``run_program``.

    Raises:
        InputError: the library gives something else: it must not be shipped.
        MissingError: the program cannot be run here.
    """
    with tempfile.TemporaryDirectory(prefix="tvmkd-bundle-") as work:
        _write(work, files(model.manifest, recording))
        given = [f"--inputs={work}/self-test/inputs", f"--compare={work}/self-test/outputs"]
        given.append(f"--tolerance={recording.tolerance:.9g}")
        program = [*start, os.fspath(run_program)]
        return _run(model, program if linked else [*program, os.fspath(model.library)], given)


def _run(model: Model, program: Sequence[str], given: Sequence[str]) -> str:
    command = [*program, *given]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{model.folder}: the self-test took more than {RUN_SECONDS:.0f} s"
        ) from None
    except OSError as error:
        raise MissingError(f"{command[0]}: cannot be run here: {error.strerror}") from None
    said = (done.stderr.strip() or done.stdout.strip()).splitlines() or [f"code {done.returncode}"]
    if done.returncode:
        raise InputError(
            f"{model.folder}: does not pass its own self-test, so it is not shipped: {said[-1]}"
        )
    return said[-1]
