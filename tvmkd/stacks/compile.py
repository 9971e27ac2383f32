"""Tunes and builds, with every input checked before a process starts. Prints nothing."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd import artifact
from tvmkd.base import frame_reader, machine, resources, stack_registry
from tvmkd.base.errors import InputError, UsageError
from tvmkd.base.exits import Exits
from tvmkd.base.frame_description import FrameOptions
from tvmkd.base.runtimes import STANDALONE, TVM
from tvmkd.base.wire import Event
from tvmkd.stacks.standalone import possible
from tvmkd.targets import Target
from tvmkd.tuning.records import holds_records

if TYPE_CHECKING:
    from tvmkd.export.check import ModelInfo


def tune(
    onnx: Path,
    target: Target,
    records: Path,
    *,
    trials: int,
    tracker: tuple[str, int] | None,
    key: str,
    boards: int | None = None,
    evaluator: str = "time",
    timeout: float = 10.0,
    seed: int = 0,
    dims: Mapping[str, int] | None = None,
    stack: str = stack_registry.DEFAULT,
    stack_python: Path | None = None,
    on_event: Event | None = None,
) -> dict[str, Any]:
    """Tunes until ``records`` holds ``trials`` trials.

    Args:
        onnx: the model.
        target: what to tune for.
        records: the session's folder; made if it does not exist.
        trials: in all, those of earlier calls included.
        tracker: host and port; None starts a tracker and boards on this machine.
        key: of the boards.
        boards: how many to measure on at once; None: all under the key. If ``tracker`` is None:
            how many to start; None: one, since boards on one machine share its cores.
        evaluator: ``"time"``, or ``"icount"`` on emulated boards that count instructions.
        timeout: seconds after which a measurement counts as hung.
        seed: of the search.
        dims: sizes of the free dimensions.
        stack: the compiler stack.
        stack_python: the interpreter that has it; None: see `tvmkd.runtime.interpreters.find`.
        on_event: called with the name and the data of each event: see `tvmkd.tuning.table`.

    Returns:
        the session's summary: see `tvmkd.tuning.tune.tune`.

    Raises:
        UsageError: the target does not run here and no tracker was given.
        InputError: the model or the records folder cannot be used.
        MissingError: no tracker there, no board under the key, or no such stack.
    """
    from tvmkd.boards import here
    from tvmkd.stacks.client import StackClient
    from tvmkd.tuning.session import check_made_for

    reason = here.why_not(target) if tracker is None else None
    if reason is not None:
        raise UsageError(
            f"{target.name}: cannot be tuned on this machine: {reason}; "
            "give --rpc-tracker and --rpc-key of its boards"
        )
    with contextlib.ExitStack() as opened:
        work = opened.enter_context(tempfile.TemporaryDirectory(prefix="tvmkd-"))
        model = admitted(onnx, dims, Path(work), on_event)
        check_made_for(records, target.to_dict(), stack)
        client = opened.enter_context(StackClient(stack, stack_python))
        if tracker is None:
            runs = client.interpreter
            fleet = here.fleet(target, boards or 1, key, runs=runs, tell=_stages(on_event))
            address = opened.enter_context(fleet)
        else:
            from tvmkd.boards.connect import check as check_boards

            check_boards(*tracker, key)
            address = {"host": tracker[0], "port": tracker[1], "key": key}
        return client.tune(
            model,
            target.to_dict(),
            records,
            trials=trials,
            tracker=address,
            seed=seed,
            options={"boards": boards, "evaluator": evaluator, "run_timeout": timeout},
            dims=dims,
            on_event=on_event,
        )


def _stages(on_event: Event | None) -> Callable[[str], None]:
    """A function that makes each line a ``stage``."""
    tell = on_event or (lambda name, data: None)
    return lambda text: tell("stage", {"text": text})


def _needs_the_gpu_here(target: Target, runtime: str, stack: str) -> bool:
    """Whether an artifact can be checked in a board's server on this machine's GPU, and only so."""
    from tvmkd.boards import here

    able = target.cuda is not None and stack == stack_registry.DEFAULT
    return able and runtime == TVM and here.why_not(target, timed=False) is None


def shipped_records(target: Target, stack: str = stack_registry.DEFAULT) -> Path | None:
    """The folder of records that ships with tvmkd for ``target``, if there is one.

    A CPU target without records of its own uses those of its CPU's name, or of the level below.
    """
    others = (target.mcpu, machine.LEVEL_BELOW.get(target.mcpu)) if target.device == "cpu" else ()
    for name in (target.name, *others):
        folder = resources.folder("schedules") / stack / (name or target.name)
        if holds_records(folder):
            return folder
    return None


def build(
    onnx: Path,
    target: Target,
    records: Sequence[Path],
    out: Path,
    *,
    shipped: bool = True,
    inputs: Path | None = None,
    dims: Mapping[str, int] | None = None,
    board: Mapping[str, Any] | None = None,
    stack: str = stack_registry.DEFAULT,
    stack_python: Path | None = None,
    byoc: str | None = None,
    byoc_precision: str | None = None,
    runtime: str = TVM,
    exits: Exits | None = None,
    name: str | None = None,
    frames: FrameOptions | None = None,
    timeout: float | None = None,
    on_event: Event | None = None,
) -> dict[str, Any]:
    """Compiles ``onnx`` to an artifact at ``out`` and returns its manifest as plain data.

    Args:
        onnx: the model.
        target: what to compile for.
        records: folders of records, the best of all of them for each kernel.
        out: the artifact's folder; an older artifact there is replaced.
        shipped: also use the records that ship with tvmkd.
        inputs: an ``.npz`` of real inputs for the check against ONNX Runtime; None: drawn ones.
        dims: sizes of the free dimensions.
        board: ``{"host", "port", "key"}`` of a tracker with a board to check the artifact on, where
            the target does not run on this machine. None: on this machine's own GPU, if it is for
            one and needs TVM's runtime.
        stack: the compiler stack.
        stack_python: the interpreter that has it; None: see `tvmkd.runtime.interpreters.find`.
        byoc: offload supported subgraphs to this engine (one of the stack's ``byoc`` engines); TVM
            compiles the rest.
        byoc_precision: what that engine computes the model's FP32 in: ``tf32`` or ``fp16``.
        runtime: what is to run the artifact, one of `tvmkd.base.runtimes.RUNTIMES`.
        exits: the outputs are the logits of these early exits, and the library has them all; for
            ``runtime`` standalone: see `tvmkd.early_exit.library`.
        name: of the model; None: the file's.
        frames: put pre- and post-processing into the library, too; for standalone ones.
        timeout: seconds without a sign of life after which the compiler is ended; 0: no limit.
            None: see `tvmkd.base.limits.silence_limit`.
        on_event: called with the name and the data of each event: see `tvmkd.stacks.progress`.

    Raises:
        InputError: the model, the records, the inputs, the output folder or the board cannot be
            used, or the library's outputs differ from ONNX Runtime's.
        MissingError: there is no such board, or no such stack.
    """
    from tvmkd.base.given_inputs import real_samples
    from tvmkd.boards import here
    from tvmkd.stacks.client import StackClient
    from tvmkd.tuning.session import check_made_for

    if runtime == STANDALONE:
        possible.check(target, stack, byoc, exits, frames)
    elif frames is not None:
        raise UsageError(f"pre-processing is for --runtime {STANDALONE}")
    artifact.check_destination(out)
    for folder in records:
        if not holds_records(folder):
            raise InputError(f"{folder}: holds no tuning records; make them with tvmkd tune")
    folders = list(records)
    own = shipped_records(target, stack) if shipped else None
    if own is not None:
        folders.append(own)
    for folder in folders:
        check_made_for(folder, target.to_dict(), stack, same_cores=False)
    if board is not None:
        from tvmkd.boards.connect import check as check_boards

        check_boards(board["host"], board["port"], board["key"])
    with contextlib.ExitStack() as opened:
        client = opened.enter_context(StackClient(stack, stack_python))
        if onnx.is_file():
            client.start()  # imports the compiler while the model is checked
        work = opened.enter_context(tempfile.TemporaryDirectory(prefix="tvmkd-"))
        model = admitted(onnx, dims, Path(work), on_event, inputs)
        real_samples(inputs, [asdict(tensor) for tensor in model.inputs])
        model = replace(model, named=name or "")
        if frames is not None:
            frames = _checked(frames, model)
        if board is None and byoc is None and _needs_the_gpu_here(target, runtime, stack):
            board = opened.enter_context(here.fleet(target, tell=_stages(on_event)))
        return client.build(
            model,
            target.to_dict(),
            folders,
            out,
            real_inputs=inputs,
            board=board,
            byoc=byoc,
            byoc_precision=byoc_precision,
            runtime=runtime,
            exits=exits,
            frames=frames,
            dims=dims,
            timeout=timeout,
            on_event=on_event,
        )


def _checked(frames: FrameOptions, model: ModelInfo) -> FrameOptions:
    """The options, with the activation that the model's last operator leaves to be done.

    Raises:
        InputError: something is missing, or does not fit the model.
    """
    from tvmkd.export.check import parse
    from tvmkd.export.outputs import last_operator

    last = last_operator(parse(model.runnable), model.outputs[-1].name)
    if last in ("Softmax", "Sigmoid"):
        frames = replace(frames, steps={"activation": "none", **frames.steps})
    inputs, outputs = (
        [asdict(each) for each in tensors] for tensors in (model.inputs, model.outputs)
    )
    frame_reader.read(model.metadata, inputs, outputs, frames, os.fspath(model.path))
    return frames


def admitted(
    onnx: Path,
    dims: Mapping[str, int] | None,
    folder: Path,
    on_event: Event | None,
    inputs: Path | None = None,
) -> ModelInfo:
    """The model, checked and normalised; says which sizes were assumed, and what was left out.

    Args:
        onnx, dims, folder: see `tvmkd.export.door.admit`.
        on_event: gets a ``stage`` and the ``note`` events.

    Raises:
        InputError: the file cannot be used.
    """
    from tvmkd.export.door import admit

    tell = on_event or (lambda name, data: None)
    tell("stage", {"text": "checking the model"})
    model = admit(onnx, dims, folder, inputs)
    for line in model.assumptions:
        tell("note", {"text": line})
    for step, reason in model.left_out.items():
        tell(
            "note", {"text": f"not done, since it failed or changed the outputs: {step}: {reason}"}
        )
    return model


def kernel_times(
    folder: Path, inputs: Path | None = None, repeats: int = 10, onnx: Path | None = None
) -> list[dict[str, Any]]:
    """An artifact's time by kernel: see `tvmkd.stacks.client.StackClient.profile`.

    Args:
        folder: the artifact.
        inputs, repeats, onnx: as there.

    Raises:
        TvmkdError: it is no artifact, or cannot be profiled on this machine.
    """
    from tvmkd.stacks.client import StackClient

    with StackClient(artifact.read(folder).stack) as client:
        return client.profile(folder, inputs, repeats, onnx)
