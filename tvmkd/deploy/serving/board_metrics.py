"""What the board tells, as Prometheus' metrics; a board that does not tell has none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tvmkd.boards.board_state import Telemetry

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


def families(board: Telemetry) -> Iterator[Metric]:
    """The metrics of a board's state; docs/how-to/serve.md has the names."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

    def gauge(name: str, about: str, rows: list[tuple[str, float]], label: str) -> Any:
        made = GaugeMetricFamily(f"tvmkd_board_{name}", about, labels=[label])
        for value_of_label, value in rows:
            made.add_metric([value_of_label], value)
        return made

    found = [
        gauge("temperature_celsius", "Thermal zones.",
              [(zone.name, zone.celsius) for zone in board.zones], "zone"),
        gauge("cpu_clock_hertz", "Clocks of the CPUs.",
              [(str(cpu), 1000.0 * clock.now) for clock in board.clocks for cpu in clock.cpus],
              "cpu"),
        gauge("cpu_clock_max_hertz", "What the clocks may be at most.",
              [(str(cpu), 1000.0 * clock.max) for clock in board.clocks for cpu in clock.cpus],
              "cpu"),
        gauge("power_watts", "Measured supplies.",
              [(rail.name, rail.watts) for rail in board.rails], "rail"),
        gauge("throttled", "1 for each sign of throttling that is on.",
              [(sign, 1.0) for sign in board.throttled_by or ()], "sign"),
    ]  # fmt: skip
    yield from (each for each in found if each.samples)
    single = {
        "total_power_watts": ("Power of the whole board.", board.watts),
        "gpu_clock_hertz": (
            "Clock of the GPU.",
            None if board.gpu is None else 1000.0 * board.gpu.now,
        ),
        "gpu_load_ratio": ("Load of the GPU, 0 to 1.", board.gpu_load),
        "load1": ("Processes that run or wait, over a minute.", board.load_1min),
        "memory_bytes": ("Memory in all.", board.memory_bytes),
        "memory_available_bytes": ("Memory that processes may take.", board.memory_available_bytes),
        "is_throttled": (
            "1 if any sign of throttling is on.",
            None if board.throttled is None else float(board.throttled),
        ),
    }
    for name, (about, value) in single.items():
        if value is not None:
            yield GaugeMetricFamily(f"tvmkd_board_{name}", about, value=value)
    if board.throttle_count is not None:
        text = "How often it throttled since it was started."
        yield CounterMetricFamily("tvmkd_board_throttle_events", text, value=board.throttle_count)
    if board.power_mode is not None:
        yield InfoMetricFamily("tvmkd_board_power_mode", "nvpmodel's.", {"mode": board.power_mode})
