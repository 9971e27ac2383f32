from __future__ import annotations

import math
from typing import Any

import pytest
from fleets import metrics

from tvmkd.boards.board_state import Clock, Telemetry, Zone
from tvmkd.boards.power import Rail
from tvmkd.deploy.monitoring import scrape, servers
from tvmkd.deploy.monitoring.scrape import Scrape, Server, Unreachable
from tvmkd.deploy.monitoring.servers import WatchedServer, quantile, telemetry_of

URL = "http://127.0.0.1:8000"


class FakeServer(Server):
    """Gives readings at the times that a test says."""

    readings: list[tuple[float, str | None]]

    def scrape(self, seconds: float = 3.0) -> Scrape:
        at, text = self.readings.pop(0)
        if text is None:
            raise Unreachable("Connection refused")
        return Scrape(at, scrape.parse(text))


def watched(*readings: tuple[float, str | None]) -> WatchedServer:
    server = FakeServer(URL)
    object.__setattr__(server, "readings", list(readings))
    made = WatchedServer(server)
    for _ in readings:
        made.look()
    return made


def test_the_first_reading_tells_of_the_time_since_the_start() -> None:
    (row,) = watched((0.0, metrics())).models()
    assert (row.model, row.version, row.ready) == ("student", "2", True)
    assert row.per_second is None
    assert row.p50_ms == pytest.approx(1000 * 0.001 * 50 / 90)
    assert row.p99_ms == pytest.approx(1000 * (0.001 + 0.009 * 9 / 10))
    assert (row.misses, row.errors, row.queue, row.instances) == (5, 3, 4, 2)
    assert (row.new_misses, row.new_errors) == (0, 0)


def test_the_next_ones_tell_of_the_time_between() -> None:
    (row,) = watched((0.0, metrics()), (10.0, metrics(200, 90, 8))).models()
    assert row.per_second == 10.0
    assert row.p50_ms == pytest.approx(1000 * (0.001 + 0.009 * 0.5))  # all 100 new ones are slow
    assert (row.misses, row.new_misses) == (8, 3)


def test_without_requests_there_is_no_latency() -> None:
    (row,) = watched((0.0, metrics()), (10.0, metrics())).models()
    assert (row.per_second, row.p50_ms, row.p99_ms) == (0.0, None, None)


def test_the_last_minute_counts() -> None:
    many = [(10.0 * n, metrics(100 + n, 90)) for n in range(20)]
    (row,) = watched(*many).models()
    assert row.per_second == pytest.approx(0.1)
    fast_then_slow = watched(
        (0.0, metrics(0, 0)), (100.0, metrics(1000, 1000)), (160.0, metrics(1100, 1000))
    )
    (row,) = fast_then_slow.models()
    assert row.p50_ms is not None
    assert row.p50_ms > 1.0


def test_a_server_that_was_started_again_begins_anew() -> None:
    (row,) = watched((0.0, metrics(100)), (10.0, metrics(5, 5))).models()
    assert row.per_second is None
    assert row.p50_ms is not None


def test_a_server_that_is_down() -> None:
    gone = watched((0.0, metrics()), (1.0, None))
    (row,) = gone.models()
    assert (row.model, row.why) == ("", "Connection refused")
    assert gone.board().status == "down"
    assert WatchedServer(Server(URL)).models()[0].why == "was not asked yet"
    back = watched((0.0, metrics()), (1.0, None), (2.0, metrics()))
    assert back.models()[0].ready
    assert back.board().status == "up"


def test_the_board_of_a_server() -> None:
    board = watched((0.0, metrics())).board()
    assert (board.name, board.version) == (URL, "0.1.0")
    state = board.state
    assert state is not None
    assert (state.celsius, state.watts, state.power_mode) == (61.5, 2.5, "MAXN")
    assert state.clocks[0].now == state.clocks[0].max == 1_479_000
    assert state.throttled is False


@pytest.mark.parametrize(
    ("text", "by"),
    [
        ("", None),
        ("tvmkd_board_is_throttled 0\n", ()),
        ("tvmkd_board_is_throttled 1\n", ("throttled",)),
        ('tvmkd_board_is_throttled 1\ntvmkd_board_throttled{sign="tegra"} 1\n', ("tegra",)),
    ],
)
def test_throttling(text: str, by: tuple[str, ...] | None) -> None:
    assert telemetry_of(Scrape(0.0, scrape.parse(text))).throttled_by == by
    assert telemetry_of(Scrape(0.0, scrape.parse(text))) == Telemetry(throttled_by=by)


@pytest.mark.parametrize(
    ("counts", "share", "found"),
    [
        ({}, 0.5, None),
        ({1.0: 0.0, math.inf: 0.0}, 0.5, None),
        ({1.0: 10.0, math.inf: 10.0}, 0.5, 0.5),
        ({1.0: 10.0, math.inf: 10.0}, 1.0, 1.0),
        ({1.0: 5.0, 2.0: 10.0, math.inf: 10.0}, 0.5, 1.0),
        ({1.0: 5.0, 2.0: 10.0, math.inf: 10.0}, 0.75, 1.5),
        ({1.0: 0.0, 2.0: 10.0, math.inf: 10.0}, 0.1, 1.1),
        ({1.0: 1.0, math.inf: 10.0}, 0.99, 1.0),  # above the highest limit
    ],
)
def test_quantiles_are_prometheus(
    counts: dict[float, float], share: float, found: float | None
) -> None:
    assert quantile(counts, share) == (found if found is None else pytest.approx(found))


def test_everything_that_a_board_can_tell_comes_through_its_server() -> None:
    from prometheus_client import CollectorRegistry, generate_latest

    from tvmkd.deploy.serving import board_metrics

    told = Telemetry(
        zones=(Zone("cpu", 41.5), Zone("gpu", 44.0)),
        clocks=(Clock((0,), 900, 0, 1000), Clock((3,), 800, 0, 2000)),
        throttled_by=("tegra-cpu",),
        throttle_count=3,
        rails=(Rail("VDD_IN", 2.5), Rail("VDD_CPU", 1.0)),
        watts=2.5,
        power_mode="MAXN",
        load_1min=0.5,
        memory_bytes=1000,
        memory_available_bytes=500,
    )

    class Board:
        def collect(self) -> Any:
            return board_metrics.families(told)

    registry = CollectorRegistry()
    registry.register(Board())  # type: ignore[arg-type]
    text = generate_latest(registry).decode()
    assert telemetry_of(Scrape(0.0, scrape.parse(text))) == told
    assert servers.WINDOW == 60.0
