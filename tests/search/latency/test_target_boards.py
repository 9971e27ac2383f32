"""Boards that are tuned and timed on, with sessions that are made up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tvmkd import artifact, targets
from tvmkd.base import machine, resources
from tvmkd.base.errors import InputError, MissingError, UsageError
from tvmkd.base.locks import Lock
from tvmkd.boards import connect, fleet
from tvmkd.search.latency import target_boards
from tvmkd.search.latency.drift import Slowdown
from tvmkd.search.latency.target_boards import (
    DISTURBED,
    FACTOR,
    LONGEST,
    ROUNDS,
    SLICE,
    WARM_UP,
    TargetBoards,
)
from tvmkd.tuning import records

HOST = targets.load("host")
TRACKER = ("boards", 9190)
ADDRESS = {"host": "boards", "port": 9190, "key": "nano"}


class Timer:
    """Stands for `tvmkd.boards.model_timer.ModelTimer`.

    Attributes:
        fixed: seconds of the fixed network in each slice; the last one stays.
        now: seconds; each slice takes as long as it was asked for.
        fails: what the next call of a method raises.
    """

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.now = 0.0
        self.fixed = [1.0]
        self.model, self.last = 2.0, 0.0
        self.fails: dict[str, BaseException] = {}
        self.python: Path | None = None

    def _call(self, *entry: Any) -> None:
        self.log.append(entry[0] if len(entry) == 1 else entry)
        if entry[0] in self.fails:
            raise self.fails.pop(entry[0])

    def connect(self, tracker: Any, target: Any) -> str:
        self._call("connect", tracker, target["name"])
        return "nano:9090"

    def load(self, name: str, library: Path, device: str, inputs: Any) -> None:
        self._call("load", name, library.parent.name, device, inputs)

    def time(self, name: str, seconds: float) -> list[float]:
        self._call("time", name)
        self.now += seconds
        if name == "model":
            return [self.model * (2 if self.disturbed else 1)] * 3
        slices = sum(entry == ("time", "reference") for entry in self.log)
        self.last = self.fixed[max(0, min(slices - 2, len(self.fixed) - 1))]  # the first warms up
        return [self.last] * 3

    @property
    def disturbed(self) -> bool:
        return self.last > DISTURBED * self.fixed[-1]

    def count(self, name: str) -> int:
        self._call("count", name)
        return 12_000_000

    def release(self) -> None:
        self._call("release")

    def close(self) -> None:
        self._call("close")

    @property
    def names(self) -> list[str]:
        return [entry[0] if isinstance(entry, tuple) else entry for entry in self.log]


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Timer:
    made = Timer()

    def new(stack: str, python: Path | None) -> Timer:
        assert stack == "relax"
        made.python = python
        return made

    spec = SimpleNamespace(model_dump=lambda: {"name": "x"})
    manifest = SimpleNamespace(inputs=[spec])
    monkeypatch.setattr(target_boards, "time", SimpleNamespace(monotonic=lambda: made.now))
    monkeypatch.setattr(target_boards, "ModelTimer", new)
    monkeypatch.setattr(artifact, "read_with_library", lambda folder: (manifest, folder / "m.so"))
    monkeypatch.setattr(connect, "check", lambda *address: made.log.append(("check", address)))
    monkeypatch.setattr(resources, "cache", lambda name: tmp_path / "cache" / name)
    return made


@pytest.fixture
def boards(timer: Timer) -> TargetBoards:
    return TargetBoards(HOST, tracker=TRACKER, key="nano")


def test_a_board_that_hangs_is_not_asked_to_let_go(boards: TargetBoards, timer: Timer) -> None:
    timer.fails["time"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        boards.measure(Path("net"), Path("fixed"))
    assert timer.names[-1] == "close"
    assert "release" not in timer.names


def test_this_machines_board_is_started_again_after_it_was_lost(
    timer: Timer, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    @contextlib.contextmanager
    def local_fleet(*given: Any, **more: Any) -> Iterator[Any]:
        started.append(given)
        yield SimpleNamespace(host="127.0.0.1", port=9000 + len(started), key="local")

    monkeypatch.setattr(fleet, "local_fleet", local_fleet)
    boards = TargetBoards(HOST)
    timer.fails["load"] = MissingError("the board was lost")
    with pytest.raises(MissingError, match="was lost"):
        boards.measure(Path("net"), Path("fixed"))
    boards.measure(Path("net"), Path("fixed"))
    assert len(started) == 2


def test_model_and_fixed_network_are_timed_in_turns(boards: TargetBoards, timer: Timer) -> None:
    timer.fixed = [0.5]
    found = boards.measure(Path("net"), Path("fixed"))
    assert (found.seconds, found.spread, found.fixed) == (2.0, 0.0, 0.5)
    assert (found.board, found.drift) == ("nano:9090", Slowdown())
    assert found.board_seconds >= 0
    assert timer.log[0] == ("check", (*TRACKER, "nano"))
    assert timer.log[1] == ("connect", ADDRESS, HOST.name)
    assert timer.log[2:4] == [
        ("load", "model", "net", "cpu", [{"name": "x"}]),
        ("load", "reference", "fixed", "cpu", [{"name": "x"}]),
    ]
    turns = [entry[1] for entry in timer.log if entry[0] == "time"]
    assert turns == ["model", "reference", "reference", *["model", "reference"] * ROUNDS]
    assert timer.log[-1] == "release"
    boards.measure(Path("net"), Path("fixed"))
    assert timer.names.count("check") == 1, "the tracker is asked once"


def test_slices_beside_a_slow_fixed_network_do_not_count(
    boards: TargetBoards, timer: Timer
) -> None:
    asked: list[str] = []

    def usual(board: str) -> float:
        asked.append(board)
        return 1.0

    timer.fixed = [1.3, 1.2, 1.0, 1.5, 1.5, 1.0]
    found = boards.measure(Path("net"), Path("fixed"), usual)
    assert (found.seconds, found.spread, found.fixed) == (2.0, 0.0, 1.0)
    assert asked == ["nano:9090"]
    assert timer.log.count(("time", "model")) == 1 + ROUNDS + 5


def test_the_least_disturbed_count_if_it_stays_slow(boards: TargetBoards, timer: Timer) -> None:
    timer.fixed = [1.5, 1.4, 1.3]
    found = boards.measure(Path("net"), Path("fixed"), lambda _: 1.0)
    assert found.fixed == 1.3
    assert LONGEST < timer.now < LONGEST + 2 * SLICE + 2 * WARM_UP + SLICE
    for _ in range(20):
        boards.measure(Path("net"), Path("fixed"), lambda _: 1.0)
    # All waiting together is limited, too, by how long the measuring takes.
    before = timer.now
    boards.measure(Path("net"), Path("fixed"), lambda _: 1.0)
    needed = (ROUNDS + 1) * 1.5 * SLICE
    assert timer.now - before < 2 * WARM_UP + (1 + FACTOR) * needed + 3 * SLICE


def test_where_nothing_is_known_the_slices_themselves_say_what_is_usual(
    boards: TargetBoards, timer: Timer
) -> None:
    timer.fixed = [1.5, 1.0]
    assert boards.measure(Path("net"), Path("fixed")).fixed == 1.0
    assert timer.log.count(("time", "model")) == 1 + ROUNDS + 1
    timer.log.clear()
    timer.fixed = [1.5]
    assert boards.measure(Path("net"), Path("fixed"), lambda _: 1.4).fixed == 1.5
    assert timer.log.count(("time", "model")) == 1 + ROUNDS


def test_instructions_are_counted_once_and_alone(timer: Timer) -> None:
    boards = TargetBoards(HOST, tracker=TRACKER, key="nano", evaluator="icount")
    found = boards.measure(Path("net"))
    assert (found.seconds, found.fixed, found.spread) == (pytest.approx(0.012), 0.0, 0.0)
    assert timer.names[2:] == ["load", "count", "release"]


@pytest.mark.parametrize("method", ["load", "time"])
def test_a_board_that_is_lost_meanwhile(boards: TargetBoards, timer: Timer, method: str) -> None:
    timer.fails = {method: MissingError("the board at nano:9090 was lost")}
    with pytest.raises(MissingError, match="was lost"):
        boards.measure(Path("net"), Path("fixed"))
    assert timer.log[-1] == "close"
    assert boards.measure(Path("net"), Path("fixed")).seconds == 2.0
    assert timer.names.count("connect") == 2


def test_a_board_that_does_not_fit_is_not_timed_on(boards: TargetBoards, timer: Timer) -> None:
    timer.fails = {"connect": InputError("another CPU")}
    with pytest.raises(InputError, match="another CPU"):
        boards.measure(Path("net"), Path("fixed"))
    assert "load" not in timer.names


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Local fleets that were started and ended."""
    log: list[Any] = []

    @contextlib.contextmanager
    def running(
        count: int, key: str, *, threads: int, runs: Any, server: Any
    ) -> Iterator[dict[str, Any]]:
        assert server is None
        log.append((count, key, threads, runs.stack))
        yield ADDRESS
        log.append("ended")

    monkeypatch.setattr(fleet, "local_fleet", running)
    return log


