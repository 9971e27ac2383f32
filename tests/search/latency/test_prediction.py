from __future__ import annotations

from tvmkd.search.latency.prediction import Kernel, KernelTime, Prediction


def test_share_of_interpolated_time_counts_calls() -> None:
    def part(seconds: float, calls: int, source: str) -> KernelTime:
        return KernelTime(Kernel("0x1", "k", "conv2d", calls, 1.0), seconds, source)  # type: ignore[arg-type]

    found = Prediction(8.0, 7.0, 9.0, [part(1.0, 6, "measured"), part(1.0, 2, "interpolated")])
    assert found.interpolated == 0.25
    assert Prediction(1.0, 1.0, 1.0).interpolated == 0.0
