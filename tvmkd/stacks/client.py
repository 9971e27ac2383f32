"""The client of a compiler stack: typed calls to its worker process."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tvmkd.base import stack_registry
from tvmkd.base.errors import (
    InputError,
    InternalError,
    MissingError,
    TvmkdError,
    UsageError,
    WorkerDied,
    WorkerTimeout,
)
from tvmkd.base.exits import Exits
from tvmkd.base.frame_description import FrameOptions
from tvmkd.base.limits import VARIABLE, silence_limit
from tvmkd.base.runtimes import TVM
from tvmkd.base.text import listing
from tvmkd.base.wire import Child, Event
from tvmkd.byoc import region
from tvmkd.export.check import ModelInfo
from tvmkd.runtime import interpreters
from tvmkd.stacks import worker_pool
from tvmkd.stacks.messages import (
    BuildRequest,
    LowerRequest,
    ProfileRequest,
    TuneRequest,
    pack,
)

INTERRUPT_GRACE = 5.0  # seconds for a worker to write its records after Ctrl-C
STARTING = "starting the compiler"
COMPILING = (STARTING, "lowering", "handing regions over", "compiling")
"""How the steps begin in which a compiler may fail on an operator."""
HOST_ENGINE = "onnxruntime"  # runs regions wherever tvmkd does
PART = 120.0  # seconds for a part of a model to be compiled


class StackClient:
    """A compiler stack in a worker process. Use as a context manager.

    The worker starts at `start` or at the first call; inside `tvmkd.stacks.worker_pool.shared` it
    may have served another client before. Ctrl-C (or SIGTERM turned into ``KeyboardInterrupt``)
    during a call is forwarded to the worker, which has a few seconds to end the call; then the
    worker is terminated and ``KeyboardInterrupt`` is raised.

    Args:
        name: the stack's name, see `tvmkd.base.stack_registry`.
        python: an interpreter with this stack installed (default: see
            :func:`tvmkd.runtime.interpreters.find`).

    Attributes:
        interpreter: the worker's interpreter.

    Raises:
        InputError: ``python`` is not an executable program.
        MissingError: no interpreter for this stack was found.
    """

    def __init__(
        self, name: str = stack_registry.DEFAULT, python: str | os.PathLike[str] | None = None
    ) -> None:
        self.name = name
        self.interpreter = interpreters.find(name, python)
        self._child: Child | None = None
        self._opened = contextlib.ExitStack()

    def __enter__(self) -> StackClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The worker's process id; None before it runs."""
        return None if self._child is None else self._child.pid

    def start(self) -> Child:
        """Starts the worker, unless it runs; it imports the compiler before the first call."""
        if self._child is None:
            argv = [self.interpreter.python, "-m", "tvmkd.stacks.worker", self.name]
            env = {"PYTHONUNBUFFERED": "1", **self.interpreter.environment()}
            self._child = worker_pool.start(argv, env)
        return self._child

    def close(self) -> None:
        """Terminates the worker and all its child processes."""
        if self._child is not None:
            self._child.close()
            self._child = None
        self._opened.close()

    def _call(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        timeout: float | None = None,
        silence: float | None = None,
        on_event: Event | None = None,
    ) -> Any:
        self._forget_dead()
        try:
            return self.start().call(
                method, params, timeout=timeout, silence=silence, on_event=on_event
            )
        except KeyboardInterrupt:
            self._wind_down(on_event)
            raise
        except WorkerDied as error:
            _, absent, module = str(error).partition("ModuleNotFoundError: ")
            if not absent:
                raise
            raise MissingError(
                f"{self.interpreter.python} cannot run the {self.name} stack ({module}); tvmkd "
                "stack list says more"
            ) from None

    def _work_on(
        self,
        onnx: Path,
        method: str,
        request: Any,
        *,
        limit: float | None,
        on_event: Event | None = None,
    ) -> Any:
        """As `_call`, but the error of a compiler that hangs or breaks says on what, and where.

        Args:
            onnx: the file, for messages.
            limit: see `tvmkd.base.limits.silence_limit`.
        """
        step = STARTING

        def follow(name: str, data: dict[str, Any]) -> None:
            nonlocal step
            step = str(data["text"]) if name == "stage" else step
            step = "tuning" if name == "tasks" else step
            if on_event is not None:
                on_event(name, data)

        silence = silence_limit(limit)
        try:
            return self._call(method, pack(request), silence=silence, on_event=follow)
        except WorkerTimeout:
            raise InputError(
                f"{onnx}: no sign of life from the {self.name} compiler for {silence:.0f} s "
                f"({step}), so it was ended; if the model is only large, allow more seconds with "
                f"{VARIABLE}"
            ) from None
        except (WorkerDied, InternalError) as error:
            began = step != STARTING or not isinstance(request, BuildRequest)
            if began and step.startswith(COMPILING):
                self._name_operator(request, error, on_event or (lambda *_: None))
            error.args = (f"{onnx}: {step}: {error}",)
            raise

    def _name_operator(self, request: Any, error: TvmkdError, emit: Event) -> None:
        """Raises the error that names the operator which the compiler fails on, if it is found."""
        from tvmkd.stacks import first_fault

        model: ModelInfo = request.model
        if "SIGKILL" in str(error):  # the machine's memory is full: it would be again
            return
        emit("stage", {"text": "searching for the operator that cannot be compiled"})
        self._forget_dead()
        attempt = functools.partial(self._fault, request, getattr(request, "byoc", None))
        shapes = {tensor.name: tensor.shape for tensor in model.inputs}
        found = first_fault.find(model.compiled, shapes, str(error), attempt)
        if found is not None:
            ways = [(name, "") for name in stack_registry.names() if name != self.name]
            if HOST_ENGINE in stack_registry.get(self.name).byoc:
                ways.append((self.name, HOST_ENGINE))
            advice = _advice(ways, request, found.part)
            raise first_fault.explained(model.path, self.name, found, error, advice) from None

    def _fault(self, request: Any, byoc: str | None, part: Path) -> str:
        """The error on a part of a model that is compiled as ``request`` asks, or an empty text."""
        asked: Any = LowerRequest(part, request.target, byoc=byoc)
        with tempfile.TemporaryDirectory(prefix="tvmkd-part-") as folder:
            method, out = "lower", Path(folder) / "out"
            if isinstance(request, BuildRequest):
                method = "build"
                asked = BuildRequest(part, request.target, [], out, check=False, byoc=byoc)
            try:
                self._call(method, pack(asked), timeout=PART)
            except MissingError:
                raise
            except TvmkdError as error:
                self._forget_dead()
                return str(error)
        return ""

    def _forget_dead(self) -> None:
        """Lets the next call start a new worker if this one has ended."""
        if self._child is not None and not self._child.reusable:
            self._child.close()
            self._child = None

    def _wind_down(self, on_event: Event | None) -> None:
        """Waits for an interrupted call to end, then terminates the worker."""
        child, self._child = self._child, None
        if child is None:
            return
        child.interrupt()
        deadline = time.monotonic() + INTERRUPT_GRACE
        with contextlib.suppress(TvmkdError, KeyboardInterrupt):
            # `available` is cheap, and is answered only after the interrupted call has ended.
            child.call(
                "available", timeout=max(0.1, deadline - time.monotonic()), on_event=on_event
            )
        child.close(grace=0.5)

    def _check_byoc(self, byoc: str | None, precision: str | None = None) -> None:
        if precision is not None:
            region.check_precision(byoc, precision)
            if self.name != stack_registry.DEFAULT and precision != "fp32":
                raise UsageError(f"the {self.name} stack offloads in FP32 only")
        known = stack_registry.get(self.name).byoc
        if byoc is not None and byoc not in known:
            raise UsageError(
                f"the {self.name} stack cannot offload to {byoc}; give --byoc one of "
                f"{listing(known)}"
            )

    def _admit(self, onnx: Path | ModelInfo, dims: Mapping[str, int] | None) -> ModelInfo:
        """The facts of a file, checked and normalised here if the caller has not done it."""
        if isinstance(onnx, ModelInfo):
            return onnx
        from tvmkd.export.door import admit

        folder = tempfile.TemporaryDirectory(prefix="tvmkd-")
        self._opened.enter_context(folder)
        return admit(onnx, dims, Path(folder.name))

    def available(self) -> dict[str, Any]:
        """``{"version", "llvm", "reason"}``: ``reason`` is None if the stack can be used."""
        result: dict[str, Any] = self._call("available", {}, timeout=120)
        return result

    def lower(
        self,
        onnx: Path | ModelInfo,
        target: Mapping[str, Any],
        dims: Mapping[str, int] | None = None,
        *,
        show: bool = False,
        byoc: str | None = None,
        features: bool = False,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """The tuning tasks of an ONNX file.

        Args:
            onnx: the file; its facts, if the caller has checked it.
            target: ``Target.to_dict()``.
            dims: sizes of dynamic dimensions by name.
            show: also return the lowered module as text.
            byoc: report the subgraphs that this engine (one of the stack's ``byoc`` engines)
                supports, in place of the tasks.
            features: also return numbers that describe each kernel without a schedule: see
                :mod:`tvmkd.stacks.relax.kernel_features`.
            timeout: seconds after which the compiler counts as hung: see
                `tvmkd.base.limits.silence_limit`.

        Returns:
            ``{"tasks": [{"name", "key", "weight", "flop", "kind", "template"}], "inputs",
            "outputs", "notes", "module"}``, each task with ``features`` if they were asked for, and
            with ``byoc`` also ``"byoc": {"available",
            "version", "regions", "operators", "offloaded", "left", "mac_share"}``: ``available`` is
            None if the regions can also be built, otherwise the reason why not; for the others see
            ``coverage`` of :mod:`tvmkd.stacks.relay.tensorrt` and of
            :mod:`tvmkd.stacks.relax.tensorrt`.

        Raises:
            UsageError: the stack cannot offload to ``byoc``.
            InputError: the compiler hangs on the model.
        """
        self._check_byoc(byoc)
        model = self._admit(onnx, dims)
        request = LowerRequest(
            model.path, dict(target), dict(dims or {}), show, byoc, model, features
        )
        result: dict[str, Any] = self._work_on(model.path, "lower", request, limit=timeout)
        return result

    def tune(
        self,
        onnx: Path | ModelInfo,
        target: Mapping[str, Any],
        records: Path,
        *,
        trials: int,
        tracker: Mapping[str, Any],
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
        dims: Mapping[str, int] | None = None,
        others: Sequence[ModelInfo] = (),
        weights: Mapping[str, float] | None = None,
        timeout: float | None = None,
        on_event: Event | None = None,
    ) -> dict[str, Any]:
        """Runs ``trials`` more trials in all and writes their records to the folder ``records``.

        Args:
            onnx: the file; its facts, if the caller has checked it and the records folder.
            tracker: ``{"host", "port", "key"}``.
            others: more models, whose tasks are tuned together with those of the first.
            weights: what a second of each task counts, by key; others are left out. None: as
                often as the models run them.
            timeout: seconds without an event after which the worker counts as hung: see
                `tvmkd.base.limits.silence_limit`.
            on_event: receives ``tasks``, ``trial``, ``estimate`` and ``note`` events.

        Returns:
            a summary, ``{"trials", "tasks", ...}``.
        """
        model = self._admit(onnx, dims)
        request = TuneRequest(
            model.path,
            dict(target),
            records,
            trials,
            dict(tracker),
            seed,
            dict(options or {}),
            dict(dims or {}),
            model,
            list(others),
            None if weights is None else dict(weights),
        )
        result: dict[str, Any] = self._work_on(
            model.path, "tune", request, limit=timeout, on_event=on_event
        )
        return result

    def build(
        self,
        onnx: Path | ModelInfo,
        target: Mapping[str, Any],
        records: Sequence[Path],
        out: Path,
        *,
        real_inputs: Path | None = None,
        check: bool = True,
        board: Mapping[str, Any] | None = None,
        byoc: str | None = None,
        byoc_precision: str | None = None,
        runtime: str = TVM,
        exits: Exits | None = None,
        frames: FrameOptions | None = None,
        dims: Mapping[str, int] | None = None,
        timeout: float | None = None,
        on_event: Event | None = None,
    ) -> dict[str, Any]:
        """Builds an artifact folder at ``out`` and returns its manifest as a dictionary.

        Args:
            onnx: the file; its facts, if the caller has checked it, all records and ``out``.
            records: folders of records; records that are set aside are written to the first one.
            real_inputs: an ``.npz`` of real inputs for the numeric check.
            check: compare outputs with ONNX Runtime before the artifact is published.
            board: ``{"host", "port", "key"}`` of a tracker with a board for the check, if the
                target's code does not run on this machine.
            byoc: offload supported subgraphs to this engine (one of the stack's ``byoc`` engines);
                TVM compiles the rest.
            byoc_precision: what that engine computes the model's FP32 in: ``tf32`` or ``fp16``.
            runtime: what is to run the artifact, one of `tvmkd.base.runtimes.RUNTIMES`.
            exits: the outputs are the logits of these exits; for a standalone library.
            frames: put pre- and post-processing into a standalone library, too.
            timeout: seconds without an event after which the compiler counts as hung: see
                `tvmkd.base.limits.silence_limit`.
            on_event: receives ``stage``, ``note`` and ``set_aside`` events.

        Raises:
            UsageError: the stack cannot offload to ``byoc``, or that cannot compute in
                ``byoc_precision``.
            InputError: the compiler hangs on the model.
        """
        self._check_byoc(byoc, byoc_precision)
        model = self._admit(onnx, dims)
        request = BuildRequest(
            model.path,
            dict(target),
            list(records),
            out,
            real_inputs=real_inputs,
            check=check,
            board=None if board is None else dict(board),
            byoc=byoc,
            byoc_precision=byoc_precision,
            dims=dict(dims or {}),
            model=model,
            checked=isinstance(onnx, ModelInfo),
            runtime=runtime,
            exits=exits,
            frames=frames,
        )
        result: dict[str, Any] = self._work_on(
            model.path, "build", request, limit=timeout, on_event=on_event
        )
        return result

    def profile(
        self,
        artifact: Path,
        inputs: Path | None = None,
        repeats: int = 10,
        onnx: Path | None = None,
    ) -> list[dict[str, Any]]:
        """Times each kernel of an artifact.

        Args:
            artifact: its folder.
            inputs: an ``.npz`` of real inputs; None: random ones.
            repeats: timed runs.
            onnx: the model that it was built from: the relax stack then finds the nodes that each
                kernel computes.

        Returns:
            ``[{"kernel", "task_key", "calls", "us", "share", ...}]``.
        """
        request = ProfileRequest(artifact, inputs, repeats, onnx)
        result: list[dict[str, Any]] = self._call("profile", pack(request), timeout=900)
        return result


def _advice(ways: Sequence[tuple[str, str]], request: Any, part: bytes) -> str:
    """What to do about a part that a stack fails on.

    Args:
        ways: stacks and the engine in their regions, if any; the first that compiles the part, or
            that is not installed, is named.
        request: how the part is compiled.
        part: an ONNX file's content.
    """
    with tempfile.TemporaryDirectory(prefix="tvmkd-part-") as folder:
        path = Path(folder) / "part.onnx"
        path.write_bytes(part)
        for name, engine in ways:
            try:
                with StackClient(name) as other:
                    fails = other._fault(request, engine or None, path)
            except MissingError:
                fails = ""
            if not fails:
                option = f"--byoc {engine}" if engine else f"--stack {name}"
                return f"try {option}, or rewrite this part of the model"
    return "rewrite this part of the model"