def test_this_machine_is_a_board_while_it_is_needed(timer: Timer, local: list[Any]) -> None:
    with TargetBoards(HOST) as boards:
        assert local == []
        boards.measure(Path("net"), Path("fixed"))
        boards.measure(Path("net"), Path("fixed"))
        assert local == [(1, "local", machine.physical_cores(), "relax")]
    assert local[-1] == "ended"
    assert timer.log[-1] == "close"


def test_one_process_at_a_time_times_on_this_machine(
    timer: Timer, local: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def look() -> None:
        folder = resources.cache("locks")
        try:
            Lock(folder / "timing", "timing", "stop it").close()
        except (InputError, OSError) as error:
            taken.append(isinstance(error, InputError))
        else:
            taken.append(False)

    monkeypatch.setattr(timer, "release", look)
    TargetBoards(HOST).measure(Path("net"), Path("fixed"))
    TargetBoards(HOST, tracker=TRACKER).measure(Path("net"), Path("fixed"))
    look()
    assert taken == [True, False, False]


def test_a_foreign_target_needs_a_tracker(timer: Timer) -> None:
    nano = targets.load("jetson-nano")
    with pytest.raises(UsageError, match=r"jetson-nano: nothing can be timed on this machine: .*"):
        TargetBoards(nano)
    TargetBoards(nano, tracker=TRACKER)


def test_the_interpreter_of_a_stack_can_be_given(timer: Timer, tmp_path: Path) -> None:
    TargetBoards(HOST, python=tmp_path / "python")
    assert timer.python == tmp_path / "python"


def test_trials_are_added_to_those_of_the_same_kernels(
    boards: TargetBoards, timer: Timer, tmp_path: Path
) -> None:
    for task in ("0x1", "0x0000000000000001", "0x2", "0x3"):
        records.append_line(tmp_path / records.TRIALS, {"task": task, "key": "c"})
    asked: dict[str, Any] = {}

    def tune(model: Any, target: Any, folder: Path, **options: Any) -> dict[str, Any]:
        asked.update(options, model=model, target=target["name"], folder=folder)
        return {"trials": 1}

    lowering: Any = SimpleNamespace(client=SimpleNamespace(tune=tune))
    limited = TargetBoards(HOST, tracker=TRACKER, key="nano", evaluator="icount", boards=2)
    weights = {"0x1": 2.0, "0x3": 1.0}
    models: Any = ["first", "second", "third"]
    assert limited.tune(lowering, models, tmp_path, weights, trials=5, seed=7) == {"trials": 1}
    assert asked == {
        "model": "first",
        "others": ["second", "third"],
        "target": HOST.name,
        "folder": tmp_path,
        "trials": 3 + 5,
        "tracker": ADDRESS,
        "seed": 7,
        "options": {"boards": 2, "evaluator": "icount", "steady": True},
        "weights": weights,
        "on_event": None,
    }
