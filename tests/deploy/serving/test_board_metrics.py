"""The metrics of a board's state: names, labels, units."""

from __future__ import annotations

import pytest

from tvmkd.boards.board_state import Clock, Telemetry, Zone
from tvmkd.boards.power import Rail

pytest.importorskip("prometheus_client", reason="it is needed: pip install 'tvmkd[serve]'")


def samples(board: Telemetry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    from tvmkd.deploy.serving import board_metrics

    return {
        (sample.name.removeprefix("tvmkd_board_"), tuple(sample.labels.items())): sample.value
        for family in board_metrics.families(board)
        for sample in family.samples
    }


def test_a_board_that_does_not_tell_has_no_metrics() -> None:
    assert samples(Telemetry()) == {}


def test_all_that_a_board_tells() -> None:
    board = Telemetry(
        zones=(Zone("CPU", 51.5), Zone("GPU", 49.0)),
        clocks=(Clock((0, 1), 1_428_000, 102_000, 1_479_000),),
        gpu=Clock((), 921_600, 76_800, 998_400),
        gpu_load=0.25,
        throttled_by=("cpu-balanced",),
        throttle_count=3,
        rails=(Rail("POM_5V_IN", 6.5),),
        watts=7.0,
        power_mode="MAXN",
        load_1min=1.5,
        memory_bytes=4_000,
        memory_available_bytes=1_000,
    )
    assert samples(board) == {
        ("temperature_celsius", (("zone", "CPU"),)): 51.5,
        ("temperature_celsius", (("zone", "GPU"),)): 49.0,
        ("cpu_clock_hertz", (("cpu", "0"),)): 1.428e9,
        ("cpu_clock_hertz", (("cpu", "1"),)): 1.428e9,
        ("cpu_clock_max_hertz", (("cpu", "0"),)): 1.479e9,
        ("cpu_clock_max_hertz", (("cpu", "1"),)): 1.479e9,
        ("power_watts", (("rail", "POM_5V_IN"),)): 6.5,
        ("throttled", (("sign", "cpu-balanced"),)): 1.0,
        ("total_power_watts", ()): 7.0,
        ("gpu_clock_hertz", ()): 921.6e6,
        ("gpu_load_ratio", ()): 0.25,
        ("load1", ()): 1.5,
        ("memory_bytes", ()): 4000,
        ("memory_available_bytes", ()): 1000,
        ("is_throttled", ()): 1.0,
        ("throttle_events_total", ()): 3,
        ("power_mode_info", (("mode", "MAXN"),)): 1.0,
    }


def test_zero_is_told() -> None:
    board = Telemetry(gpu_load=0.0, throttled_by=(), throttle_count=0)
    assert samples(board) == {
        ("gpu_load_ratio", ()): 0.0,
        ("is_throttled", ()): 0.0,
        ("throttle_events_total", ()): 0.0,
    }
