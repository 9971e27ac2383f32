from __future__ import annotations

from typing import Any

import pytest
from fleets import metrics, sends, serving

from tvmkd.base.errors import MissingError
from tvmkd.boards import inventory
from tvmkd.deploy.monitoring import fleet, over_ssh
from tvmkd.deploy.monitoring.fleet import Fleet
from tvmkd.deploy.monitoring.scrape import Server

FACTS = {"model": "Nano", "server": "tvmkd-board 0.1.0", "celsius": 40.0, "emulated": True}
FACTS["thermal"] = [{"zone": "cpu", "celsius": 40.0}]  # type: ignore[assignment]


class Tracker:
    """Answers of the inventory, one for each question."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: Any) -> None:
        self.answers, self.asked = list(answers), 0
        monkeypatch.setattr(inventory, "call", self.call)

    def call(self, host: str, port: int, *, only: str | None = None) -> Any:
        assert (host, port, only) == ("h", 9190, "nano")
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        boards = [{"host": "b", "port": place, **each} for place, each in enumerate(answer)]
        return [{"key": "nano", "boards": boards}]


def watching(**fields: Any) -> Fleet:
    return Fleet(tracker=("h", 9190), key="nano", board_seconds=0.0, **fields)


def test_free_busy_and_faulty_boards(monkeypatch: pytest.MonkeyPatch) -> None:
    Tracker(monkeypatch, [{"facts": FACTS}, {}, {"facts": {"error": "frozen"}}])
    with watching() as watched:
        free, busy, down = watched.look().boards
    assert (free.name, free.source, free.status) == ("b:0", "tracker nano", "free")
    assert (free.model, free.version, free.emulated) == ("Nano", "0.1.0", True)
    assert free.state is not None
    assert free.state.celsius == 40.0
    assert (busy.status, busy.state) == ("busy", None)
    assert (down.status, down.why) == ("down", "frozen")


def test_a_busy_board_keeps_what_it_told(monkeypatch: pytest.MonkeyPatch) -> None:
    Tracker(monkeypatch, [{"facts": FACTS}], [{}], [])
    clock = [100.0]
    monkeypatch.setattr(fleet.time, "monotonic", lambda: clock[0])
    with watching() as watched:
        watched.look()
        clock[0] += 45.0
        (busy,) = watched.look().boards
        assert (busy.status, busy.age_s) == ("busy", 45.0)
        assert busy.state is not None
        assert watched.look().boards == ()  # it has left the tracker


def test_boards_are_asked_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Tracker(monkeypatch, [{"facts": FACTS}], [{"facts": FACTS}])
    clock = [100.0]
    monkeypatch.setattr(fleet.time, "monotonic", lambda: clock[0])
    with Fleet(tracker=("h", 9190), key="nano", board_seconds=30.0) as watched:
        for _ in range(3):
            watched.look()
            clock[0] += 9.0
        assert tracker.asked == 1
        clock[0] += 9.0
        watched.look()
        assert tracker.asked == 2


def test_no_tracker_is_shown_and_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Tracker(monkeypatch, MissingError("no tracker at h:9190 (refused); start one with: x"))
    with watching() as watched:
        (row,) = watched.look().boards
    assert (row.name, row.status, row.why) == ("h:9190", "down", "no tracker at h:9190 (refused)")


def test_boards_over_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(destination: str) -> dict[str, Any]:
        if destination == "me@gone":
            raise over_ssh.Unanswered("No route to host")
        return FACTS

    monkeypatch.setattr(over_ssh, "ask", ask)
    with Fleet(destinations=["me@nano", "me@gone"]) as watched:
        up, down = watched.look().boards
    assert (up.name, up.source, up.status, up.model) == ("me@nano", "ssh", "up", "Nano")
    assert (down.status, down.why) == ("down", "No route to host")


def test_servers_are_boards_and_models() -> None:
    with serving(lambda handler: sends(handler, metrics())) as url:
        both = [Server.at(url), Server.at("http://127.0.0.1:1")]
        with Fleet(both) as watched:
            view = watched.look()
    up, down = view.boards
    assert (up.name, up.status, down.status) == (url, "up", "down")
    assert [row.model for row in view.models] == ["student", ""]
