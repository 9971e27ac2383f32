"""Times of single calls, or counts of them, from where a model runs in production.

Three sources: ``/metrics`` of a server of tvmkd (or a file of it), the ``stream.json`` of ``tvmkd
stream``, and a file of milliseconds as JSON lines or CSV.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvmkd.base.errors import InputError
from tvmkd.base.files import read_text
from tvmkd.base.text import listing
from tvmkd.deploy.monitoring import scrape
from tvmkd.deploy.monitoring.servers import BUCKETS
from tvmkd.deploy.streaming import result as streams

MS = ("ms", "latency_ms", "milliseconds")
"""Columns of times."""
WHEN = ("time", "timestamp", "t", "date")
"""Columns of time stamps: seconds, or ISO 8601."""
COMPUTE = "compute"
"""The stage of a request, and no other, that a latency table predicts."""
Value = float | str | None


@dataclass(frozen=True)
class Times:
    """Times of single calls, in seconds.

    Attributes:
        seconds: of each, in the order of the file.
        when: when each was taken, seconds; None where the file does not tell.
        source: what they were read from.
    """

    seconds: Sequence[float]
    when: Sequence[float] | None
    source: str


@dataclass(frozen=True)
class Counts:
    """Counted times.

    Attributes:
        limits: the buckets' edges in seconds; the last may be infinite.
        counts: in each bucket, one fewer than edges.
        median: seconds, if it is known; None otherwise.
        source: what they were read from.
    """

    limits: Sequence[float]
    counts: Sequence[int]
    median: float | None
    source: str


def read(path: Path, model: str | None = None) -> Times | Counts:
    """Reads a file of any of the three kinds; which one is seen by its content.

    Args:
        path: the file.
        model: of a file of metrics: which of several models.

    Raises:
        InputError: it cannot be read, holds no times, or something that is none.
        MissingError: it holds metrics, and prometheus_client is not installed.
    """
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8"
        raise InputError(f"{path}: cannot be read: {reason}") from None
    if streams.is_stream(path):
        return of_stream(streams.load(path), str(path))
    if BUCKETS in text:
        try:
            return of_metrics(scrape.parse(text), model, str(path))
        except scrape.Unreachable as error:
            raise InputError(f"{path}: {error}") from None
    return of_lines(text, str(path))


def of_stream(result: streams.StreamResult, source: str) -> Counts:
    """The model's times in a stream.

    Raises:
        InputError: the stream ran several models, or has no stage ``model``.
    """
    stage = next((each for each in result.stages if each.name == "model"), None)
    if stage is None:
        raise InputError(f"{source}: has no times of a model: no frame was run")
    if len(result.models) > 1 or any(len(model.exits) > 1 for model in result.models):
        raise InputError(f"{source}: has frames of several models or exits: stream with one model")
    edges = [edge / 1e3 for edge in stage.edges]
    return Counts(edges, stage.counts, stage.ms.p50 / 1e3, source)


def of_metrics(
    values: Mapping[tuple[str, scrape.Labels], float], model: str | None, source: str
) -> Counts:
    """The times of the stage ``compute`` of a model, over its versions and servers.

    Args:
        values: as `tvmkd.deploy.monitoring.scrape.parse` gives them.
        model: its name; None: the only one.
        source: for messages.

    Raises:
        InputError: there is no such model, or there are several and ``model`` is None.
    """
    found: dict[str, dict[float, float]] = {}
    for (name, labels), value in values.items():
        known = dict(labels)
        if name == BUCKETS and known.get("stage") == COMPUTE:
            buckets = found.setdefault(known.get("model", ""), {})
            limit = float(known["le"])
            buckets[limit] = buckets.get(limit, 0.0) + value
    if not found:
        raise InputError(f"{source}: has no times of a model of tvmkd")
    if model is None and len(found) > 1:
        raise InputError(f"{source}: has several models ({listing(sorted(found))}): name one")
    chosen = model if model is not None else next(iter(found))
    if chosen not in found:
        raise InputError(f"{source}: has no model {chosen}; it has {listing(sorted(found))}")
    limits = sorted(found[chosen])
    totals = [found[chosen][limit] for limit in limits]
    counts = [round(b - a) for a, b in zip([0.0, *totals], totals, strict=False)]
    return Counts([0.0, *limits], counts, None, source)


def since(later: Counts, earlier: Counts) -> Counts:
    """What was counted between two readings of a server.

    Raises:
        InputError: it was started again meanwhile.
    """
    counts = [b - a for a, b in zip(earlier.counts, later.counts, strict=True)]
    if min(counts) < 0:
        raise InputError(f"{later.source}: the server was started again meanwhile; try again")
    return Counts(later.limits, counts, None, later.source)


def of_lines(text: str, source: str) -> Times:
    """Milliseconds as JSON lines (numbers, or objects with ``ms`` and maybe ``time``) or CSV.

    Raises:
        InputError: a line is neither, or its time is no number above zero; names the line.
    """
    seconds: list[float] = []
    when: list[float | None] = []
    for number, (value, stamp) in _rows(text, source):
        where = f"{source}, line {number}"
        try:
            ms = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise InputError(f"{where}: {value!r} is no time in milliseconds") from None
        if not 0 < ms < math.inf:
            raise InputError(f"{where}: {value!r} is no time above 0 ms")
        seconds.append(ms / 1e3)
        when.append(None if stamp is None else _moment(stamp, where))
    if not seconds:
        raise InputError(f"{source}: holds no times")
    known = [each for each in when if each is not None]
    return Times(seconds, known if len(known) == len(seconds) else None, source)


def _rows(text: str, source: str) -> Iterator[tuple[int, tuple[Value, Value]]]:
    """(line, (milliseconds, time stamp)) of each line that is not empty."""
    lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    if lines and lines[0][1].startswith("{"):
        for number, line in lines:
            try:
                entry: Any = json.loads(line)
            except ValueError:
                entry = None
            if not isinstance(entry, dict):
                raise InputError(f"{source}, line {number}: is no JSON object")
            yield number, (_pick(entry, MS, source, number), _pick(entry, WHEN))
        return
    rows = [(number, next(csv.reader(io.StringIO(line)))) for number, line in lines]
    names = [cell.strip().lower() for cell in rows[0][1]] if rows else []
    if any(name in MS for name in names):
        for number, row in rows[1:]:
            entry = dict(zip(names, (cell.strip() for cell in row), strict=False))
            yield number, (_pick(entry, MS, source, number), _pick(entry, WHEN) or None)
        return
    if names and len(names) > 1:
        raise InputError(f"{source}: has several columns: name them in its first line, as ms,time")
    for number, row in rows:
        yield number, (row[0], None)


def _pick(entry: Mapping[str, Any], names: Sequence[str], source: str = "", number: int = 0) -> Any:
    found = next((entry[name] for name in names if name in entry), None)
    if found is None and source:
        raise InputError(f"{source}, line {number}: has none of {listing(names)}")
    return found


def _moment(stamp: Value, where: str) -> float:
    try:
        return float(stamp)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        pass
    try:
        moment = datetime.datetime.fromisoformat(str(stamp).replace("Z", "+00:00"))
    except ValueError:
        raise InputError(f"{where}: {stamp!r} is no time stamp: give seconds or ISO 8601") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return moment.timestamp()
