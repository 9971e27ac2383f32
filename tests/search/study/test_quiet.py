from __future__ import annotations

import threading
from pathlib import Path

from tvmkd.search.study.quiet import Quiet


def test_who_measures_waits_for_an_epoch_and_no_other_begins(tmp_path: Path) -> None:
    trains, measures = Quiet(tmp_path / "a"), Quiet(tmp_path / "a")
    order: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def measure() -> None:
        with measures.alone():
            order.append("measuring")
            inside.set()
            leave.wait(10)
            order.append("measured")

    trains.epoch()
    thread = threading.Thread(target=measure)
    thread.start()
    assert not inside.wait(0.1), "an epoch has begun"
    second = threading.Thread(target=lambda: (trains.epoch(), order.append("epoch")))
    second.start()
    assert inside.wait(10), "the epoch is over"
    second.join(0.1)
    assert second.is_alive(), "the next one waits"
    leave.set()
    thread.join(10)
    second.join(10)
    assert order == ["measuring", "measured", "epoch"]
    trains.rest()
    with measures.alone():
        pass
    for each in (trains, measures):
        each.close()
        each.close()


def test_two_train_at_once(tmp_path: Path) -> None:
    first, second = Quiet(tmp_path), Quiet(tmp_path)
    first.epoch()
    second.epoch()
    first.epoch()
    first.close()
    second.close()


def test_a_measurement_that_fails_leaves_nothing_locked(tmp_path: Path) -> None:
    first, second = Quiet(tmp_path), Quiet(tmp_path)
    try:
        with first.alone():
            raise OSError
    except OSError:
        pass
    second.epoch()
    first.close()
    second.close()
