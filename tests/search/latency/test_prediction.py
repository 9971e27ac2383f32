from __future__ import annotations

import pytest

from tvmkd.search.latency.prediction import Kernel, KernelTime, Prediction, figure


def test_share_of_interpolated_time_counts_calls() -> None:
    def part(seconds: float, calls: int, source: str) -> KernelTime:
        return KernelTime(Kernel("0x1", "k", "conv2d", calls, 1.0), seconds, source)  # type: ignore[arg-type]

    found = Prediction(8.0, 7.0, 9.0, [part(1.0, 6, "measured"), part(1.0, 2, "interpolated")])
    assert found.interpolated == 0.25
    assert Prediction(1.0, 1.0, 1.0).interpolated == 0.0


@pytest.mark.parametrize(
    ("seconds", "unit", "text"),
    [
        (4.2123e-3, "s", "4.21 ms"),
        (3.52e-5, "s", "35.2 us"),
        (9.999e-4, "s", "1 ms"),
        (9.994e-4, "s", "999 us"),
        (0.9999, "s", "1 s"),
        (1234.5, "s", "1234 s"),
        (3e-9, "s", "0.003 us"),
        (0.0, "s", "0 us"),
        (0.0123, "instructions", "12.3 M instructions"),
        (2.5, "instructions", "2500 M instructions"),
        (0.32, "MACs", "320 M MACs"),
    ],
)
def test_figures_for_people(seconds: float, unit: str, text: str) -> None:
    assert figure(seconds, unit) == text
