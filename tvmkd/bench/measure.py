"""`compare`: check that the engines agree, warm them up, time them in turns, and judge."""

from __future__ import annotations

import functools
import hashlib
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import numpy as np

import tvmkd
from tvmkd.bench import inputs as feeding
from tvmkd.bench import machine, schema, stats
from tvmkd.bench.agree import TOLERANCE, Agreement, compare_outputs
from tvmkd.bench.engines import BOARD_KINDS, check_kind
from tvmkd.bench.process import EngineProcess
from tvmkd.bench.spec import EngineSpec
from tvmkd.bench.verdict import decide
from tvmkd.errors import InputError, MissingError, TvmkdError, UsageError
from tvmkd.text import listing

Progress = Callable[[str, dict[str, Any]], None]
"""Called between turns, never during one, with "check", "warm", "round" or "left_out" and data."""

MEASURED = (
    "one call as a user makes it, numpy arrays in and numpy arrays out, on one thread of control; "
    "conversions, copies and dropping the result are part of it"
)
ON_A_BOARD = "one run of the model by the board's own clock, inputs and outputs staying there"
IDLE = (
    "engines that are not on turn are stopped (SIGSTOP), so that their spinning threads are still"
)
SAMPLES = 3
MOST_SAMPLES = 20_000
BUSY_WARNING = 0.15


