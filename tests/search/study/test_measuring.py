from __future__ import annotations

from typing import Any

import pytest

from tvmkd.search.latency.drift import Slowdown
from tvmkd.search.latency.prediction import Measured
from tvmkd.search.results import Point
from tvmkd.search.study import measuring
from tvmkd.search.study.measuring import near_front


def point(accuracy: float, **times: Any) -> Point:
    return Point(number=0, structure={}, state="complete", accuracy=accuracy, **times)


def test_a_network_is_near_the_front_unless_another_is_as_good_and_faster_for_certain() -> None:
    known = [point(0.9, predicted=2.0, low=1.8, high=2.2), point(0.95, predicted=4.0, measured=5.0)]
    assert near_front(0.91, 2.3, known)
    assert near_front(0.90, 2.1, known), "its interval and the other's overlap"
    assert not near_front(0.90, 2.3, known)
    assert not near_front(0.94, 5.1, known)
    assert near_front(0.94, 4.9, known), "the other one was measured to be slower than predicted"
    assert near_front(0.5, 9.9, [])
    assert not near_front(0.5, 9.9, known)
    assert near_front(0.5, 9.9, [point(0.4, predicted=1.0)])
    assert near_front(0.1, 9.9, [point(0.4, predicted=1.0)], maximize=False)
    assert not near_front(0.5, 9.9, [point(0.4, predicted=1.0)], maximize=False)


def test_who_does_not_want_measurements_gets_none(bench):
    assert measuring.wanted(bench(), 0.5, 1.0) is True
    assert measuring.wanted(bench(measure=False), 0.5, 1.0) is False


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The calls of `export`, which writes nothing."""
    calls: list[Any] = []
    monkeypatch.setattr(measuring, "export", lambda *given, **named: calls.append((given, named)))
    return calls


def test_no_other_trains_on_this_machine_while_it_measures(bench, exported, tmp_path, monkeypatch):
    made, order = bench(), []
    candidate = made.build({"width": 1.0, "distill.lr": 1e-3})

    def measure(onnx: Any) -> Measured:
        order.append(str(onnx.name))
        return Measured(1.0, 0.0)

    monkeypatch.setattr(made.latency, "measure", measure)
    alone = made.quiet.alone
    monkeypatch.setattr(made.quiet, "alone", lambda: order.append("alone") or alone())
    measuring.measure(made, tmp_path / "student.pt", candidate, None)
    assert order == ["alone", "student.onnx"]
    ((given, named),) = exported
    assert given == (tmp_path / "student.pt", tmp_path / "student.onnx", (1, 1, 8, 8))
    assert named["model"] is None


def test_a_line_about_a_board_is_said_once(bench, events):
    made = bench()
    for line in ("no board", "no board", "no tracker", "no tracker"):
        measuring.tell_once(made, line)
    made.away = None
    measuring.tell_once(made, "no tracker")
    assert len([name for name, _ in events if name == "note"]) == 3


@pytest.mark.parametrize(("slow", "seconds"), [((1.0,), 1.0), ((3.0, 1.5), 1.5), ((2.0, 4.0), 2.0)])
def test_a_disturbed_measurement_is_made_twice_and_the_better_one_counts(
    bench, tmp_path, monkeypatch, slow, seconds
):
    made, calls = bench(), list[float]()
    candidate = made.build({"width": 1.0, "distill.lr": 1e-3})

    def measure(onnx: Any) -> Measured:
        calls.append(slow[len(calls)])
        return Measured(calls[-1], 0.0, Slowdown(1.0, calls[-1]), board_seconds=2.0)

    monkeypatch.setattr(made.latency, "measure", measure)
    found = measuring.measure(made, tmp_path / "student.pt", candidate, tmp_path / "student.onnx")
    assert (found.seconds, found.board_seconds) == (seconds, 2.0 * len(slow))
    assert tuple(calls) == slow
