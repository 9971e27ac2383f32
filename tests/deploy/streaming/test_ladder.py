from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from tvmkd.deploy.streaming.ladder import Ladder, Rules

FPS = 10
RULES = Rules(30.0, hot=80.0, cool=65.0, calm_s=5.0)


def play(
    ladder: Ladder,
    seconds: float,
    latency: Callable[[float, int], float | None],
    begin: float = 0.0,
    celsius: Callable[[float], float | None] = lambda second: None,
) -> list[int]:
    """The rung of each second's last frame."""
    rungs = []
    for frame in range(int(seconds * FPS)):
        second = begin + frame / FPS
        ladder.feel(celsius(second))
        ladder.see(second, latency(second, ladder.rung))
        if frame % FPS == FPS - 1:
            rungs.append(ladder.rung)
    return rungs


def test_it_stays_where_everything_is_on_time() -> None:
    ladder = Ladder([20.0, 10.0], RULES)
    assert play(ladder, 60, lambda second, rung: 29.9) == [0] * 60
    assert ladder.steps == []


def test_one_late_frame_is_not_enough_and_two_are() -> None:
    ladder = Ladder([20.0, 10.0], RULES)
    assert ladder.see(0.0, 31.0) is None
    step = ladder.see(0.1, 31.0)
    assert step is not None
    assert (step.before, step.after, ladder.rung) == (0, 1, 1)
    assert step.why == "2 of 2 frames were late"


def test_misses_far_apart_do_not_add_up() -> None:
    ladder = Ladder([20.0, 10.0], RULES)
    for frame in range(100):
        ladder.see(frame / FPS, 31.0 if frame % RULES.window == 0 else 20.0)
    assert ladder.rung == 0


def test_a_dropped_frame_is_a_miss() -> None:
    ladder = Ladder([20.0, 10.0], RULES)
    ladder.see(0.0, None)
    assert ladder.see(0.1, None) is not None


def test_it_goes_down_to_the_last_model_and_no_further() -> None:
    ladder = Ladder([20.0, 10.0, 5.0], RULES)
    play(ladder, 10, lambda second, rung: 40.0)
    assert ladder.rung == 2
    assert [step.after for step in ladder.steps] == [1, 2]


def test_it_comes_back_once_there_is_time() -> None:
    # The board is twice as slow for ten seconds.
    def latency(second: float, rung: int) -> float:
        return (20.0, 10.0)[rung] * (2.0 if second < 10 else 1.0)

    ladder = Ladder([20.0, 10.0], RULES)
    rungs = play(ladder, 30, latency)
    # While it is slow the better model would take 40 ms: not tried at all.
    assert rungs[0] == 1
    assert rungs[9] == 1
    assert len(ladder.steps) == 2
    up = ladder.steps[1]
    assert up.after == 0
    assert 10 <= up.second <= 12
    assert rungs[-1] == 0


def test_the_better_model_is_not_tried_where_it_would_be_late() -> None:
    ladder = Ladder([40.0, 10.0], RULES)
    assert set(play(ladder, 60, lambda second, rung: (40.0, 10.0)[rung])) == {1}
    assert len(ladder.steps) == 1


def test_a_step_up_that_fails_makes_the_next_one_later() -> None:
    # What was measured before the stream promises more than the better model keeps.
    ladder = Ladder([20.0, 10.0], RULES)
    play(ladder, 300, lambda second, rung: (40.0, 10.0)[rung])
    ups = [step.second for step in ladder.steps if step.after == 0]
    gaps = [after - before for before, after in itertools.pairwise(ups)]
    assert len(ups) >= 4
    assert gaps == sorted(gaps)
    for earlier, later in itertools.pairwise(gaps):
        assert later == pytest.approx(min(2 * earlier, RULES.most_calm_s), rel=0.1)


def test_a_step_up_that_held_is_forgotten() -> None:
    slow = {"until": 3.0}

    def latency(second: float, rung: int) -> float:
        return (20.0, 10.0)[rung] * (2.0 if second < slow["until"] else 1.0)

    ladder = Ladder([20.0, 10.0], RULES)
    play(ladder, 40, latency)
    assert ladder.rung == 0
    slow["until"] = 43.0
    play(ladder, 40, latency, begin=40.0)
    downs = [step.second for step in ladder.steps if step.after == 1]
    ups = [step.second for step in ladder.steps if step.after == 0]
    assert len(downs) == 2
    assert len(ups) == 2
    assert ups[1] - 43.0 < 7.0


def test_heat_steps_down_before_frames_are_late_and_cooling_steps_up() -> None:
    def celsius(second: float) -> float:
        if second < 5:
            return 60.0
        return 81.0 if second < 12 else 70.0 if second < 40 else 64.0

    ladder = Ladder([20.0, 10.0], RULES)
    play(ladder, 60, lambda second, rung: (20.0, 10.0)[rung], celsius=celsius)
    assert [(step.before, step.after) for step in ladder.steps] == [(0, 1), (1, 0)]
    down, up = ladder.steps
    assert 5 <= down.second <= RULES.settle_s + 0.2
    assert down.why == "81.0 °C, at least 80"
    # At 70 °C it is below the limit, and not yet cool.
    assert 40 <= up.second <= 41


def test_heat_alone_takes_one_step_at_a_time() -> None:
    ladder = Ladder([20.0, 10.0, 5.0], RULES)
    play(ladder, 60, lambda second, rung: 5.0, celsius=lambda second: 85.0)
    first, second = ladder.steps
    assert second.second - first.second >= RULES.settle_s
    # Between hot and cool nothing changes.
    between = Ladder([20.0, 10.0], RULES)
    play(between, 60, lambda second, rung: 5.0, celsius=lambda second: 75.0)
    assert between.steps == []


def test_without_a_sensor_only_time_counts() -> None:
    ladder = Ladder([20.0, 10.0], Rules(30.0))
    ladder.feel(200.0)
    assert play(ladder, 20, lambda second, rung: 5.0) == [0] * 20
    hot = Ladder([20.0, 10.0], RULES)
    hot.feel(85.0)
    hot.feel(None)
    assert play(hot, 20, lambda second, rung: 5.0) == [0] * 20


def test_the_limits_of_heat_count_themselves() -> None:
    hot = Ladder([20.0, 10.0], Rules(30.0, hot=80.0, cool=65.0, settle_s=0.0))
    hot.feel(80.0)
    assert hot.see(0.0, 5.0) is not None
    for celsius, up in ((65.1, False), (65.0, True)):
        hot.feel(celsius)
        assert (hot.see(20.0, 5.0) is not None) is up
    assert hot.steps[-1].why == "calm for 20 s, 20.0 ms are expected"


def test_without_a_lower_limit_it_is_cool_below_the_upper_one() -> None:
    ladder = Ladder([20.0, 10.0], Rules(30.0, hot=80.0, settle_s=0.0))
    ladder.feel(80.0)
    assert ladder.see(0.0, 5.0) is not None
    ladder.feel(80.5)
    assert ladder.see(20.0, 5.0) is None
    ladder.feel(79.9)
    assert ladder.see(21.0, 5.0) is not None


def test_the_usual_rules() -> None:
    rules = Rules(30.0)
    assert (rules.misses, rules.window, rules.calm_s, rules.margin) == (2, 15, 5.0, 0.9)
    assert (rules.probation_s, rules.most_calm_s, rules.settle_s) == (10.0, 160.0, 10.0)
