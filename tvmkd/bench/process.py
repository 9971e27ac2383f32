"""The parent's handle of an engine's process, which is stopped except while it is timed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd import artifact
from tvmkd.base import stack_registry
from tvmkd.base.errors import TvmkdError
from tvmkd.base.wire import Child
from tvmkd.bench import machine
from tvmkd.bench.engines import engine_class
from tvmkd.bench.messages import Loaded, Prepare
from tvmkd.bench.spec import EngineSpec
from tvmkd.runtime import interpreters
from tvmkd.runtime.interpreters import Interpreter
from tvmkd.timing.loop import WarmUp

ANSWER_TIMEOUT_S = 60.0
PADDING = "TVMKD_PADDING"
MOST_PADDING = 4096  # bytes: a page, after which places in it repeat


class EngineProcess:
    """One engine in its own process. A context manager.

    Between its turns the whole process group is stopped (SIGSTOP): the thread pools of TVM, ONNX
    Runtime and OpenMP spin for a while after a call, which would slow down the next engine. At the
    start of a turn the process is continued and makes a few calls that are not timed.

    Args:
        spec: the engine.
        threads: of the engine.
        cpus: numbers of the CPUs to use; empty: all.
        padding: bytes that its environment is larger: the environment lies above the stack, so they
            move everything on it, and with it how buffers lie to each other.
    """

    def __init__(
        self, spec: EngineSpec, threads: int, cpus: Sequence[int], padding: int = 0
    ) -> None:
        self.spec = spec
        self.threads = threads
        self._cpus = list(cpus)
        runs = _interpreter(spec)
        argv = [runs.python, "-m", "tvmkd.bench.host"]
        variables = environment(threads, spec.precision)
        self._child = Child(argv, env={**variables, **runs.environment(), PADDING: "x" * padding})
        self._closed = False
        self.other_cpu: list[float] = []
        """For each turn, how many CPUs' worth of work other processes did meanwhile."""

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._signal(signal.SIGCONT)
        self._child.close(grace=0.5)

    @property
    def pid(self) -> int:
        """The engine's process id."""
        return self._child.pid

    def prepare(
        self, inputs: Sequence[Path], names: Sequence[str], folder: Path, timeout: float
    ) -> tuple[Loaded, list[list[np.ndarray]]]:
        """Loads the engine and runs every sample once.

        Args:
            inputs: ``.npz`` files, one per sample, with the arrays in the order of ``names``.
            names: the model's input names.
            folder: folder for the engine's outputs.
            timeout: limit for all of this, seconds.

        Returns:
            the engine's answer, and the outputs as sample -> output -> array.

        Raises:
            TvmkdError: the engine cannot be used; the message is the reason.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with self.awake():
            done = self._child.call(
                "prepare",
                Prepare(
                    spec=self.spec,
                    threads=self.threads,
                    cpus=self._cpus,
                    inputs=[str(path) for path in inputs],
                    names=list(names),
                    outputs=str(folder),
                ).to_dict(),
                timeout=timeout,
            )
        outputs = []
        for number in range(len(inputs)):
            with np.load(folder / f"{number:03}.npz", allow_pickle=False) as saved:
                outputs.append([saved[f"arr_{i}"] for i in range(len(saved.files))])
        return Loaded(**done), outputs

    def signature(self, onnx: Path) -> Any:
        """Inputs and outputs of an ONNX file, as `OrtEngine.signature`."""
        return self._child.call("signature", {"path": str(onnx)}, timeout=ANSWER_TIMEOUT_S)

    def warm_up(self, limit_s: float) -> WarmUp:
        """Calls until times are stable, as `tvmkd.timing.loop.warm_up`."""
        with self.awake():
            result: dict[str, Any] = self._child.call(
                "warm_up", {"limit_s": limit_s}, timeout=limit_s * 3 + ANSWER_TIMEOUT_S
            )
        return WarmUp(**result)

    def time(self, count: int, limit_s: float) -> list[float]:
        """Milliseconds of each of ``count`` calls, or of those that fit in ``limit_s``.

        Appends the load of other processes during these calls to `other_cpu`.
        """
        with self.awake():
            before = machine.work_elsewhere(self.pid)
            start = time.monotonic()
            samples: list[float] = self._child.call(
                "time",
                {"count": count, "limit_s": limit_s},
                timeout=limit_s * 3 + ANSWER_TIMEOUT_S,
            )
            wall = time.monotonic() - start
            after = machine.work_elsewhere(self.pid)
        if before is not None and after is not None and wall > 0:
            self.other_cpu.append(max(0.0, after - before) / wall)
        return samples

    def facts(self) -> dict[str, Any]:
        """The engine's facts and its peak memory."""
        with self.awake():
            facts: dict[str, Any] = self._child.call("facts", timeout=ANSWER_TIMEOUT_S)
        return facts

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """The process runs inside this context, and is stopped at its end."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, number)


def _interpreter(spec: EngineSpec) -> Interpreter:
    """This interpreter, or that of the stack which built the artifact.

    A damaged artifact or a missing stack raises nothing here: the engine reports it.
    """
    kind = engine_class(spec.kind)
    if kind.file == "artifact" and kind.link is None and spec.path is not None:
        with contextlib.suppress(TvmkdError):
            return interpreters.find(artifact.read(Path(spec.path), verify=False).stack)
    return interpreters.find(stack_registry.DEFAULT)


def environment(threads: int, precision: str = "fp32") -> dict[str, str]:
    """Sets all thread-count variables alike and disables implicit TF32.

    TVM's thread binding is disabled, since it could choose CPUs outside the set that all engines
    share. Inductor's pool of compiler processes is disabled. NVIDIA's libraries replace FP32 by
    TF32 unless it is disabled for each of them; for some an environment variable is the only way.
    """
    count = str(threads)
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "TVM_NUM_THREADS": count,
        "TVM_BIND_THREADS": "0",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        **({"NVIDIA_TF32_OVERRIDE": "0"} if precision == "fp32" else {}),
    }
