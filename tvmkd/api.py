"""Tune, build, compare, load and search as plain functions; most also as ``tvmkd.tune`` and so on.

(`search` is ``tvmkd.api.search``: ``tvmkd.search`` is the package.)

They print nothing. Long calls report to ``on_event`` (`compare`: to ``progress``), called in the
caller's thread with the name and the data of each event; `tvmkd.tuning.table.following` and
`tvmkd.stacks.progress.following` are callbacks that show events in a terminal. Paths are strings or
`pathlib.Path`, a target is the name of a target, the path of a target file, or a
`tvmkd.targets.Target`.

Expected errors are subclasses of `tvmkd.base.errors.TvmkdError`, with a message of one line that
says what is wrong, where, and what to do.

A network of one layer, built for this machine and run:

>>> import numpy as np
>>> import onnx
>>> from onnx import helper
>>> import tvmkd
>>> weights = onnx.numpy_helper.from_array(np.eye(8, 4, dtype=np.float32), "weights")
>>> graph = helper.make_graph(
...     [helper.make_node("MatMul", ["x", "weights"], ["y"])],
...     "one_layer",
...     [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 8])],
...     [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4])],
...     [weights],
... )
>>> opset = [helper.make_opsetid("", 18)]
>>> onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), "layer.onnx")
>>> manifest = tvmkd.build("layer.onnx", "layer", target="host")
>>> manifest.inputs[0].shape, manifest.coverage["tuned"]
([1, 8], 0)
>>> model = tvmkd.load("layer")
>>> model(np.arange(8, dtype=np.float32)[None])
array([[0., 1., 2., 3.]], dtype=float32)

`tune` measures kernels, and `build` then uses its records: the best ones of all folders::

    tvmkd.tune("layer.onnx", "records", target="host", trials=64)
    tvmkd.build("layer.onnx", "layer", target="host", records=["records"])
    tvmkd.compare([tvmkd.EngineSpec("tvm", "tvm", "layer")], "layer.onnx").verdict.sentence
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd import targets
from tvmkd.artifact import load
from tvmkd.base import stack_registry
from tvmkd.base.errors import UsageError
from tvmkd.base.frame_description import FrameOptions
from tvmkd.base.manifest import Manifest
from tvmkd.base.runtimes import TVM
from tvmkd.base.wire import Event
from tvmkd.bench import CompareOptions, EngineSpec, compare
from tvmkd.config import Config, parse_tracker, read
from tvmkd.early_exit.library import builder_of, one_file
from tvmkd.stacks import compile as compiling
from tvmkd.targets import Target

if TYPE_CHECKING:
    from tvmkd.search.results import Study

__all__ = [
    "CompareOptions",
    "EngineSpec",
    "FrameOptions",
    "build",
    "compare",
    "load",
    "search",
    "tune",
]

Tracker = str | tuple[str, int]
"""A TVM tracker: ``"HOST[:PORT]"`` (port 9190 if none is given) or ``(host, port)``."""


def tune(
    onnx: str | Path,
    records: str | Path,
    *,
    trials: int,
    target: str | Path | Target = "host",
    tracker: Tracker | None = None,
    key: str = "local",
    boards: int | None = None,
    evaluator: str = "time",
    timeout: float = 10.0,
    seed: int = 0,
    dims: Mapping[str, int] | None = None,
    stack: str = stack_registry.DEFAULT,
    stack_python: str | Path | None = None,
    on_event: Event | None = None,
) -> dict[str, Any]:
    """Tunes a model's kernels on boards until a folder holds a number of trials.

    Every trial is written as it ends: the same call after an interruption continues.

    Args:
        onnx: the model; or the folder of a network with early exits, joined as `build` joins it.
        records: the folder of tuning records; made if it does not exist.
        trials: kernels to measure in all, those of earlier calls included.
        target: what to tune for.
        tracker: the TVM tracker of the boards; None starts a tracker and boards on this machine.
        key: of the boards.
        boards: boards to measure on at once; None: all under the key, or one on this machine.
        evaluator: ``"time"``, or ``"icount"`` on emulated boards that count instructions.
        timeout: seconds after which a measurement counts as hung.
        seed: of the search: equal seeds and measurements propose equal kernels.
        dims: sizes of the model's free dimensions by name.
        stack: the compiler stack.
        stack_python: the Python that has the stack's TVM; None: the one that was installed.
        on_event: gets ``tasks`` (all kernels), ``trial`` (one was measured), ``estimate`` (time of
            the whole model in µs, time left in s) and ``note`` (a warning).

    Returns:
        ``trials``, ``fresh`` (those of this call), ``tasks`` (for each kernel its name, weight,
        operations and best time ``best_us`` in µs), ``errors`` (number by kind),
        ``end_to_end_us`` (all kernels added up in µs, None if one has no time yet), ``seconds``
        and ``sessions_lost``.

    Raises:
        UsageError: the target does not run on this machine and no tracker is given.
        InputError: the model, the target or the records folder cannot be used.
        MissingError: no tracker, no board under the key, or the stack is not installed.
    """
    with one_file(Path(onnx)) as model:
        return compiling.tune(
            model,
            _target(target),
            Path(records),
            trials=trials,
            tracker=None if tracker is None else _address(tracker),
            key=key,
            boards=boards,
            evaluator=evaluator,
            timeout=timeout,
            seed=seed,
            dims=dims,
            stack=stack,
            stack_python=None if stack_python is None else Path(stack_python),
            on_event=on_event,
        )


def build(
    onnx: str | Path,
    out: str | Path,
    *,
    target: str | Path | Target = "host",
    records: Sequence[str | Path] = (),
    shipped: bool = True,
    inputs: str | Path | None = None,
    dims: Mapping[str, int] | None = None,
    tracker: Tracker | None = None,
    key: str = "local",
    stack: str = stack_registry.DEFAULT,
    stack_python: str | Path | None = None,
    byoc: str | None = None,
    byoc_precision: str | None = None,
    runtime: str = TVM,
    name: str | None = None,
    frames: FrameOptions | None = None,
    timeout: float | None = None,
    on_event: Event | None = None,
) -> Manifest:
    """Compiles a model to an artifact folder, checked against ONNX Runtime.

    The folder is complete or not there at all. A tuned kernel that computes something else is found
    by bisection and replaced by the next best one.

    Args:
        onnx: the model; or the folder of a network with early exits, with ``runtime`` standalone.
        out: the artifact's folder; an older artifact there is replaced.
        target: what to compile for.
        records: folders of tuning records; the best record of each kernel is used.
        shipped: also use the records that ship with tvmkd.
        inputs: an ``.npz`` of real inputs for the check: for each input an array, its batches
            joined along the first axis.
        dims: sizes of the model's free dimensions by name.
        tracker: the TVM tracker of a board to check the artifact on, for a target that does not run
            on this machine; None: such an artifact is not checked.
        key: of that board.
        stack: the compiler stack.
        stack_python: the Python that has the stack's TVM; None: the one that was installed.
        byoc: offload supported subgraphs to this engine; TVM compiles the rest.
        byoc_precision: what that engine computes the model's FP32 in: ``"tf32"`` or ``"fp16"``.
        runtime: ``"tvm"``, or ``"standalone"`` for a C library that needs no TVM.
        name: what the model is called; None: the file's name, or that of the folder's run.
        frames: of a standalone library: it takes a camera's frames, too, and gives boxes or classes
            (``FrameOptions()``: frames of at most 1920 x 1080, all else from the file's metadata).
        timeout: seconds without a sign of life after which the compiler is ended; 0: no limit.
            None: ``TVMKD_BUILD_TIMEOUT``, otherwise 1800.
        on_event: gets ``stage`` (the current step), ``note`` (a warning) and ``set_aside`` (a wrong
            tuning record).

    Returns:
        the artifact's manifest: target, stack, inputs and outputs, hashes of its files,
        ``coverage`` (which kernels are tuned, and their share of the time) and ``check`` (the
        largest error as a share of the output's range).

    Raises:
        UsageError: the stack cannot offload to ``byoc``, or there is no standalone library for the
            target.
        InputError: the model, the target, the records, the folder or the board cannot be used.
        MissingError: no tracker, no board under the key, or the stack is not installed.
        TvmkdError: TVM compiles the model wrongly even without tuning records.
    """
    board = None
    if tracker is not None:
        host, port = _address(tracker)
        board = {"host": host, "port": port, "key": key}
    manifest = builder_of(Path(onnx))(
        Path(onnx),
        _target(target),
        [Path(folder) for folder in records],
        Path(out),
        shipped=shipped,
        inputs=None if inputs is None else Path(inputs),
        dims=dims,
        board=board,
        stack=stack,
        stack_python=None if stack_python is None else Path(stack_python),
        byoc=byoc,
        byoc_precision=byoc_precision,
        runtime=runtime,
        name=name,
        frames=frames,
        timeout=timeout,
        on_event=on_event,
    )
    return Manifest.model_validate(manifest)


def search(
    config: str | Path | Config,
    *,
    budget: str | float | None = None,
    objective: str | None = None,
    method: str | None = None,
    trials: int | None = None,
    workers: int | None = None,
    on_event: Event | None = None,
) -> Study:
    """Searches for the best network that meets a latency budget on a target.

    Every network is kept as its trial ends: the same call after an interruption continues.

    Args:
        config: a ``tvmkd.toml`` with ``[search]``, or what was read from one.
        budget: the greatest latency: ``"5ms"``, a number of milliseconds, or ``"12M"``
            instructions; None, here and below: as in the file.
        objective: ``"accuracy"``, ``"weighted"`` or ``"front"``.
        method: ``"study"``, ``"supernet"`` or ``"joint"``.
        trials: networks to train in all, those of earlier calls included.
        workers: processes on this machine.
        on_event: gets ``study`` (what is known so far, after each network), ``doing`` (what a
            worker does) and ``note`` (a warning).

    Returns:
        the study: its points, the number of the winner, and what the table of latencies says of
        itself. ``study.json``, ``pareto.html`` and ``winner/`` are in ``OUT/search``.

    Raises:
        GateFailure: no network of the space meets the budget.
        InputError: something that the config names cannot be used, or the search in the folder is
            another one.
        UsageError: the settings do not go together.
        MissingError: a package, a board, a database or a compiler stack is missing.
    """
    from tvmkd.search import methods

    search_in: list[Path] = []
    if not isinstance(config, Config):
        search_in = [Path(config).parent]
        config = read(Path(config))
    given = {
        "budget": budget,
        "objective": objective,
        "method": method,
        "trials": trials,
        "workers": workers,
    }
    cfg = methods.changed(config, given, "the arguments")
    return methods.search(
        cfg, targets.load(cfg.target.name), search_in=search_in, on_event=on_event
    )


def _target(target: str | Path | Target) -> Target:
    return target if isinstance(target, Target) else targets.load(target)


def _address(tracker: Tracker) -> tuple[str, int]:
    if not isinstance(tracker, str):
        return tracker
    try:
        return parse_tracker(tracker)
    except ValueError as error:
        raise UsageError(f"tracker: {error}") from None
