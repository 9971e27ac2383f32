"""The door that every ONNX file goes through before a compiler reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tvmkd.base.errors import InputError
from tvmkd.base.limits import VARIABLE, silence_limit
from tvmkd.base.onnx_runtime import open_session, plain, run_within
from tvmkd.base.random_inputs import random_sample
from tvmkd.export.check import ModelInfo, Tensor, check_parsed, parse
from tvmkd.export.normalise import differences, normalise, steps_for
from tvmkd.export.weights import load_external

NAME = "normalised.onnx"
_SAMPLES = 2
# A model above this cannot be one message of protobuf's, so its file is compiled as it is.
_LARGEST = (1 << 31) - (1 << 26)


def admit(path: Path, dims: Mapping[str, int] | None, folder: Path) -> ModelInfo:
    """Checks an ONNX file, and normalises it for the compilers.

    Args:
        path: the file.
        dims: sizes of free dimensions: see `tvmkd.export.sizes.fix`.
        folder: gets the normalised model, if that differs from the file; it must exist until the
            compiler has read it.

    Returns:
        facts of the file, with the path of the normalised model and what was done to it.

    Raises:
        InputError: the file cannot be used: see `tvmkd.export.check.check`; or ONNX Runtime, the
            reference of every build, cannot load or run it.
    """
    model = parse(path)
    info = check_parsed(model, path, dims)
    stored = sum(file.stat().st_size for file in info.external)
    if path.stat().st_size + stored > _LARGEST:
        return info
    load_external(model, path)
    original = _Original(path, info)
    reasons: dict[str, str] = {}
    done = normalise(model, original.difference, steps_for(str(path), reasons))
    unknown = any(isinstance(size, str) for tensor in info.outputs for size in tensor.shape)
    if done.left_out or unknown:
        original.run()  # the reason of both may be that it is no model for ONNX Runtime
        info = replace(info, left_out=dict(done.left_out))
    info = replace(info, reasons=reasons)
    info = replace(info, outputs=original.outputs() or info.outputs)
    if not done.steps and not dims and not info.assumed and not info.external:
        return info
    out = folder / NAME
    onnx.save(done.model, str(out))
    return replace(info, normalised=out, steps=tuple(done.steps))


class _Original:
    """The outputs of the file in ONNX Runtime, computed when they are first needed."""

    def __init__(self, path: Path, info: ModelInfo) -> None:
        self._path, self._info = path, info
        self._feeds: list[dict[str, np.ndarray]] = []
        self._found: list[list[Any]] | None = None

    def run(self) -> list[list[Any]]:
        """The outputs on each sample.

        Raises:
            InputError: ONNX Runtime cannot load the file, or fails on every sample.
        """
        if self._found is not None:
            return self._found
        session = open_session(self._path, exact=True)
        rng = np.random.default_rng(0)
        specs = [
            {"name": tensor.name, "shape": tensor.shape, "dtype": tensor.dtype}
            for tensor in self._info.inputs
        ]
        self._found, reason = [], ""
        for _ in range(_SAMPLES):
            feed = random_sample(rng, specs)
            try:
                outputs = run_within(session, feed, silence_limit())
            except TimeoutError as error:
                raise InputError(
                    f"{self._path}: {error} on random inputs: a loop in it may not end; if it is "
                    f"only slow, allow more seconds with {VARIABLE}"
                ) from None
            except Exception as error:  # its errors have no common base class
                reason = plain(error)
                continue
            self._feeds.append(feed)
            self._found.append(outputs)
        if not self._found:
            raise InputError(
                f"{self._path}: ONNX Runtime cannot run it on random inputs: {reason[:200]}"
            )
        return self._found

    def difference(self, model: onnx.ModelProto) -> str | None:
        """How the outputs of ``model`` differ from the file's, or None."""
        wanted = self.run()
        try:
            session = open_session(model.SerializeToString(), str(self._path))
            limit = silence_limit()
            found = [run_within(session, feed, limit) for feed in self._feeds]
        except Exception as error:  # not the user's file: the step that made it is left out
            return plain(error)
        return differences(wanted, found)

    def outputs(self) -> tuple[Tensor, ...] | None:
        """The outputs as ONNX Runtime gives them, if it was run; None for other than tensors."""
        if not self._found or not all(isinstance(o, np.ndarray) for o in self._found[0]):
            return None
        return tuple(
            Tensor(tensor.name, tuple(found.shape), str(found.dtype))
            for tensor, found in zip(self._info.outputs, self._found[0], strict=True)
        )
