"""What share of a model's time is tuned, by numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from fake_builder import FakeBuilder, record, task

from tvmkd.stacks.coverage import coverage

CONV = task("c", weight=2, flop=4e6)
DEPTHWISE = task("d", flop=1e6, kind="depthwise")
DENSE = task("e", weight=3, flop=1e6, kind="dense")


def found(*tasks: Any, **seconds: float) -> dict[str, Any]:
    chosen = {key: record(key, key, value) for key, value in seconds.items()}
    return coverage(FakeBuilder(*tasks), chosen, [{"task": "t", "key": "k"}])


def test_all_tuned() -> None:
    facts = found(CONV, DEPTHWISE, c=1e-3, d=5e-4)
    assert (facts["tasks"], facts["tuned"], facts["untuned"]) == (2, 2, [])
    assert facts["tuned_share"] == 1.0
    assert facts["estimate_us"] == pytest.approx(2 * 1000 + 500)
    assert facts["set_aside"] == [{"task": "t", "key": "k"}]


def test_an_untuned_task_runs_at_the_median_speed_of_its_kind() -> None:
    """Tuned convolutions: 1, 2 and 8 GFLOP/s; the depthwise one, much faster, does not count."""
    tuned = [task(key, flop=flop) for key, flop in (("a", 1e6), ("b", 2e6), ("f", 8e6))]
    facts = found(*tuned, CONV, DEPTHWISE, a=1e-3, b=1e-3, f=1e-3, d=1e-6)
    untuned = 2 * 4e6 / 2e9
    total = 3e-3 + 1e-6 + untuned
    assert facts["untuned"] == [
        {
            "name": "kernel of c",
            "kind": "conv2d",
            "share": pytest.approx(untuned / total),
            "schedule": "default of conv2d",
        }
    ]
    assert facts["tuned_share"] == pytest.approx(1 - untuned / total)
    assert facts["estimate_us"] == pytest.approx(total * 1e6)
    assert (facts["tasks"], facts["tuned"]) == (5, 4)


def test_a_kind_without_a_tuned_task_runs_at_the_median_speed_of_all() -> None:
    facts = found(CONV, DEPTHWISE, DENSE, c=1e-3, d=1e-3)  # 4 and 1 GFLOP/s: the upper median
    dense = 3 * 1e6 / 4e9
    assert facts["untuned"][0]["share"] == pytest.approx(dense / (2e-3 + 1e-3 + dense))


def test_tasks_without_operations_say_nothing_about_speed() -> None:
    copy = task("k", flop=0.0)
    facts = found(copy, CONV, DEPTHWISE, k=1e-3, d=1e-3)
    assert facts["untuned"][0]["share"] == pytest.approx(8e-3 / (8e-3 + 1e-3 + 1e-3))


def test_nothing_tuned_gives_shares_by_operations_and_no_estimate() -> None:
    facts = found(CONV, DENSE)
    assert (facts["tuned"], facts["tuned_share"], facts["estimate_us"]) == (0, 0.0, None)
    assert [each["share"] for each in facts["untuned"]] == pytest.approx([8 / 11, 3 / 11])


def test_a_model_without_tasks() -> None:
    facts = found()
    assert (facts["tasks"], facts["tuned_share"], facts["estimate_us"]) == (0, 1.0, None)
