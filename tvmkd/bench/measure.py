"""`compare`: checks that the engines agree, warms them up, times them interleaved, and decides."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd.base.errors import InputError, MissingError, TvmkdError
from tvmkd.base.version import __version__
from tvmkd.bench import context, gpu, machine, rules, schema
from tvmkd.bench import inputs as feeding
from tvmkd.bench.contestant import figures
from tvmkd.bench.engines import engine_class
from tvmkd.bench.options import CompareOptions
from tvmkd.bench.process import EngineProcess
from tvmkd.bench.session import Feed, Progress, Session
from tvmkd.bench.spec import EngineSpec
from tvmkd.bench.verdict import decide
from tvmkd.export.check import input_shapes
from tvmkd.tensorrt import device

MEASURED = (
    "one call as a user makes it, numpy arrays in and numpy arrays out, on one thread of control; "
    "conversions, copies and dropping the result are part of it"
)
ON_A_BOARD = "one run of the model by the board's own clock, inputs and outputs staying there"
IDLE = (
    "engines that are not on turn are stopped (SIGSTOP), so that their spinning threads are still"
)
DEFAULT = CompareOptions()
SAMPLES = 3


def compare(
    specs: Sequence[EngineSpec],
    onnx: Path | str,
    inputs: Sequence[feeding.Sample] | None = None,
    options: CompareOptions = DEFAULT,
    progress: Progress | None = None,
) -> schema.Comparison:
    """Runs every engine on the same model, inputs, threads and CPUs.

    Args:
        specs: the engines; their names must differ.
        onnx: the model that all engines run.
        inputs: samples (input name -> array); None: three random samples. Outputs are compared on
            all samples, times are those of the first.
        options: the method of the comparison.
        progress: called between turns.

    Raises:
        UsageError: duplicate names, an unknown engine, an option out of range, several builds of
            engines that are not built here, or CUDA graphs for only some of the engines on a GPU.
        InputError: the model or the inputs cannot be used.
        MissingError: onnxruntime, which computes the reference outputs, is not installed.
        TvmkdError: with ``options.all_or_none``, what an engine raised when it was loaded.
    """
    onnx = Path(onnx)
    reference = options.reference or onnx
    cpus, threads, rounds = rules.check_call(specs, onnx, options)
    specs, graph = rules.cuda_graph(specs, options.cuda_graph)
    tell: Progress = progress or (lambda _event, _data: None)
    watch = _watch(specs)
    look = watch.look if watch is not None else lambda: None
    before = machine.weather()
    look()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tvmkd-compare-")))
        signature, samples, wanted = _reference(
            reference, onnx, inputs, options, threads, cpus, folder
        )
        paths, names = sorted((folder / "in").glob("*.npz")), list(samples[0])
        feed = Feed(paths, names, wanted, folder)
        session = Session(specs, options, rounds, threads, cpus, feed, tell, look)
        runs = session.measure()
    groups = [[run for run in runs if run.spec is spec] for spec in specs]
    engines = [figures(group) for group in groups if group]
    after = machine.weather()
    look()
    where = context.context(engines, before, after, None if watch is None else watch.summary())
    return schema.Comparison(
        tool=f"tvmkd {__version__}",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        model=schema.Model(
            path=str(onnx),
            sha256=hashlib.sha256(onnx.read_bytes()).hexdigest(),
            inputs=[
                schema.Tensor(name=name, shape=list(array.shape), dtype=str(array.dtype))
                for name, array in samples[0].items()
            ],
            outputs=signature["outputs"],
        ),
        context=where,
        method=schema.Method(
            threads=threads,
            pinned_cpus=cpus,
            rounds=session.rounds,
            processes=session.processes,
            order="ABBA: every other round in reverse order",
            seconds=options.seconds,
            seed=options.seed if inputs is None else None,
            samples_checked=len(samples),
            reference=f"ONNX Runtime, FP32, graph optimisations off, {reference}",
            measured=ON_A_BOARD if engine_class(specs[0].kind).link else MEASURED,
            idle=IDLE,
            builds=options.builds,
            cuda_graph=graph,
        ),
        budget=None if options.budget_ms is None else schema.Budget(model_ms=options.budget_ms),
        engines=engines,
        left_out=session.left_out,
        verdict=context.marked(decide(engines), engines),
        warnings=context.warnings(engines, where) + context.weak_check(wanted),
    )


def _watch(specs: Sequence[EngineSpec]) -> gpu.Watch | None:
    """The readings of this machine's GPU, if it has one and an engine runs on it."""
    here = any(
        engine_class(spec.kind).link is None and rules.device(spec) == "GPU" for spec in specs
    )
    found = device.find() if here else None
    return None if found is None else gpu.Watch(found.uuid)


def _reference(
    reference: Path,
    onnx: Path,
    inputs: Sequence[feeding.Sample] | None,
    options: CompareOptions,
    threads: int,
    cpus: Sequence[int],
    folder: Path,
) -> tuple[dict[str, Any], list[feeding.Sample], list[list[np.ndarray]]]:
    """The model's signature, the samples, and the expected outputs."""
    plain = {"optimization": "disabled"}
    spec = EngineSpec("reference", "onnxruntime", reference, options=plain)
    with EngineProcess(spec, threads, cpus) as process:
        signature = process.signature(onnx)
        if inputs is None:
            tensors = feeding.resolve(signature["inputs"], input_shapes(onnx, options.dims))
            samples = feeding.random_samples(tensors, SAMPLES, options.seed)
        else:
            samples = feeding.check(inputs, signature["inputs"])
        (folder / "in").mkdir()
        paths = [folder / "in" / f"{number:03}.npz" for number in range(len(samples))]
        for path, sample in zip(paths, samples, strict=True):
            np.savez(path, *sample.values())
        try:
            _, wanted = process.prepare(paths, list(samples[0]), folder / "reference", timeout=600)
        except (InputError, MissingError):
            raise
        except TvmkdError as error:
            raise InputError(f"{reference}: ONNX Runtime cannot run it: {error}") from None
    for number, outputs in enumerate(wanted):
        if not all(np.isfinite(array.astype(np.float64)).all() for array in outputs):
            raise InputError(f"{reference}: gives NaN or infinity on sample {number}")
    return signature, samples, wanted
