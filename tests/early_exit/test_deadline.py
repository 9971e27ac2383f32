from __future__ import annotations

from tvmkd.early_exit.deadline import FIRST_RETRY, LAST_RETRY, WINDOW, PartTime


def known(*times: int) -> PartTime:
    part = PartTime()
    for time in times:
        assert part.fits(1 << 40)
        part.took(time, 1 << 40)
    return part


def test_the_first_run_is_not_asked_for_time() -> None:
    assert PartTime().expected is None
    assert PartTime().fits(0)


def test_the_longest_of_the_last_runs_counts() -> None:
    part = known(10, 30, 20)
    assert part.expected == 30
    assert part.fits(30)
    assert not part.fits(29)
    assert known(90, *[10] * WINDOW).expected == 10


def tries(part: PartTime, left: int, takes: int, frames: int) -> list[int]:
    """The frames in which a part that takes so long was run."""
    ran = []
    for frame in range(frames):
        if part.fits(left):
            part.took(takes, left)
            ran.append(frame)
    return ran


def test_one_slow_run_does_not_rule_a_part_out_for_ever() -> None:
    part = known(1000)
    ran = tries(part, 50, 20, 100)
    assert ran == list(range(FIRST_RETRY, 100))


def test_a_part_that_stays_slow_is_tried_ever_less() -> None:
    ran = tries(known(1000), 50, 60, 40_000)
    gaps = [after - before for before, after in zip([-1, *ran], ran, strict=False)]
    assert gaps[:4] == [
        FIRST_RETRY + 1,
        2 * FIRST_RETRY + 1,
        4 * FIRST_RETRY + 1,
        8 * FIRST_RETRY + 1,
    ]
    assert gaps[-1] == LAST_RETRY + 1


def test_with_no_time_left_nothing_is_tried() -> None:
    assert tries(known(10), 0, 5, 5000) == []


def test_a_try_that_is_just_in_time_is_no_failure() -> None:
    ran = tries(known(1000), 50, 50, FIRST_RETRY + 3)
    assert ran == [FIRST_RETRY, FIRST_RETRY + 1, FIRST_RETRY + 2]


def test_the_usual_numbers() -> None:
    assert (WINDOW, FIRST_RETRY, LAST_RETRY) == (16, 32, 1024)
