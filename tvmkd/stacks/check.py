"""Compares a compiled model's outputs with ONNX Runtime's.

A wrong kernel may crash or hang, so the library under test never runs in the worker: the process
``python -m tvmkd.stacks.check`` loads and runs it, and a library that ends it counts as wrong.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd.base import wire
from tvmkd.base.agreement import Arrays, Output, Verdict
from tvmkd.base.errors import InputError, MissingError, TvmkdError
from tvmkd.base.manifest import TensorSpec
from tvmkd.base.runtimes import TVM
from tvmkd.boards.remote import RemoteModel
from tvmkd.runtime import programs
from tvmkd.runtime.program import Program
from tvmkd.runtime.standalone_program import NO_DEADLINE, StandaloneProgram

TIMEOUT, SLOWEST = 120.0, 60.0
"""Seconds that a library may take for all samples; how many times ONNX Runtime's, if that is more.
"""


class Reference:
    """ONNX Runtime's outputs (CPU) for a set of samples, computed once.

    Args:
        stack: the stack that builds the libraries.
        onnx: the file to compare with.
        inputs: name, shape and dtype of each input.
        real: real inputs (see `tvmkd.base.given_inputs`); without any, inputs are drawn that suit
            the model (see `tvmkd.export.samples`).
        seed: of the drawn samples.
        board: ``{"host", "port", "key"}`` of the tracker of the board to run the library on; None:
            run it on this machine.
        target: ``Target.to_dict()`` of the library's target; needed with ``board``.
        tighten: see `tvmkd.base.agreement.Output`.
        runtime: what runs the libraries: see `tvmkd.runtime.programs.open_program`.
        least: the smallest bound of an output, as a share of its spread: for libraries that compute
            in another precision than the file's.

    Attributes:
        stack: as given.
        names: of the inputs.
        samples: inputs by name.
        tolerance: the bound of the coarsest output, as a share of its spread.
        on: facts about the board, after the first run there.

    Raises:
        InputError: ONNX Runtime cannot load the file, or refuses all samples.
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
        tighten: bool = True,
        runtime: str = TVM,
        least: float = 0.0,
    ) -> None:
        self.stack, self._inputs = stack, [dict(spec) for spec in inputs]
        self._runtime = runtime
        self._board, self._target = board, dict(target or {})
        self.on: dict[str, Any] = {}
        import onnx as onnx_format  # not at the top: the process that runs a library needs none

        from tvmkd.export.branches import drawn
        from tvmkd.export.reference import Runs

        self.names = [spec["name"] for spec in inputs]
        model = onnx_format.load(onnx, load_external_data=False)
        self._tighten, self._least = tighten, least
        if real:
            self._runs = Runs(onnx, model, [[sample] for sample in real])
        else:
            self._runs = Runs(onnx, model, *drawn(onnx, model, inputs, seed))
        self._runs.require_samples()
        self.samples = self._runs.samples
        self.tolerance = max((output.bound for output in self.outputs), default=0.0)

    @property
    def outputs(self) -> list[Output]:
        """What each output should be, and how far rounding moves it as far as that is known."""
        return [self._asked(output) for output in self._runs.outputs]

    def _asked(self, output: Output) -> Output:
        return replace(output, tighten=self._tighten, bound=max(output.bound, self._least))

    def of(
        self, onnx: Path, inputs: Sequence[Mapping[str, Any]], samples: Sequence[Arrays]
    ) -> Reference:
        """The reference of a part of the model, with libraries run in the same place."""
        return Reference(
            self.stack,
            onnx,
            inputs,
            samples,
            board=self._board,
            target=self._target,
            runtime=self._runtime,
        )

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
        return self._runs.judge(found, self._asked)

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
                "stack": self.stack,
                "runtime": self._runtime,
                "specs": self._inputs,
                "library": str(library),
                "inputs": str(inputs),
                "outputs": str(answers),
                "samples": len(self.samples),
            }
            with _started(self.stack) as child:
                limit = max(TIMEOUT, SLOWEST * self._runs.seconds)
                child.call("run", params, timeout=limit)
            with np.load(answers) as found:
                return {name: found[name] for name in found.files}

    def _run_there(self, library: Path) -> dict[str, np.ndarray]:
        assert self._board is not None
        found = {}
        with RemoteModel(library, self._target, self._board, self.stack) as model:
            self.on = {name: model.facts.get(name) for name in ("board", "cpu", "emulated")}
            for i, sample in enumerate(self.samples):
                outputs = model.run([sample[name] for name in self.names])
                found.update({f"{i}.{j}": output for j, output in enumerate(outputs)})
        return found


_early: dict[str, wire.Child] = {}


def prestart(stack: str) -> None:
    """Starts the process that will run the next library of ``stack``, so that it imports TVM."""
    if stack not in _early:
        _early[stack] = _spawned(stack)


def _started(stack: str) -> wire.Child:
    early = _early.pop(stack, None)
    if early is None or not early.reusable:
        return _spawned(stack)
    return early


def _spawned(stack: str) -> wire.Child:
    return wire.Child([sys.executable, "-m", "tvmkd.stacks.check", stack])


def _run(params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
    """In the child: loads the library and runs it on every sample."""
    specs = [TensorSpec(**spec) for spec in params["specs"]]
    library = Path(params["library"])
    program = programs.open_program(params["stack"], library, specs, params["runtime"])
    answers = {}
    with np.load(params["inputs"]) as stored:
        for i in range(params["samples"]):
            outputs = _outputs(program, [stored[f"{i}.{j}"] for j in range(len(specs))])
            answers.update({f"{i}.{j}": output for j, output in enumerate(outputs)})
    np.savez(params["outputs"], **answers)  # type: ignore[arg-type]
    return {}


def _outputs(program: Program, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The outputs; of a network with early exits the logits of every exit.

    Raises:
        TvmkdError: it leaves at another exit than its thresholds say.
    """
    if not isinstance(program, StandaloneProgram) or program.exits == 1:
        return program.run(arrays)
    found = [program.run_exit(arrays, index)[0] for index in range(program.exits)]
    (left,), taken = program.run_until(arrays, NO_DEADLINE)
    wanted = program.rule.taken([logits[0] for logits in found])
    if taken != wanted or not np.array_equal(left, found[taken], equal_nan=True):
        raise TvmkdError(f"it left at exit {taken}, and its thresholds say exit {wanted}")
    (plain,) = program.run(arrays)
    if not np.array_equal(plain, left, equal_nan=True):
        raise TvmkdError(f"run and run_until differ at exit {taken}")
    return found


if __name__ == "__main__":
    wire.serve({"run": _run}, functools.partial(programs.preload, sys.argv[1]))
