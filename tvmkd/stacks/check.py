"""Compares a compiled model's outputs with ONNX Runtime's.

A wrong kernel may crash or hang, so the library under test never runs in the worker: the process
``python -m tvmkd.stacks.check`` loads and runs it, and a library that ends it counts as wrong.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd.base import tolerance, wire
from tvmkd.base.errors import InputError, MissingError, TvmkdError
from tvmkd.base.manifest import TensorSpec
from tvmkd.base.onnx_runtime import open_session
from tvmkd.base.random_inputs import random_sample
from tvmkd.boards.remote import RemoteModel
from tvmkd.runtime import programs

Arrays = Mapping[str, np.ndarray]
RANDOM_SAMPLES = 3
TIMEOUT = 120.0


@dataclass(frozen=True)
class Verdict:
    """How a library's outputs compare with the reference.

    Attributes:
        agrees: within tolerance on every sample.
        error: the largest error as a share of the output's largest magnitude; infinite if the
            library crashed or an output has another shape.
        reason: why it does not agree, for people; else empty.
    """

    agrees: bool
    error: float
    reason: str = ""


class Reference:
    """ONNX Runtime's outputs (FP32, CPU) for a set of samples, computed once.

    Args:
        stack: the stack that builds the libraries.
        onnx: the model.
        inputs: name, shape and dtype of each input.
        real: real inputs, stacked along a first axis of samples (see `real_samples`).
        seed: of the random samples.
        board: ``{"host", "port", "key"}`` of the tracker of the board to run the library on; None:
            run it on this machine.
        target: ``Target.to_dict()`` of the library's target; needed with ``board``.

    Attributes:
        names: of the inputs.
        samples: inputs by name: the real ones, then `RANDOM_SAMPLES` random ones.
        outputs: the reference's outputs for each sample.
        tolerance: the largest error allowed, as a share of an output's largest magnitude.
        on: facts about the board, after the first run there.
    """

    def __init__(
        self,
        stack: str,
        onnx: Path,
        inputs: Sequence[Mapping[str, Any]],
        real: Sequence[Arrays] = (),
        seed: int = 0,
        board: Mapping[str, Any] | None = None,
        target: Mapping[str, Any] | None = None,
    ) -> None:
        self._stack, self._inputs = stack, [dict(spec) for spec in inputs]
        self._board, self._target = board, dict(target or {})
        self.on: dict[str, Any] = {}
        import onnx as onnx_format  # not at the top: the process that runs a library needs none

        from tvmkd.export.precision import precision_of

        rng = np.random.default_rng(seed)
        self.names = [spec["name"] for spec in inputs]
        self.samples: list[Arrays] = [*real]
        self.samples += [random_sample(rng, inputs) for _ in range(RANDOM_SAMPLES)]
        session = open_session(onnx, threads=1)
        self.outputs = [session.run(None, dict(sample)) for sample in self.samples]
        dtypes = {str(out.dtype) for outs in self.outputs for out in outs}
        dtypes.add(precision_of(onnx_format.load(onnx, load_external_data=False)))
        self.tolerance = max(map(tolerance.compiled, dtypes))

    def judge(self, library: Path) -> Verdict:
        """Runs ``library`` on the samples and compares.

        Raises:
            MissingError: no board is registered at the tracker.
            InputError: the board does not fit the target.
        """
        try:
            found = self._run_here(library) if self._board is None else self._run_there(library)
        except (MissingError, InputError):
            raise
        except TvmkdError as error:
            return Verdict(False, float("inf"), str(error))
        return compare(self.outputs, found, self.tolerance)

    def _run_here(self, library: Path) -> dict[str, np.ndarray]:
        with tempfile.TemporaryDirectory() as folder:
            inputs, answers = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
            arrays = {
                f"{i}.{j}": sample[name]
                for i, sample in enumerate(self.samples)
                for j, name in enumerate(self.names)
            }
            np.savez(inputs, **arrays)  # type: ignore[arg-type]
            params = {
                "stack": self._stack,
                "specs": self._inputs,
                "library": str(library),
                "inputs": str(inputs),
                "outputs": str(answers),
                "samples": len(self.samples),
            }
            with wire.Child([sys.executable, "-m", "tvmkd.stacks.check"]) as child:
                child.call("run", params, timeout=TIMEOUT)
            with np.load(answers) as found:
                return {name: found[name] for name in found.files}

    def _run_there(self, library: Path) -> dict[str, np.ndarray]:
        assert self._board is not None
        found = {}
        with RemoteModel(library, self._target, self._board, self._stack) as model:
            self.on = {name: model.facts.get(name) for name in ("board", "cpu", "emulated")}
            for i, sample in enumerate(self.samples):
                outputs = model.run([sample[name] for name in self.names])
                found.update({f"{i}.{j}": output for j, output in enumerate(outputs)})
        return found


def compare(wanted: Sequence[Sequence[np.ndarray]], found: Arrays, allowed: float) -> Verdict:
    """Compares a library's outputs with the reference's.

    Args:
        wanted: the outputs of the reference, for each sample.
        found: output ``j`` of sample ``i`` as ``"i.j"``.
        allowed: the largest error, as a share of an output's largest magnitude.
    """
    worst = 0.0
    for i, outputs in enumerate(wanted):
        for j, output in enumerate(outputs):
            got = found.get(f"{i}.{j}")
            if got is None or got.shape != output.shape:
                shape = None if got is None else got.shape
                reason = f"output {j} has shape {shape}, ONNX Runtime gives {output.shape}"
                return Verdict(False, float("inf"), reason)
            worst = max(worst, tolerance.error_of_range(got, output))
    if worst <= allowed:
        return Verdict(True, worst)
    return Verdict(
        False, worst, f"outputs differ by {worst:.2g} of their range (allowed {allowed})"
    )


def real_samples(
    path: Path | None, inputs: Sequence[Mapping[str, Any]], most: int = 8
) -> list[Arrays]:
    """Reads up to ``most`` samples of the model's batch size from an ``.npz`` of real inputs.

    Args:
        path: one array an input, its samples along the first axis; None: no samples.
        inputs: ``{"name", "shape", "dtype"}`` of each input, with fixed sizes.
        most: at most so many samples. A last incomplete batch is left out.
    """
    if path is None:
        return []
    with np.load(path) as stored:
        arrays = {spec["name"]: stored[spec["name"]] for spec in inputs}
    samples: list[Arrays] = []
    for start in range(most):
        sample = {}
        for spec in inputs:
            batch = spec["shape"][0]
            part = arrays[spec["name"]][start * batch : (start + 1) * batch]
            if list(part.shape) != list(spec["shape"]):
                return samples
            sample[spec["name"]] = part.astype(spec["dtype"])
        samples.append(sample)
    return samples


def _run(params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
    """In the child: loads the library and runs it on every sample."""
    specs = [TensorSpec(**spec) for spec in params["specs"]]
    with programs.without_compiler(params["stack"]):
        program = programs.open_program(params["stack"], Path(params["library"]), specs)
    answers = {}
    with np.load(params["inputs"]) as stored:
        for i in range(params["samples"]):
            outputs = program.run([stored[f"{i}.{j}"] for j in range(len(specs))])
            answers.update({f"{i}.{j}": output for j, output in enumerate(outputs)})
    np.savez(params["outputs"], **answers)  # type: ignore[arg-type]
    return {}


if __name__ == "__main__":
    wire.serve({"run": _run})