def compare(
    specs: Sequence[EngineSpec],
    onnx: Path | str,
    inputs: Sequence[feeding.Sample] | None = None,
    *,
    threads: int | None = None,
    seconds: float = 5.0,
    rounds: int = 10,
    budget_ms: float | None = None,
    reference: Path | str | None = None,
    dims: Mapping[str, int] | None = None,
    seed: int = 0,
    tolerance: float | None = None,
    warmup_limit: float = 10.0,
    prepare_timeout: float = 600.0,
    progress: Progress | None = None,
) -> schema.Comparison:
    """Runs every engine on the same model, inputs, threads and CPUs.

    Args:
        specs: the engines; their names must differ.
        onnx: the model that all of them run.
        inputs: samples (input name -> array); None makes three random ones. Outputs are compared
            on all of them, the first is timed.
        threads: for each engine; None takes every available CPU.
        seconds: to time each engine for, warm-up not counted.
        rounds: turns each engine gets; made even, since every other round runs in reverse order.
        budget_ms: what the model may take; goes into the result.
        reference: FP32 ONNX file for the outputs to agree with; None takes ``onnx``.
        dims: sizes for the dynamic dimensions, by name.
        seed: of the random inputs.
        tolerance: largest error as a share of the output's largest magnitude; None goes by each
            engine's precision.
        warmup_limit: seconds after which an engine that does not settle is timed all the same,
            with a warning.
        prepare_timeout: seconds an engine may take to load or compile.
        progress: told what happens, between turns.

    Raises:
        UsageError: names that clash, an unknown kind, or a number that makes no sense.
        InputError: the model or the inputs cannot be used.
        MissingError: onnxruntime, which the outputs are checked with, is not installed.
    """
    onnx = Path(onnx)
    cpus, threads, rounds = _check_call(specs, onnx, threads, seconds, rounds, budget_ms)
    tell: Progress = progress or (lambda _event, _data: None)
    before = machine.weather()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tvmkd-compare-")))
        signature, samples, wanted = _reference(
            Path(reference or onnx), onnx, inputs, dims or {}, seed, threads, cpus, folder
        )
        paths, names = sorted((folder / "in").glob("*.npz")), list(samples[0])
        left_out: list[schema.LeftOut] = []

        def keeps_up(run: _Run, step: Callable[[], None]) -> bool:
            """Takes one step with an engine; an engine that fails is out, the others go on."""
            try:
                step()
            except TvmkdError as error:
                left_out.append(run.drop(error))
                tell("left_out", {"engine": run.name, **left_out[-1].model_dump()})
                return False
            return True

        def enter(run: _Run, number: int) -> None:
            tell("check", {"engine": run.name})
            run.check(paths, names, folder / f"out-{number}", prepare_timeout, wanted, tolerance)
            tell("warm", {"engine": run.name})
            run.warm = run.process.warm_up(warmup_limit)

        runs: list[_Run] = []
        for number, spec in enumerate(specs):
            run = _Run(stack.enter_context(EngineProcess(spec, threads, cpus)))
            if keeps_up(run, functools.partial(enter, run, number)):
                runs.append(run)
        most = max(5, MOST_SAMPLES // rounds)
        for turn in range(rounds):
            tell("round", {"round": turn, "rounds": rounds, "engines": [r.name for r in runs]})
            fallen = [
                run
                for run in (runs if turn % 2 == 0 else runs[::-1])
                if not keeps_up(run, functools.partial(run.turn, seconds / rounds, most))
            ]
            runs = [run for run in runs if run not in fallen]
        runs = [run for run in runs if keeps_up(run, run.ask_facts)]
    engines = [run.figures() for run in runs]
    after = machine.weather()
    return schema.Comparison(
        tool=f"tvmkd {tvmkd.__version__}",
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
        context=_context(engines, before, after),
        method=schema.Method(
            threads=threads,
            pinned_cpus=cpus,
            rounds=rounds,
            order="ABBA: every other round in reverse order",
            seconds=seconds,
            seed=seed if inputs is None else None,
            samples_checked=len(samples),
            reference=f"ONNX Runtime, FP32, graph optimisations off, {reference or onnx}",
            measured=ON_A_BOARD if specs[0].kind in BOARD_KINDS else MEASURED,
            idle=IDLE,
        ),
        budget=None if budget_ms is None else schema.Budget(model_ms=budget_ms),
        engines=engines,
        left_out=left_out,
        verdict=_marked(decide(engines), engines),
        warnings=_warnings(engines) + _weak_check(wanted),
    )


class _Run:
    """One engine on its way through a comparison."""

    def __init__(self, process: EngineProcess) -> None:
        self.process = process
        self.name = process.spec.name
        self.samples: list[float] = []
        self.sizes: list[int] = []
        self.warm: dict[str, Any] = {}
        self.facts: dict[str, Any] = {}
        self._done: dict[str, Any] = {}
        self._agreement = Agreement(math.inf, math.inf, None)

    def check(
        self,
        paths: Sequence[Path],
        names: Sequence[str],
        folder: Path,
        timeout: float,
        wanted: Sequence[Sequence[np.ndarray]],
        tolerance: float | None,
    ) -> None:
        """Loads the engine and compares its outputs.

        Raises:
            Disagrees: they are too far from the reference.
            TvmkdError: it cannot be loaded or run.
        """
        allowed = tolerance or TOLERANCE[self.process.spec.precision]
        self._done, outputs = self.process.prepare(paths, names, folder, timeout)
        self._agreement = compare_outputs(wanted, outputs, allowed)
        if self._agreement.problem:
            raise Disagrees(self._agreement.problem)

    def turn(self, seconds: float, most: int) -> None:
        """One round: as many calls as fit in ``seconds`` by the warm-up's estimate, at least five
        and at most ``most``; cut short where they take four times as long.
        """
        call_s = self.warm["call_seconds"]
        count = max(5, min(most, round(seconds / call_s)))
        samples = self.process.time(count, limit_s=4 * max(seconds, 5 * call_s))
        self.samples += samples
        self.sizes.append(len(samples))

    def ask_facts(self) -> None:
        """Asks the engine about itself, once it is done."""
        self.facts = self.process.facts()

    def drop(self, error: TvmkdError) -> schema.LeftOut:
        """Ends the engine's process; the reason for the record."""
        self.process.close()
        why: Literal["missing", "failed", "disagrees"] = "failed"
        if isinstance(error, MissingError):
            why = "missing"
        elif isinstance(error, Disagrees):
            why = "disagrees"
        spec = self.process.spec
        return schema.LeftOut(name=spec.name, kind=spec.kind, why=why, reason=str(error))

    def figures(self) -> schema.Engine:
        """The statistics."""
        spec, samples = self.process.spec, self.samples
        engine = schema.Engine(
            name=spec.name,
            kind=spec.kind,
            precision=spec.precision,
            threads=self.facts.get("board_threads") or self.process.threads,
            samples_ms=samples,
            round_sizes=self.sizes,
            **{f"p{q}": stats.percentile(samples, q) for q in (50, 90, 95, 99)},
            mean=float(np.mean(samples)),
            min=min(samples),
            max=max(samples),
            ci95=(0.0, 0.0),
            max_abs_error=self._agreement.max_abs_error,
            relative_error=self._agreement.relative_error,
            build_seconds=self._done["seconds"],
            size_bytes=self._done["size_bytes"],
            warm_up=self.warm,
            other_cpu=float(np.mean(self.process.other_cpu)) if self.process.other_cpu else None,
            facts=self.facts,
        )
        return engine.model_copy(update={"ci95": stats.median_ci(engine.rounds())})


class Disagrees(TvmkdError):
    """An engine's outputs are not those of the reference."""


def _check_call(
    specs: Sequence[EngineSpec],
    onnx: Path,
    threads: int | None,
    seconds: float,
    rounds: int,
    budget_ms: float | None,
) -> tuple[list[int], int, int]:
    """The CPUs, the threads and the rounds to use, if the call makes sense."""
    if not specs:
        raise UsageError("compare: no engines were named")
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"compare: two engines are called {twice[0]!r}: give one another name")
    on_board = [spec.name for spec in specs if spec.kind in BOARD_KINDS]
    elsewhere = [spec.name for spec in specs if spec.kind not in BOARD_KINDS]
    if on_board and elsewhere:
        raise UsageError(
            f"compare: {listing(on_board)} run on a board and {listing(elsewhere)} here: a "
            "comparison is made on one device"
        )
    for spec in specs:
        check_kind(spec.kind)
        if spec.precision not in TOLERANCE:
            raise UsageError(
                f"compare: engine {spec.name}: precision {spec.precision!r} is not one of "
                f"{', '.join(TOLERANCE)}"
            )
    available = len(machine.available_cpus())
    threads = threads or available
    if not 1 <= threads <= available:
        raise UsageError(f"compare: {threads} threads on {available} CPUs: at most one a CPU")
    if not (seconds > 0 and rounds > 0 and (budget_ms is None or budget_ms > 0)):
        raise UsageError("compare: seconds, rounds and the budget must be above zero")
    if not onnx.is_file():
        raise InputError(f"{onnx}: no such file")
    return machine.choose_cpus(threads), threads, rounds + rounds % 2


