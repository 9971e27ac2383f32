from __future__ import annotations

import numpy as np
import pytest
from streams import MS, table

from tvmkd.base.errors import InputError
from tvmkd.boards.board_state import Clock, Telemetry, Zone
from tvmkd.deploy.streaming import summarise
from tvmkd.deploy.streaming.sampler import Sample

PERIOD = 40 * MS


def figures(latencies: list[float], **more: object) -> dict[str, object]:
    given: dict[str, object] = {"numbers": range(len(latencies)), "seconds": 10.0, **more}
    rows = table(latencies, 40.0, list(given.pop("numbers")))  # type: ignore[call-overload]
    return summarise.figures(rows, 0, float(given["seconds"]), PERIOD, 20.0)  # type: ignore[arg-type]


def test_percentiles() -> None:
    found = summarise.spread(np.arange(1.0, 1002.0))
    assert (found.min, found.p50, found.p90, found.worst) == (1.0, 501.0, 901.0, 1001.0)
    assert (found.p99, found.p999, found.mean) == pytest.approx((991.0, 1000.0, 501.0))


def test_a_frame_at_its_deadline_is_on_time() -> None:
    found = figures([20.0, 20.001, 5.0])
    assert (found["released"], found["processed"], found["late"], found["dropped"]) == (3, 3, 1, 0)


def test_frames_between_are_dropped_and_those_before_the_first_are_not_forgotten() -> None:
    found = figures([5.0, 5.0, 5.0], numbers=[1, 2, 5])
    assert (found["released"], found["processed"], found["dropped"]) == (6, 3, 3)


def test_frames_that_came_during_the_last_one_count() -> None:
    # Released at 80 ms, done at 205 ms: those of 120, 160 and 200 ms were not run.
    assert figures([5.0, 125.0])["dropped"] == 3
    # The stream ended at 130 ms: only that of 120 ms was due.
    assert figures([5.0, 125.0], seconds=0.13)["dropped"] == 1


def test_no_frame_at_all() -> None:
    with pytest.raises(InputError, match="before the first frame"):
        figures([])


def test_the_jitter_of_the_ends() -> None:
    jitter = figures([5.0, 7.0, 6.0])["finish_jitter"]
    assert (jitter.min, jitter.worst) == (1.0, 2.0)  # type: ignore[attr-defined]
    assert figures([5.0])["finish_jitter"].worst == 0.0  # type: ignore[attr-defined]


def test_every_frame_is_in_its_steps_histogram() -> None:
    stages = figures([5.0, 7.0, 300.0, 5.0])["stages"]
    assert [sum(stage.counts) for stage in stages] == [4] * 4  # type: ignore[attr-defined]
    assert all(len(stage.edges) == len(stage.counts) + 1 for stage in stages)  # type: ignore[attr-defined]


def test_the_timeline_has_each_second() -> None:
    latencies = [5.0] * 24 + [30.0] + [6.0] * 24
    numbers = [*range(25), *range(27, 51)]
    found = summarise.timeline(
        table(latencies, 40.0, numbers), 0, np.array([ms > 20 for ms in latencies]), 2
    )
    assert [moment.second for moment in found] == [0.0, 1.0, 2.0]
    assert [moment.worst for moment in found] == [5.0, 30.0, 6.0]
    assert [moment.late for moment in found] == [0, 1, 0]
    assert [moment.dropped for moment in found] == [0, 2, 2]
    assert [moment.p50 for moment in found] == [5.0, 6.0, 6.0]


def test_a_long_stream_has_longer_parts_and_a_gap_has_no_times() -> None:
    found = summarise.timeline(table([5.0, 5.0], 2000.0, [0, 1199]), 0, np.zeros(2, bool))
    assert len(found) <= summarise.MOMENTS + 1
    assert found[0].p50 == 5.0
    assert found[1].p50 is None
    assert found[1].rung is None


def test_readings_have_seconds_since_the_start() -> None:
    state = Telemetry(
        zones=(Zone("a", 40.0), Zone("b", 50.0)),
        clocks=(Clock((0,), 900_000, 1, 2), Clock((1,), 1_200_000, 1, 2)),
        watts=2.5,
    )
    samples = [Sample(500 * MS, Telemetry(), None), Sample(2500 * MS, state, True)]
    first, second = summarise.states(samples, 1000 * MS)
    assert (first.second, first.celsius, first.mhz) == (-0.5, None, None)
    assert (second.second, second.celsius, second.mhz, second.watts) == (1.5, 50.0, 900.0, 2.5)
    assert second.throttled is True


def test_exits_are_counted_for_each_model() -> None:
    rows = np.concatenate([table([5.0] * 3), table([5.0] * 2, rung=1)])
    rows[:, -1] = [0, 2, 2, 1, 0]
    assert summarise.exits_of(rows, 0, 3) == [1, 0, 2]
    assert summarise.exits_of(rows, 1, 1) == [1, 1]


def test_the_jitter_of_the_releases_and_the_drops_of_the_end() -> None:
    rows = table([5.0, 125.0])
    rows[:, 2] += [1 * MS, 3 * MS]  # woken so late
    found = summarise.figures(rows, 0, 10.0, PERIOD, 20.0)
    jitter = found["release_jitter"]
    assert (jitter.min, jitter.worst) == (1.0, 3.0)
    assert sum(moment.dropped for moment in found["timeline"]) == found["dropped"] == 3


def test_a_timeline_counts_from_the_start_of_the_stream() -> None:
    begun = 5000 * MS
    rows = table([5.0] * 30)
    rows[:, 1:7] += begun
    found = summarise.timeline(rows, begun, np.zeros(30, bool))
    assert [moment.second for moment in found] == [0.0, 1.0]


def test_the_first_and_the_last_bin_hold_the_extremes() -> None:
    stage = summarise._stage("model", np.array([1.0, 2.0, 4.0, 4.0]))
    assert len(stage.counts) == summarise.BINS
    assert (stage.counts[0], stage.counts[-1]) == (1, 2)
    assert (stage.edges[0], stage.edges[-1]) == (1.0, 4.0)
    zero = summarise._stage("capture", np.array([0.0, 0.0]))
    assert sum(zero.counts) == 2
