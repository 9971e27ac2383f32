"""Inference servers: the models that they serve and the boards that they run on."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

from tvmkd.boards.board_state import Clock, Telemetry, Zone
from tvmkd.boards.power import Rail
from tvmkd.deploy.monitoring.scrape import Scrape, Server, Unreachable
from tvmkd.deploy.monitoring.view import BoardRow, ModelRow

WINDOW = 60.0  # seconds
REQUESTS = "tvmkd_inference_requests_total"
ERRORS = "tvmkd_inference_errors_total"
MISSES = "tvmkd_inference_deadline_misses_total"
BUCKETS = "tvmkd_inference_duration_seconds_bucket"
QUEUE = "tvmkd_inference_queue_length"
INSTANCES = "tvmkd_instances"
READY = "tvmkd_model_ready"
TEMPERATURE = "tvmkd_board_temperature_celsius"
THROTTLED = "tvmkd_board_throttled"
IS_THROTTLED = "tvmkd_board_is_throttled"
THROTTLE_EVENTS = "tvmkd_board_throttle_events_total"
CLOCK, CLOCK_MAX = "tvmkd_board_cpu_clock_hertz", "tvmkd_board_cpu_clock_max_hertz"
POWER, TOTAL_POWER = "tvmkd_board_power_watts", "tvmkd_board_total_power_watts"
POWER_MODE = "tvmkd_board_power_mode_info"
LOAD, MEMORY = "tvmkd_board_load1", "tvmkd_board_memory_bytes"
MEMORY_FREE = "tvmkd_board_memory_available_bytes"
SERVER = "tvmkd_server_info"

Key = tuple[str, str]
"""A model and its version."""


class WatchedServer:
    """A server, with its readings of the last minute."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._scrapes: deque[Scrape] = deque()
        self.why = ""

    def look(self) -> None:
        """Reads its metrics; `why` says what went wrong."""
        try:
            new = self.server.scrape()
        except Unreachable as error:
            self.why = str(error)
            self._scrapes.clear()
            return
        self.why = ""
        if self._scrapes and _restarted(self._scrapes[-1], new):
            self._scrapes.clear()
        self._scrapes.append(new)
        while len(self._scrapes) > 2 and new.at - self._scrapes[1].at >= WINDOW:
            self._scrapes.popleft()

    def models(self) -> list[ModelRow]:
        """Its models; one row without a model if it is down."""
        url = self.server.url
        if not self._scrapes:
            return [ModelRow(url, why=self.why or "was not asked yet")]
        first, last = self._scrapes[0], self._scrapes[-1]
        return [_model(url, key, first, last) for key in _keys(last)]

    def board(self) -> BoardRow:
        """What it tells of its machine."""
        url = self.server.url
        if not self._scrapes:
            return BoardRow(url, "server", "down", self.why or "was not asked yet")
        last = self._scrapes[-1]
        info = next((labels for labels, _ in last.of(SERVER)), {})
        return BoardRow(url, "server", "up", version=info.get("version"), state=telemetry_of(last))


def _restarted(before: Scrape, after: Scrape) -> bool:
    """Whether a counter has become smaller."""
    return any(
        after.values.get(key, math.inf) < value
        for key, value in before.values.items()
        if key[0] == REQUESTS
    )


def _keys(scrape: Scrape) -> list[Key]:
    found = {
        (labels["model"], labels.get("version", ""))
        for name in (READY, REQUESTS)
        for labels, _ in scrape.of(name)
        if labels.get("model")
    }
    return sorted(found)


def _of_model(scrape: Scrape, name: str, key: Key) -> float:
    """The sum of a metric over a model's labels."""
    return sum(
        value
        for labels, value in scrape.of(name)
        if (labels.get("model"), labels.get("version", "")) == key
    )


def _model(url: str, key: Key, first: Scrape, last: Scrape) -> ModelRow:
    def total(name: str) -> int:
        return int(_of_model(last, name, key))

    def new(name: str) -> int:
        return int(_of_model(last, name, key) - _of_model(first, name, key))

    passed = last.at - first.at
    counts = buckets(last, key)
    if first is not last:
        earlier = buckets(first, key)
        counts = {limit: count - earlier.get(limit, 0.0) for limit, count in counts.items()}
    return ModelRow(
        url,
        *key,
        ready=_of_model(last, READY, key) > 0,
        per_second=new(REQUESTS) / passed if passed > 0 else None,
        p50_ms=_milliseconds(quantile(counts, 0.5)),
        p99_ms=_milliseconds(quantile(counts, 0.99)),
        misses=total(MISSES),
        errors=total(ERRORS),
        new_misses=new(MISSES),
        new_errors=new(ERRORS),
        queue=total(QUEUE),
        instances=total(INSTANCES),
    )


def buckets(scrape: Scrape, key: Key) -> dict[float, float]:
    """The cumulative counts of whole requests, by upper limit in seconds."""
    return {
        float(labels["le"]): value
        for labels, value in scrape.of(BUCKETS)
        if (labels.get("model"), labels.get("version", "")) == key
        and labels.get("stage") == "total"
    }


def quantile(counts: Mapping[float, float], share: float) -> float | None:
    """A quantile in seconds from cumulative counts, linear inside a bucket as in Prometheus.

    Returns:
        None without a request; the highest finite limit for what lies above it.
    """
    limits = sorted(counts)
    if not limits or counts[limits[-1]] <= 0:
        return None
    rank = share * counts[limits[-1]]
    low, below = 0.0, 0.0
    for limit in limits:
        if counts[limit] >= rank:
            if math.isinf(limit):
                return low
            inside = counts[limit] - below
            return low + (limit - low) * ((rank - below) / inside if inside else 1.0)
        low, below = limit, counts[limit]
    return low


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds


def telemetry_of(scrape: Scrape) -> Telemetry:
    """A board's state from its server's metrics."""
    highest = {labels.get("cpu", ""): value for labels, value in scrape.of(CLOCK_MAX)}
    clocks = tuple(
        Clock((int(labels["cpu"]),), _khz(hertz), 0, _khz(highest.get(labels["cpu"], hertz)))
        for labels, hertz in scrape.of(CLOCK)
        if labels.get("cpu", "").isdigit()
    )
    known = scrape.one(IS_THROTTLED)
    signs: Sequence[str] = [
        labels.get("sign", "throttled") for labels, on in scrape.of(THROTTLED) if on
    ]
    return Telemetry(
        zones=tuple(Zone(labels.get("zone", ""), c) for labels, c in scrape.of(TEMPERATURE)),
        clocks=clocks,
        throttled_by=None if known is None else tuple(signs or (["throttled"] if known else [])),
        throttle_count=_whole(scrape.one(THROTTLE_EVENTS)),
        rails=tuple(Rail(labels.get("rail", ""), watts) for labels, watts in scrape.of(POWER)),
        watts=scrape.one(TOTAL_POWER),
        power_mode=next((labels.get("mode") for labels, _ in scrape.of(POWER_MODE)), None),
        load_1min=scrape.one(LOAD),
        memory_bytes=_whole(scrape.one(MEMORY)),
        memory_available_bytes=_whole(scrape.one(MEMORY_FREE)),
    )


def _khz(hertz: float) -> int:
    return round(hertz / 1000)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
