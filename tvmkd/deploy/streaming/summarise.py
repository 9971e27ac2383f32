"""Turns the record of a stream into its figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvmkd.base.errors import InputError
from tvmkd.boards.board_state import Telemetry
from tvmkd.deploy.streaming.record import STAGES, Table, column, latency_ms, stage_ms
from tvmkd.deploy.streaming.result import Moment, Spread, Stage, State
from tvmkd.deploy.streaming.sampler import Sample

BINS = 60
MOMENTS = 600  # parts of the timeline, at most
Values = NDArray[np.float64]


def spread(values: Values) -> Spread:
    """Percentiles of at least one value, in the values' unit."""
    p50, p90, p95, p99, p999 = (float(np.percentile(values, q)) for q in (50, 90, 95, 99, 99.9))
    return Spread(
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        p999=p999,
        mean=float(values.mean()),
        min=float(values.min()),
        worst=float(values.max()),
    )


def figures(
    table: Table, begun: int, seconds: float, period: int, budget_ms: float
) -> dict[str, Any]:
    """The fields of `StreamResult` that the record tells.

    Args:
        table: the record, at least one frame.
        begun: ns at which the stream began; the first frame is due a period later.
        seconds: how long it was to run.
        period: ns between two frames.
        budget_ms: of a frame.

    Raises:
        InputError: there is no frame.
    """
    if not len(table):
        raise InputError("stream: it ended before the first frame; let it run for longer")
    number, release, finish = (column(table, name) for name in ("number", "release", "finish"))
    latency = latency_ms(table)
    # Frames that came during the last one, and before the end, were not run either.
    end = min(int(finish[-1]), begun + int(seconds * 1e9))
    unseen = max(0, (end - int(release[-1])) // period)
    released = int(number[-1]) + 1 + unseen
    late = latency > budget_ms
    return {
        "released": released,
        "processed": len(table),
        "late": int(late.sum()),
        "dropped": released - len(table),
        "seconds": round((int(finish[-1]) - begun) / 1e9, 3),
        "latency": spread(latency),
        "release_jitter": spread((column(table, "begin") - release) / 1e6),
        "finish_jitter": spread(_finish_jitter(release, finish)),
        "stages": [_stage(name, values) for name, values in stage_ms(table).items()],
        "timeline": timeline(table, begun, late, unseen),
    }


def _finish_jitter(release: NDArray[np.int64], finish: NDArray[np.int64]) -> Values:
    if len(release) < 2:
        return np.zeros(1)
    found: Values = np.abs(np.diff(finish) - np.diff(release)) / 1e6
    return found


def _stage(name: str, values: Values) -> Stage:
    assert name in STAGES
    low, high = float(values.min()), float(values.max())
    low, high = max(low, 1e-4), max(high, 2e-4, low * 1.01)
    edges = np.geomspace(low, high, BINS + 1)
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), bins=edges)
    return Stage(
        name=name, ms=spread(values), edges=edges.round(6).tolist(), counts=counts.tolist()
    )


def timeline(table: Table, begun: int, late: NDArray[np.bool_], unseen: int = 0) -> list[Moment]:
    """The stream in parts of at least a second, at most `MOMENTS` of them.

    Args:
        unseen: frames that were dropped after the last one of the table.
    """
    seconds = (column(table, "release") - begun) / 1e9
    length = max(1.0, float(np.ceil(seconds[-1] / MOMENTS)))
    part = (seconds // length).astype(np.int64)
    number, rung, latency = column(table, "number"), column(table, "rung"), latency_ms(table)
    # Before the first frame none is missing.
    dropped = np.diff(number, prepend=-1) - 1
    found = []
    for index in range(int(part[-1]) + 1):
        here = part == index
        more = unseen if index == part[-1] else 0
        some = bool(here.any())
        found.append(
            Moment(
                second=index * length,
                p50=float(np.median(latency[here])) if some else None,
                worst=float(latency[here].max()) if some else None,
                late=int(late[here].sum()),
                dropped=int(dropped[here].sum()) + more,
                rung=int(np.bincount(rung[here]).argmax()) if some else None,
            )
        )
    return found


def states(samples: Sequence[Sample], begun: int) -> list[State]:
    """The readings with seconds since the start; the first may lie before it."""
    return [
        State(
            second=round((sample.at - begun) / 1e9, 2),
            celsius=sample.state.celsius,
            mhz=_slowest(sample.state),
            watts=sample.state.watts,
            throttled=sample.throttled,
            load_1min=sample.state.load_1min,
        )
        for sample in samples
    ]


def _slowest(state: Telemetry) -> float | None:
    return min((clock.now / 1000 for clock in state.clocks), default=None)


def exits_of(table: Table, rung: int, exits: int) -> list[int]:
    """How many frames of a model left at each of its exits."""
    taken = column(table, "exit")[column(table, "rung") == rung]
    counts: list[int] = np.bincount(taken, minlength=exits).tolist()
    return counts
