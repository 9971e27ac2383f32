"""The folder of a latency table: tuning records, and beside them the networks that were timed.

Any folder of tuning records is a table; the other files are made as networks are added.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tvmkd.base.errors import InputError, unwritable
from tvmkd.search.latency import drift
from tvmkd.search.latency.drift import Reading, Slowdown
from tvmkd.search.latency.prediction import Kernel
from tvmkd.tuning import canary, records

KERNELS, NETWORKS, REFERENCE = "kernels.jsonl", "networks.jsonl", "reference.jsonl"


@dataclass(frozen=True)
class TimedNetwork:
    """A whole network that was timed; a line of ``networks.jsonl``.

    Attributes:
        structure: see `tvmkd.search.latency.lowering.structure`.
        calls: of each kernel, by its key.
        times: seconds of each kernel alone when the network was built, with the standard error of
            the logarithm; a kernel is measured again later, and the network is not.
        seconds: of one run, with the drift of the machine.
        spread: of the rounds.
        fixed: seconds that the fixed network took beside it; 0 where nothing drifts.
        board: ``HOST:PORT``.
        t: seconds since the epoch.
        macs: multiply-accumulates: half of the floating point operations of its kernels.
    """

    structure: str
    calls: dict[str, int]
    times: dict[str, tuple[float, float]]
    seconds: float
    spread: float = 0.0
    fixed: float = 0.0
    board: str | None = None
    t: float = 0.0
    macs: float = 0.0


@dataclass(frozen=True)
class TrialFacts:
    """When and where a trial was made, and what disturbed it.

    Attributes:
        t: seconds since the epoch.
        board: ``HOST:PORT``.
        slower: what its time is expected to be too large by; something else ran meanwhile.
        doubt: the standard error of the logarithm of that.
    """

    t: float = 0.0
    board: str | None = None
    slower: float = 1.0
    doubt: float = 0.0


@dataclass
class Folder:
    """What a table's folder holds; read once by `open`, appended to as things are measured."""

    path: Path
    kernels: dict[str, Kernel] = field(default_factory=dict)
    networks: list[TimedNetwork] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)

    def add_kernels(self, kernels: Iterable[Kernel]) -> None:
        """Remembers the kernels of a network with their features."""
        for kernel in kernels:
            if kernel.key not in self.kernels:
                self.kernels[kernel.key] = kernel
                self._append(KERNELS, asdict(kernel))

    def add_network(self, network: TimedNetwork) -> None:
        """Remembers a network that was timed."""
        self.networks.append(network)
        self._append(NETWORKS, asdict(network))

    def add_reading(self, reading: Reading) -> None:
        """Remembers what the fixed network took."""
        self.readings.append(reading)
        self._append(REFERENCE, asdict(reading))

    def slowdown(self, network: TimedNetwork) -> Slowdown:
        """What the machine was slower by when a network was timed, by what is known now."""
        return drift.slowdown(self.readings, network.t, network.fixed, network.board)

    def _append(self, name: str, value: dict[str, Any]) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(error, self.path) from None
        records.append_line(self.path / name, value)

    def trial_facts(self) -> dict[tuple[str, str], TrialFacts]:
        """When and on which board each trial was made, by task key and candidate key."""
        lines = list(records.trials(self.path))
        least = canary.usual(lines)
        found = {}
        for line in lines:
            if isinstance(line.get("t"), int | float):
                slower, board = _slowdown(line, least), line.get("board")
                facts = TrialFacts(line["t"], board, slower.expected, slower.doubt)
                found[records.normal_key(line["task"]), line["key"]] = facts
        return found


def _slowdown(line: Mapping[str, Any], least: Mapping[str, float]) -> Slowdown:
    """What the canary beside a trial says; it is a kernel with threads, as the trial's."""
    seconds, usual = line.get(canary.FACT), least.get(canary.host(line.get("board")))
    if seconds is None or usual is None or seconds <= canary.DISTURBED * usual:
        return Slowdown()
    return Slowdown(passing=seconds / usual)


def open_folder(path: Path) -> Folder:
    """Reads a table's folder; one that does not exist is an empty table.

    A line of a file that is cut off at its end is still being written, and left out.

    Raises:
        InputError: a file in it is damaged (names the line).
    """
    found = Folder(path)
    for line in records.read_lines(path / KERNELS):
        kernel = _made(Kernel, line, path / KERNELS)
        found.kernels[kernel.key] = kernel
    for line in records.read_lines(path / NETWORKS):
        found.networks.append(_made(TimedNetwork, line, path / NETWORKS))
    for line in records.read_lines(path / REFERENCE):
        found.readings.append(_made(Reading, line, path / REFERENCE))
    return found


def _made(kind: Any, line: Any, path: Path) -> Any:
    try:
        made = kind(**line)
        if not _sound(made):
            raise TypeError
    except (TypeError, ValueError, AttributeError):
        text = json.dumps(line)[:60]
        raise InputError(f"{path}: {text}… is no line of this file; remove it") from None
    return made


def _sound(made: Kernel | TimedNetwork | Reading) -> bool:
    """Whether the values of a line can be reckoned with."""
    if isinstance(made, Kernel):
        records.normal_key(made.key)
        return isinstance(made.kind, str) and all(map(_number, made.features.values()))
    if not (_number(made.seconds) and made.seconds > 0 and _number(made.t)):
        return False
    if isinstance(made, Reading):
        return True
    pairs = [made.times.get(key, ()) for key in made.calls]
    return all(len(pair) == 2 and all(map(_number, pair)) for pair in pairs)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def by_structure(networks: Sequence[TimedNetwork]) -> dict[str, list[TimedNetwork]]:
    """The networks by their structures."""
    found: dict[str, list[TimedNetwork]] = {}
    for network in networks:
        found.setdefault(network.structure, []).append(network)
    return found