def _reference(
    reference: Path,
    onnx: Path,
    inputs: Sequence[feeding.Sample] | None,
    dims: Mapping[str, int],
    seed: int,
    threads: int,
    cpus: Sequence[int],
    folder: Path,
) -> tuple[dict[str, Any], list[feeding.Sample], list[list[np.ndarray]]]:
    """The model's signature, the samples, and what the outputs have to be."""
    options = {"optimization": "disabled"}
    spec = EngineSpec("reference", "onnxruntime", reference, options=options)
    with EngineProcess(spec, threads, cpus) as process:
        signature = process.signature(onnx)
        if inputs is None:
            tensors = feeding.resolve(signature["inputs"], dims, onnx)
            samples = feeding.random_samples(tensors, SAMPLES, seed)
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


def _context(
    engines: Sequence[schema.Engine], before: dict[str, Any], after: dict[str, Any]
) -> schema.Context:
    """The machine that the engines ran on: this one, or the board."""
    facts = machine.facts()
    boards = [engine.facts["board"] for engine in engines if "board" in engine.facts]
    board = boards[0] if boards else None
    temperature, mhz = (
        [each[name] for each in (before, after)] for name in ("temperature_c", "mhz")
    )
    if board is not None:
        heat = [value for engine in engines for value in engine.facts["celsius"]]
        facts.update(
            machine=board.get("machine") or "unknown",
            system=f"Linux {board.get('kernel') or 'of an unknown version'}",
            cpu=board.get("cpu") or "unknown",
            cpus=board.get("cores") or 0,
            memory_bytes=board.get("memory_bytes"),
            governor=board.get("governor"),
            turbo=None,
        )
        temperature, mhz = [heat[0], heat[-1]] if heat else [None, None], [None, None]
    return schema.Context(
        **facts,
        temperature_c=temperature,
        mhz=mhz,
        load_1min=[before["load_1min"], after["load_1min"]],
        versions={e.name: str(e.facts["version"]) for e in engines if "version" in e.facts},
        board=board,
        emulated=bool(board and board.get("emulated")),
    )


def _warnings(engines: Sequence[schema.Engine]) -> list[str]:
    found = []
    if any(engine.facts.get("board", {}).get("emulated") for engine in engines):
        found.append("EMULATED: QEMU's times say nothing about a real board")
    if any(engine.facts.get("throttled") for engine in engines):
        found.append("the board was throttled while it was measured: cool it and measure again")
    for engine in engines:
        if not engine.warm_up["stable"]:
            found.append(
                f"{engine.name} did not settle in {engine.warm_up['seconds']:.1f} s of warm-up: "
                f"its last blocks differed by {engine.warm_up['spread']:.0%}"
            )
        if len(engine.samples_ms) < 200:
            found.append(
                f"{engine.name}: {len(engine.samples_ms)} calls are few for a p99: "
                "take more seconds"
            )
    here = [engine for engine in engines if "board" not in engine.facts]
    busy = [engine for engine in here if (engine.other_cpu or 0) > BUSY_WARNING]
    if busy:
        most = max(engine.other_cpu or 0 for engine in busy)
        found.append(
            f"the machine was not idle: other processes used up to {most:.2f} CPUs while "
            f"{listing(engine.name for engine in busy)} ran"
        )
    return found


def _marked(verdict: schema.Verdict, engines: Sequence[schema.Engine]) -> schema.Verdict:
    """The verdict; of emulated times it says so first."""
    if any(engine.facts.get("board", {}).get("emulated") for engine in engines):
        sentence = f"On an emulated board, whose times mean nothing: {verdict.sentence}"
        return verdict.model_copy(update={"sentence": sentence})
    return verdict


def _weak_check(wanted: Sequence[Sequence[np.ndarray]]) -> list[str]:
    """Says so where the reference gives the same for every input: then anything may agree."""
    if len(wanted) < 2:
        return []
    for index, first in enumerate(wanted[0]):
        if any(not np.array_equal(first, sample[index]) for sample in wanted[1:]):
            return []
    text = (
        "the model gives the same outputs for every input, so that they agree says little: "
        "is it trained, are the inputs real ones?"
    )
    return [text]
