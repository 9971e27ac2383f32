"""Fills a latency table: lowers networks of a space, tunes their kernels, times some of them whole.

Thousands of networks of a space share some hundred kernels. Those that nobody has measured are
tuned, the most useful first; then the networks are timed whole whose prediction is the least
certain, given what the others say (active learning: MacKay, "Information-based objective functions
for active data selection", 1992). Everything is written as it is measured, so that the same call
continues after an interruption.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base import console
from tvmkd.base.errors import InputError, InternalError, MissingError, WorkerDied
from tvmkd.search.latency import composition, roofline
from tvmkd.search.latency.lowering import structure
from tvmkd.search.latency.prediction import Kernel, KernelTime, figure
from tvmkd.search.latency.table import LatencyTable
from tvmkd.search.latency.usefulness import most_useful

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch import nn

FIRST, CHUNK = 12, 48
"""Kernels between two readings of the fixed network: at first, and at most."""

Network = Callable[[], "tuple[nn.Module | Path, Sequence[int] | None]"]
"""Makes a network, the same in each call, and says the shape of its input."""

FAULTS = (InputError, InternalError, WorkerDied)
"""What is wrong with one network and not with the others; a compiler may crash on it."""


@dataclass
class Filled:
    """What `fill` did.

    Attributes:
        networks: that were lowered; of those, ``failed`` could not be.
        kernels: distinct ones; ``missing`` of them remain unmeasured.
        tuned: kernels that were measured now.
        timed: networks that were timed whole now.
        board_seconds: that boards were busy.
        untimed: networks that could not be built or timed.
        failures: why networks failed, one line each.
    """

    networks: int = 0
    failed: int = 0
    kernels: int = 0
    missing: int = 0
    tuned: int = 0
    timed: int = 0
    untimed: int = 0
    board_seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


def fill(
    table: LatencyTable,
    networks: Iterable[Network],
    *,
    trials: int = 1,
    kernels: int | None = None,
    whole: int = 24,
    seed: int = 0,
    progress: Progress | None = None,
) -> Filled:
    """Measures what a table lacks for some networks.

    Args:
        table: with boards.
        networks: a sample of the space, each made when it is lowered.
        trials: of each kernel that has none.
        kernels: that may be tuned at most; None: all that are missing.
        whole: networks to be timed whole in all, those of earlier calls included.
        seed: of the tuning.
        progress: shows a bar for each step.

    Raises:
        InputError: no network can be lowered.
        MissingError: no board answers; what was measured is kept.
    """
    done = Filled()
    found = _lower(table, networks, done, progress)
    _tune(table, [kernels for _, kernels in found.values()], trials, kernels, seed, done, progress)
    _time(table, found, whole, done, progress)
    return done


Lowered = dict[str, tuple[Network, list[Kernel]]]
"""By `structure`. Networks are made again when they are timed: their files may be large."""


def _lower(
    table: LatencyTable,
    networks: Iterable[Network],
    done: Filled,
    progress: Progress | None,
) -> Lowered:
    """The networks that can be lowered, with their files and kernels."""
    many = list(networks)
    bar = _bar(progress, "lowering networks", len(many))
    found: Lowered = {}
    distinct: dict[str, Kernel] = {}
    for number, make in enumerate(many):
        done.networks += 1
        try:
            with _file(table, make) as path:
                known, name = table.kernels(path), structure(path)
        except FAULTS as error:
            done.failed += 1
            done.failures.append(str(error))
        else:
            found.setdefault(name, (make, known))
            distinct.update({kernel.key: kernel for kernel in known})
        bar(number + 1, f"{len(distinct)} kernels")
    if not found:
        raise InputError(
            f"none of {done.networks} networks can be lowered; the first: "
            f"{done.failures[0] if done.failures else 'there is none'}"
        )
    table.folder.add_kernels(distinct.values())
    done.kernels = len(distinct)
    return found


@contextlib.contextmanager
def _file(table: LatencyTable, make: Network) -> Iterator[Path]:
    """The ONNX file of a network; one that the table made is removed after the block."""
    model, shape = make()
    path = table.lowering.file(model, shape)
    try:
        yield path
    finally:
        if path is not model:
            table.lowering.forget(path)


def _tune(
    table: LatencyTable,
    networks: Sequence[Sequence[Kernel]],
    trials: int,
    limit: int | None,
    seed: int,
    done: Filled,
    progress: Progress | None,
) -> None:
    missing = {k.key for kernels in networks for k in kernels if table.measured(k.key) is None}
    done.missing = len(missing)
    wanted = len(missing) if limit is None else min(limit, len(missing))
    bar = _bar(progress, "tuning kernels", wanted * trials)
    count, tried, told = 0, set[str](), set[str]()

    def follow(name: str, data: dict[str, Any]) -> None:
        nonlocal count
        if name == "trial":
            count += 1
            bar(count, "")
        elif name == "note" and data["text"] not in told:
            told.add(data["text"])
            console.warn(data["text"])

    while chunk := _chosen(table, networks, tried, wanted - len(tried)):
        tried |= set(chunk)
        if not table.exact:
            table.read_drift()
        weights = {key: float(len(chunk) - place) for place, key in enumerate(chunk)}
        more = trials * len(chunk)
        done.board_seconds += table.tune(
            table.files(chunk), weights, more, seed=seed, on_event=follow
        )
        now = sum(table.measured(key) is not None for key in chunk)
        done.tuned, done.missing = done.tuned + now, done.missing - now
    if tried and not table.exact:
        table.read_drift()
        table.refresh()


def _chosen(
    table: LatencyTable, networks: Sequence[Sequence[Kernel]], tried: set[str], most: int
) -> list[str]:
    """The most useful kernels of those neither measured nor tried: no more than are measured,
    because those say which are useful.
    """
    times = [_guessed(table, kernels) for kernels in networks]
    known = {t.kernel.key for kernels in times for t in kernels if t.source == "measured"}
    count = min(CHUNK, max(FIRST, len(known)), most)
    return [key for key in most_useful(times, count=count + len(tried)) if key not in tried][:count]


def _guessed(table: LatencyTable, kernels: Sequence[Kernel]) -> list[KernelTime]:
    """The times of kernels; while the table is empty, those on a usual core."""
    try:
        return table.times(kernels)
    except InputError:
        usual = roofline.USUAL.seconds([kernel.features for kernel in kernels]).tolist()
        return [KernelTime(*each, "interpolated", 1.0) for each in zip(kernels, usual, strict=True)]


def _time(
    table: LatencyTable,
    networks: Lowered,
    whole: int,
    done: Filled,
    progress: Progress | None,
) -> None:
    known = {network.structure for network in table.folder.networks}
    rest = {name: found for name, found in networks.items() if name not in known}
    already = len(networks) - len(rest)
    count = max(0, min(whole - already, len(rest))) if table.holds_times() else 0
    bar = _bar(progress, "timing networks", count)
    timed = table.timed()
    tried: Counter[str] = Counter()  # what a disturbed machine spoilt; it is tried again last
    spare, number = count, 0
    while number < count and rest:
        fitted = composition.fit(timed, table.exact)
        times = {name: table.times(kernels) for name, (_, kernels) in rest.items()}
        name = max(rest, key=lambda name: (-tried[name], _uncertainty(fitted, times[name])))
        make, _ = rest[name]
        try:
            with _file(table, make) as path:
                measured = table.measure(path)
        except (*FAULTS, MissingError) as error:
            if isinstance(error, MissingError):
                table.read_drift()  # fails too, unless it is this network that ends the session
            done.untimed += 1
            done.failures.append(str(error))
        else:
            timed = table.timed()
            done.board_seconds += measured.board_seconds
            if measured.drift.disturbed and spare > 0:
                spare -= 1
                tried[name] += 1
                continue
            done.timed += 1
            bar(number + 1, figure(measured.seconds, table.unit))
        rest.pop(name)
        number += 1


def _uncertainty(fitted: composition.Composition, times: Sequence[KernelTime]) -> float:
    predicted = fitted.predict(times)
    return math.log(predicted.high / predicted.low)


def _bar(progress: Progress | None, text: str, total: int) -> Callable[[int, str], None]:
    if progress is None or not total:
        return lambda done, note: None
    bar = progress.add_task(text, total=total, note="")
    return lambda done, note: progress.update(bar, completed=done, note=note)
