from __future__ import annotations

import pytest

from tvmkd.search.page import scales


def test_latencies_that_span_a_decade_are_logarithmic() -> None:
    assert scales.latency([1.0, 10.1], 0, 100).log
    assert not scales.latency([1.0, 9.9], 0, 100).log


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.1], [1.0, 5.0], [0.001, 80.0]])
def test_every_latency_is_inside(values: list[float]) -> None:
    x = scales.latency(values, 0, 100)
    assert all(1 < x(value) < 99 for value in (min(values), max(values)) if x.low > 0)
    assert x.high > max(values)
    assert x.low < min(values)


@pytest.mark.parametrize("maximize", [True, False])
def test_a_few_bad_networks_do_not_squeeze_the_others(maximize: bool) -> None:
    good = [0.9 + i / 1000 for i in range(30)]
    if not maximize:
        good = [1 - value for value in good]
    bad = [0.1] if maximize else [0.9]
    y = scales.score([good[-1]], [*good, *bad], 100, 0, maximize=maximize, limits=(0, 1))
    assert y.high - y.low < 0.1
    assert all(y.low <= value <= y.high for value in good)
    kept = scales.score(bad, good, 100, 0, maximize=maximize, limits=(0, 1))
    assert kept.low <= bad[0] <= kept.high, "one that must be seen is inside"


def test_one_score_has_an_axis_too() -> None:
    y = scales.score([], [100.0], 100, 0, maximize=True, limits=(0.0, 100.0))
    assert y.low < 100.0 == y.high
