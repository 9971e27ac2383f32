"""The door that every ONNX file goes through before a compiler reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from tvmkd.base.agreement import TIGHTEST, Output
from tvmkd.base.errors import InputError
from tvmkd.base.given_inputs import real_samples
from tvmkd.base.limits import VARIABLE, silence_limit
from tvmkd.base.onnx_runtime import Unloadable, open_session, plain, run_within
from tvmkd.export.branches import drawn
from tvmkd.export.check import ModelInfo, Tensor, check_parsed, parse
from tvmkd.export.graph import operators
from tvmkd.export.normalise import normalise, steps_for
from tvmkd.export.reference import Runs
from tvmkd.export.stand_in import stand_in
from tvmkd.export.walk import skeleton
from tvmkd.export.weights import load_external

NAME = "normalised.onnx"
# As `tvmkd.base.tolerance.COMPILED`; a tenth is always allowed, and more where there is noise.
_BOUNDS = {"float16": 1e-1, "float32": 1e-3, "float64": 1e-8}
_REAL = 2  # real samples
# From this operator set on, ONNX Runtime lacks some operators that it has in older ones.
_NEW = 22
# Bytes of one message of protobuf's, with some to spare.
_LARGEST = (1 << 31) - (1 << 26)
# Weights above this stay outside where all of them are too large; sizes and scales are below.
_SMALL = 1 << 16


def admit(
    path: Path, dims: Mapping[str, int] | None, folder: Path, inputs: Path | None = None
) -> ModelInfo:
    """Checks an ONNX file, and normalises it for the compilers.

    Args:
        path: the file.
        dims: sizes of free dimensions: see `tvmkd.export.sizes.fix`.
        folder: gets the normalised model, if that differs from the file; it must exist until the
            compiler has read it.
        inputs: an ``.npz`` of real inputs, which both models run on too: see
            `tvmkd.base.given_inputs`.

    Returns:
        facts of the file, with the path of the normalised model and what was done to it.

    Raises:
        InputError: the file cannot be used: see `tvmkd.export.check.check`; or ONNX Runtime, the
            reference of every build, cannot load or run it.
    """
    model = parse(path)
    info = check_parsed(model, path, dims)
    size = path.stat().st_size
    if size > _LARGEST:
        return info
    large = size + sum(file.stat().st_size for file in info.external) > _LARGEST
    load_external(model, path, _SMALL if large else None)
    original = _Original(path, model, info, folder / NAME, outside=large, inputs=inputs)
    try:
        if info.opset >= _NEW:
            _refuse_unloadable(model, path)
        return _normalised(original, model, info, dims, folder)
    except Unloadable:
        other = None if large else stand_in(path, model, info)
        if other is None:
            raise
    runnable = folder / "stand-in" / path.name
    runnable.parent.mkdir()
    onnx.save(other, str(runnable))
    original = _Original(runnable, other, info, folder / NAME, outside=False, inputs=inputs)
    return replace(_normalised(original, other, info, dims, folder), stand_in=runnable)


def _refuse_unloadable(model: onnx.ModelProto, path: Path) -> None:
    """Makes sure that ONNX Runtime loads a file; tries it without the large weights first.

    Raises:
        Unloadable: it does not.
    """
    if not model.functions and "GroupNormalization" not in operators(model):
        try:
            light = skeleton(model).SerializeToString()
            open_session(light, threads=1, optimize=False)
        except Unloadable:  # some kernels need their weights as constants
            pass
        else:
            return
    open_session(path, threads=1, optimize=False)


def _normalised(
    original: _Original,
    model: onnx.ModelProto,
    info: ModelInfo,
    dims: Mapping[str, int] | None,
    folder: Path,
) -> ModelInfo:
    """The facts, with the path of the normalised model and what was done to it.

    Args:
        original: what ONNX Runtime runs.
        model: the same.
        info, dims, folder: as `admit` has them.

    Raises:
        InputError: ONNX Runtime cannot load or run the file.
    """
    reasons: dict[str, str] = {}
    done = normalise(model, original.difference, steps_for(str(info.path), reasons))
    unknown = any(isinstance(size, str) for tensor in info.outputs for size in tensor.shape)
    if done.left_out or unknown:
        original.run()  # the reason of both may be that it is no model for ONNX Runtime
        info = replace(info, left_out=dict(done.left_out))
    info = replace(info, reasons=reasons)
    info = replace(info, outputs=original.outputs() or info.outputs)
    if not done.steps and not dims and not info.assumed and not info.external:
        return info
    original.store(done.model)
    return replace(info, normalised=folder / NAME, steps=tuple(done.steps))


class _Original:
    """The file's outputs in ONNX Runtime, computed when they are first needed."""

    def __init__(
        self,
        path: Path,
        model: onnx.ModelProto,
        info: ModelInfo,
        out: Path,
        *,
        outside: bool,
        inputs: Path | None = None,
    ) -> None:
        self._path, self._model, self._info, self._out = path, model, info, out
        self._outside, self._inputs = outside, inputs
        self._runs: Runs | None = None
        self._stored: onnx.ModelProto | None = None

    def run(self) -> Runs:
        """The outputs on the samples that no check leaves out.

        Raises:
            InputError: ONNX Runtime cannot load the file, or fails on every sample.
        """
        if self._runs is not None:
            return self._runs
        specs = [
            {"name": tensor.name, "shape": tensor.shape, "dtype": tensor.dtype}
            for tensor in self._info.inputs
        ]
        try:
            choices, _ = drawn(self._path, self._model, specs)
            real = [[sample] for sample in real_samples(self._inputs, specs, _REAL)]
            runs = Runs(self._path, self._model, [*real, *choices], limit=silence_limit())
        except TimeoutError as error:
            raise InputError(
                f"{self._path}: {error} on random inputs: a loop in it may not end; if it is "
                f"only slow, allow more seconds with {VARIABLE}"
            ) from None
        runs.require_samples()
        self._runs = runs
        return runs

    def difference(self, model: onnx.ModelProto) -> str | None:
        """How the outputs of ``model`` differ from the file's, or None."""
        runs = self.run()
        found = {}
        try:
            self.store(model)
            # External weights are looked for beside a file, and these lie beside the original.
            read = self._out.read_bytes() if self._outside else self._out
            session = open_session(read, str(self._path), threads=1, weights=self._path.parent)
            for i, sample in enumerate(runs.samples):
                for j, output in enumerate(run_within(session, sample, silence_limit())):
                    found[f"{i}.{j}"] = np.asarray(output)
        except Exception as error:  # not the user's file: the step that made it is left out
            return plain(error)
        return runs.judge(found, _exact).reason or None

    def store(self, model: onnx.ModelProto) -> None:
        """Writes the model to ``out``, unless it is there."""
        if self._stored is not model:
            onnx.save(model, str(self._out))
            self._stored = model

    def outputs(self) -> tuple[Tensor, ...] | None:
        """The outputs as ONNX Runtime gives them, if it was run; None for other than tensors."""
        if self._runs is None:
            return None
        return tuple(
            Tensor(output.name, output.runs[0][0].shape, str(output.runs[0][0].dtype))
            for output in self._runs.outputs
        )


def _exact(output: Output) -> Output:
    """What a normalised model owes: less than a compiled one may be off.

    In each channel; behind a quantiser as much as roundings that tip over make of other runs.
    """
    bound = _BOUNDS.get(output.runs[0][0].dtype.name, output.bound)
    return replace(output, bound=bound if output.channels else TIGHTEST * bound, steps=0)
