"""Opens what a stream runs: an artifact, a network with early exits, or an ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd import artifact
from tvmkd.base.errors import InputError
from tvmkd.base.files import sha256
from tvmkd.base.manifest import Manifest, TensorSpec
from tvmkd.base.runtimes import STANDALONE
from tvmkd.early_exit import runtime as early_exit
from tvmkd.early_exit.runtime import EXITS
from tvmkd.runtime.standalone_program import Late

Outputs = Sequence[Any]
Run = Callable[[Sequence[np.ndarray], int], tuple[Outputs, int]]
"""Inputs and a deadline (ns of the monotonic clock) to outputs and the exit taken, from 0."""


@dataclass(frozen=True)
class Whole:
    """What a library did with a frame: nanoseconds of its steps, and the exit taken."""

    prepare: int
    model: int
    exit: int


RunFrame = Callable[[np.ndarray, int], Whole]
"""A frame, uint8 RGB ``[H, W, 3]``, and the deadline of its model."""


@dataclass(frozen=True)
class Model:
    """A model that is ready to run.

    Attributes:
        name: for people.
        path: the folder or file.
        sha256: of its manifest, plan or file.
        runtime: what runs it.
        inputs, outputs: their names, shapes and types.
        metadata: of the ONNX file.
        exits: number of exits; 1 where it has none but its end.
        target: the content of the target's file; empty for an ONNX file.
        run: runs it.
        run_frame: runs it with the pre- and post-processing in its library; None: it has none.
    """

    name: str
    path: Path
    sha256: str
    runtime: str
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    metadata: Mapping[str, str]
    exits: int
    run: Run
    target: Mapping[str, Any] = field(default_factory=dict)
    run_frame: RunFrame | None = None


def open_model(path: Path, exit_early: bool = False, threads: int = 0) -> Model:
    """Opens a model.

    Args:
        path: an artifact's folder, a folder with ``exits.json``, or an ONNX file.
        exit_early: whether a network with exits leaves at an earlier one when time is short.
        threads: of ONNX Runtime, 0 for all cores. TVM reads ``TVM_NUM_THREADS`` instead.

    Raises:
        InputError: the path does not exist, is damaged, or is not for this machine.
        MissingError: what runs it is not installed.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such artifact")
    if (path / EXITS).is_file():
        return _early_exit(path, exit_early)
    if path.is_dir():
        return _artifact(path, exit_early)
    return _onnx(path, threads)


def _artifact(path: Path, exit_early: bool) -> Model:
    model = artifact.load(path)

    def run(arrays: Sequence[np.ndarray], deadline: int) -> tuple[Outputs, int]:
        del deadline
        return model.run(arrays), 0

    def run_exits(arrays: Sequence[np.ndarray], deadline: int) -> tuple[Outputs, int]:
        try:
            return model.run_until(arrays, deadline if exit_early else None)
        except Late:  # a late answer is better than none
            return model.run_exit(arrays, 0), 0

    exits = model.manifest.exits  # empty without early ones
    count = len(exits["thresholds"]) + 1 if exits else 1
    call = run_exits if exits else run
    made = _described(path, model.manifest, artifact.MANIFEST, call, count)
    return (
        replace(made, run_frame=_frames(model, exit_early and count > 1))
        if model.manifest.frames
        else made
    )


def _frames(model: artifact.Artifact, limited: bool) -> RunFrame:
    def run_frame(pixels: np.ndarray, deadline: int) -> Whole:
        given = {"deadline_ns": deadline} if limited else {}
        try:
            found = model.run_frame(pixels, "RGB", **given)
        except Late:
            # Its exit cannot be chosen; what the whole network says is later still.
            found = model.run_frame(pixels, "RGB")
        return Whole(found.times["prepare"], found.times["model"], max(0, found.exit_taken))

    return run_frame


def _early_exit(path: Path, exit_early: bool) -> Model:
    network = early_exit.load(path)

    def run(arrays: Sequence[np.ndarray], deadline: int) -> tuple[Outputs, int]:
        (image,) = arrays
        logits, taken = network.run_until(image, deadline) if exit_early else network(image)
        return [logits], taken

    first, last = network.pieces[0].manifest, network.pieces[-1].manifest
    # Its pieces are called 0, 1 and so on.
    merged = first.model_copy(update={"name": path.resolve().name, "outputs": last.outputs})
    return _described(path, merged, EXITS, run, len(network.pieces))


def described(path: Path) -> Model:
    """A standalone artifact that is run elsewhere: all but what runs it.

    Raises:
        InputError: the path is no artifact, is damaged, or is no standalone one.
    """
    manifest = artifact.read(path)
    if manifest.runtime != STANDALONE:
        raise InputError(
            f"{path}: needs TVM's runtime, and a board gets a library that needs nothing; build it "
            "with --runtime standalone"
        )

    def never(arrays: Sequence[np.ndarray], deadline: int) -> tuple[Outputs, int]:
        raise AssertionError("it runs on the board")

    exits = manifest.exits
    count = len(exits["thresholds"]) + 1 if exits else 1
    return _described(path, manifest, artifact.MANIFEST, never, count)


def _described(path: Path, manifest: Manifest, file: str, run: Run, exits: int) -> Model:
    return Model(
        name=manifest.name,
        path=path,
        sha256=sha256(path / file),
        runtime=runtime_of(manifest),
        inputs=manifest.inputs,
        outputs=manifest.outputs,
        metadata=manifest.metadata,
        exits=exits,
        run=run,
        target=manifest.target,
    )


def runtime_of(manifest: Manifest) -> str:
    """What runs an artifact, for people."""
    made = f"({manifest.stack} {manifest.stack_version})"
    return f"its own library {made}" if manifest.runtime == STANDALONE else f"TVM {made}"


def _onnx(path: Path, threads: int) -> Model:
    from tvmkd.base.onnx_runtime import numpy_dtype, open_session, package

    session = open_session(path, threads=threads)
    inputs, outputs = (
        [
            TensorSpec(name=value.name, shape=value.shape, dtype=numpy_dtype(value.type))
            for value in values
        ]
        for values in (session.get_inputs(), session.get_outputs())
    )
    names = [spec.name for spec in inputs]

    def run(arrays: Sequence[np.ndarray], deadline: int) -> tuple[Outputs, int]:
        del deadline
        return session.run(None, dict(zip(names, arrays, strict=True))), 0

    return Model(
        name=path.stem,
        path=path,
        sha256=sha256(path),
        runtime=f"ONNX Runtime {package().__version__}",
        inputs=inputs,
        outputs=outputs,
        metadata=session.get_modelmeta().custom_metadata_map,
        exits=1,
        run=run,
    )
