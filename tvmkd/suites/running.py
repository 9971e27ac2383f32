"""Compares engines on every network of a suite; what is done is kept, and is not done again."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from tvmkd.base.engine_registry import ENGINES
from tvmkd.base.errors import InputError, TvmkdError, UsageError
from tvmkd.base.files import check_output, read_text, sha256, source_hash, write_text
from tvmkd.base.locks import Lock
from tvmkd.base.runtimes import STANDALONE, TVM
from tvmkd.base.version import __version__
from tvmkd.base.wire import Event
from tvmkd.bench import CompareOptions, compare, rules, selection
from tvmkd.bench.engines import engine_class, on_gpu
from tvmkd.bench.schema import Comparison, LeftOut
from tvmkd.bench.session import Progress
from tvmkd.suites import building, networks
from tvmkd.suites.building import Wanted
from tvmkd.suites.definition import Network, Suite
from tvmkd.suites.result import COMPARISON, Entry, Result
from tvmkd.targets import Target
from tvmkd.tensorrt import device
from tvmkd.tuning import records as tuning_records

MADE_FOR = "made_for.json"


def _silent(name: str, data: dict[str, Any]) -> None:
    del name, data


@dataclass(frozen=True)
class Watcher:
    """Callbacks for the progress of a run over a suite.

    Attributes:
        network: gets the name of each network as it begins, its number from 1 and how many.
        building: while a network of this name is made, tuned and built; gives what gets the events.
        comparing: while it is compared; gives what gets the events.
        changed: is called after each network with what is known then.
    """

    network: Callable[[str, int, int], None] = lambda name, number, count: None
    building: Callable[[str], AbstractContextManager[Event]] = lambda name: nullcontext(_silent)
    comparing: Callable[[], AbstractContextManager[Progress]] = lambda: nullcontext(_silent)
    changed: Callable[[Result], None] = lambda result: None


@dataclass(frozen=True)
class Plan:
    """What is compared, and how.

    Attributes:
        device: ``cpu`` or ``gpu``.
        target: of the artifacts, which run on this machine.
        engines: names; empty: all that can run on ``device``.
        records, trials: see `Wanted`.
        precision: see `tvmkd.bench.selection.select`.
        options: of each comparison.
        minutes: no network is begun that is expected to end later; None: no limit.
    """

    device: str
    target: Target
    engines: tuple[str, ...] = ()
    records: tuple[Path, ...] = ()
    trials: int = 0
    precision: str = "fp32"
    options: CompareOptions = field(default_factory=CompareOptions)
    minutes: float | None = None

    def settings(self) -> dict[str, Any]:
        """What a comparison depends on, JSON-safe."""
        options = self.options
        return {
            "device": self.device,
            "target": self.target.name,
            "engines": list(self.engines),
            "trials": self.trials,
            "precision": self.precision,
            "seconds": options.seconds,
            "rounds": options.rounds,
            "processes": options.processes,
            "builds": options.builds,
            "threads": options.threads,
            "cuda_graph": options.cuda_graph,
            "seed": options.seed,
        }


def run(suite: Suite, plan: Plan, out: Path, watcher: Watcher | None = None) -> Result:
    """Compares the engines on the networks of a suite, in order.

    A network that was compared with the same settings is not compared again; one that failed is.
    A network that fails leaves the others alone.

    Args:
        suite: the networks.
        plan: what to compare.
        out: the folder: ``suite.json``, and for each network a folder with its files, artifacts and
            ``comparison.json``.
        watcher: gets the progress.

    Raises:
        InputError: the folder cannot be written, or another process works in it.
        UsageError: an engine is unknown or runs on another device, or the target does.
        MissingError: the device is a GPU, and there is none.
    """
    watcher = watcher or Watcher()
    check_output(out, folder=True)
    for folder in plan.records:
        if not tuning_records.holds_records(folder):
            raise InputError(f"{folder}: holds no tuning records; make them with tvmkd tune")
    if (plan.target.cuda is not None) != (plan.device == "gpu"):
        raise UsageError(
            f"the target {plan.target.name} is for the {plan.target.device}, and the device is "
            f"{plan.device}: give another --target or --device"
        )
    rules.check_options(plan.options)
    if plan.options.cuda_graph and plan.device != "gpu":
        raise UsageError("a CUDA graph is for --device gpu")
    selection.check_device(plan.device)
    reason = plan.target.why_not_here(TVM if plan.target.cuda is None else STANDALONE)
    if reason is not None:
        raise UsageError(f"the target {plan.target.name} is not for this machine: {reason}")
    if plan.engines:  # refuses names before any work
        selection.select(plan.engines, selection.Files(Path("model.onnx")), device=plan.device)
    out.mkdir(parents=True, exist_ok=True)
    with Lock(out / ".lock", "comparing a suite in this folder", "give another folder"):
        return _Run(suite, plan, out, watcher).all()


class _Run:
    def __init__(self, suite: Suite, plan: Plan, out: Path, watcher: Watcher) -> None:
        self._suite, self._plan, self._out, self._watcher = suite, plan, out, watcher
        self._began = time.monotonic()
        self._longest, self._any = 0.0, False
        self._result = Result(
            tool=f"tvmkd {__version__}",
            created="",
            suite=suite.name,
            description=suite.description,
            device=plan.device,
            settings=plan.settings(),
            networks=[
                Entry(name=network.name, state="left", reason="not begun")
                for network in suite.networks
            ],
        )

    @functools.cached_property
    def _common(self) -> dict[str, Any]:
        """What the comparisons of all networks depend on."""
        plan = self._plan
        return {
            "version": __version__,
            "records": [
                sha256(path) for folder in plan.records for path in tuning_records.native(folder)
            ],
            "installed": _installed(),
            "target": plan.target.to_dict(),
            **plan.settings(),
        }

    def all(self) -> Result:
        for number, network in enumerate(self._suite.networks):
            entry = self._result.networks[number]
            found = self._finished(network)
            if found is not None:
                entry.state, entry.reason, entry.seconds = "done", "", found
                self._longest = max(self._longest, found)
            elif self._has_time():
                self._watcher.network(network.name, number + 1, len(self._suite.networks))
                self._one(network, entry)
            else:
                entry.reason = f"the {self._plan.minutes:g} minutes were over"
            self._changed()
        return self._result

    def _changed(self) -> None:
        self._result.created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._result.save(self._out)
        self._watcher.changed(self._result)

    def _has_time(self) -> bool:
        """Whether a network that takes as long as the longest so far ends in time.

        The first one of a call is begun in any case: else one that is longer would never be.
        """
        if self._plan.minutes is None or not self._any:
            self._any = True
            return True
        return time.monotonic() + self._longest - self._began < 60 * self._plan.minutes

    def _one(self, network: Network, entry: Entry) -> None:
        start = time.monotonic()
        try:
            self._compare(network)
            entry.state, entry.reason = "done", ""
        except TvmkdError as error:
            entry.state, entry.reason = "failed", str(error)
        entry.seconds = round(time.monotonic() - start, 1)
        self._longest = max(self._longest, entry.seconds)
        if entry.state == "done":
            facts = {"took": entry.seconds, "made_for": self._made_for(network)}
            write_text(self._folder(network) / MADE_FOR, json.dumps(facts, indent=1) + "\n")

    def _compare(self, network: Network) -> None:
        plan, folder = self._plan, self._folder(network)
        folder.mkdir(exist_ok=True)
        (folder / MADE_FOR).unlink(missing_ok=True)
        wanted = Wanted(plan.target, plan.engines, plan.records, plan.trials, plan.precision)
        with self._watcher.building(network.name) as tell:
            files = networks.prepare(self._suite, network, folder)
            artifacts, unbuilt = building.build(wanted, files.onnx, folder, tell)
        given = selection.Files(
            files.onnx, artifacts, files.checkpoint, files.model, files.search_in
        )
        missing = {left.name for left in unbuilt}
        names = [name for name in plan.engines if name not in missing]
        if plan.engines and not names:
            raise InputError(f"{network.name}: no engine can run: {_reasons(unbuilt)}")
        specs = selection.select(names, given, plan.precision, on_gpu(), plan.device)
        with self._watcher.comparing() as progress:
            result = compare(specs, files.onnx, options=plan.options, progress=progress)
        result.left_out.extend(unbuilt)
        if not result.engines:
            raise InputError(f"{network.name}: no engine was measured: {_reasons(result.left_out)}")
        result.save(folder / COMPARISON)

    def _finished(self, network: Network) -> float | None:
        """The seconds that a network took if it was compared with the same settings."""
        folder = self._folder(network)
        with suppress(TvmkdError, OSError, ValueError, KeyError, TypeError):
            facts = json.loads(read_text(folder / MADE_FOR))
            Comparison.load(folder / COMPARISON)
            if facts["made_for"] == json.loads(json.dumps(self._made_for(network))):
                return float(facts["took"])
        return None

    def _made_for(self, network: Network) -> dict[str, Any]:
        onnx = None if network.onnx is None else self._suite.folder / network.onnx
        return {
            **self._common,
            "network": network.model_dump(mode="json"),
            "onnx": sha256(onnx) if onnx is not None and onnx.is_file() else None,
            "code": source_hash(network.model or "", [self._suite.folder]),
        }

    def _folder(self, network: Network) -> Path:
        return self._out / network.name


def _installed() -> dict[str, str | None]:
    """The versions of the engines' packages, and of the GPU's driver."""
    names = {"torch", "onnxruntime"}
    for engine in ENGINES:
        names.update((engine_class(engine).distribution or "").split())
    found: dict[str, str | None] = {}
    for name in sorted(names):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    gpu = device.find()
    return {**found, "driver": None if gpu is None else gpu.driver}


def _reasons(left: Sequence[LeftOut]) -> str:
    return "; ".join(f"{each.name}: {each.reason}" for each in left) or "none was found"
