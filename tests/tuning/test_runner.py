"""The runner with fake workers and a fake tracker, and three real runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tvmkd.base.errors import InputError, MissingError
from tvmkd.boards.fleet import Fleet, start_tracker
from tvmkd.tuning import runner as module
from tvmkd.tuning.board_worker import Shared
from tvmkd.tuning.measurement import RunJob, RunResult
from tvmkd.tuning.runner import BoardRunner, boards_to_use, is_elsewhere

TRACKER = {"host": "h", "port": 9190, "key": "k"}
JOB = RunJob(Path("k.so"), [])


class FakeTracker:
    """Stands for `tvmkd.boards.connect`."""

    def __init__(self, boards: int) -> None:
        self.boards = boards
        self.others = 0
        self.pending = 0
        self.gone = False
        self.asked: list[tuple[str, int]] = []
        self.checked: list[tuple[Any, ...]] = []

    def check(self, host: str, port: int, key: str) -> list[dict[str, Any]]:
        self.checked.append((host, port, key))
        if not self.boards:
            raise MissingError(f"no board under key {key!r}")
        return [{"key": key}] * self.boards

    def summary(self, host: str, port: int) -> dict[str, Any]:
        self.asked.append((host, port))
        if self.gone:
            raise MissingError("no tracker")
        servers = [{"key": "server:k"}] * self.boards + [{"key": "server:kk"}] * self.others
        return {"server_info": servers, "queue_info": {"k": {"pending": self.pending}}}


class FakeWorker:
    """Stands for a board's worker: on its start it does what the test prepared."""

    def __init__(self, shared: Shared, begin: Callable[[FakeWorker], None]) -> None:
        self.shared = shared
        self.ready = False
        self.ended: list[str] = []
        self.session = SimpleNamespace(close=lambda: self.ended.append("close"), waiting_for=None)
        self.thread = SimpleNamespace(
            start=lambda: begin(self), join=lambda: self.ended.append("join")
        )

    def come(self, **facts: Any) -> None:
        self.ready = True
        board = f"10.0.0.{len(self.shared.facts) + 1}:9090"
        self.shared.facts[board] = {"board": board, **facts}


class Ground:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.tracker = FakeTracker(1)
        self.workers: list[FakeWorker] = []
        self.begin: Callable[[FakeWorker], None] = lambda worker: worker.come()
        monkeypatch.setattr(module, "connect", self.tracker)
        monkeypatch.setattr(module, "BoardWorker", self._made)
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(module, "WATCH_SECONDS", 3600.0)
        monkeypatch.setattr(module, "SETTLE_SECONDS", 0.0)
        monkeypatch.setattr(module, "OPEN_SECONDS", 0.0)

    def _made(self, shared: Shared) -> FakeWorker:
        self.workers.append(FakeWorker(shared, self.begin))
        return self.workers[-1]


@pytest.fixture
def ground(monkeypatch: pytest.MonkeyPatch) -> Ground:
    return Ground(monkeypatch)


def told(runner: BoardRunner) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    runner.news(lambda name, data: found.append((name, data)))
    return found


@pytest.mark.parametrize(
    ("registered", "most", "used"),
    [(3, None, 3), (3, 2, 2), (3, 3, 3), (3, 5, 3), (0, None, 0), (0, 2, 0)],
)
def test_all_boards_are_used_or_as_many_as_asked_for(
    registered: int, most: int | None, used: int
) -> None:
    assert boards_to_use(registered, most) == used


@pytest.mark.parametrize(
    ("facts", "elsewhere"),
    [
        ({"board": "10.0.0.7:9090", "boot_id": "ours"}, False),
        ({"board": "10.0.0.7:9090", "boot_id": "another"}, True),
        ({"board": "127.0.0.1:9090", "boot_id": "another"}, True),  # by a tunnel
        ({"board": "127.0.0.1:9090", "boot_id": "ours"}, False),
        ({"board": "127.0.0.1:9090"}, False),
        ({"board": "127.0.1.1:9090", "boot_id": None}, False),
        ({"board": "localhost:9090"}, False),
        ({"board": "[::1]:9090"}, False),
        ({"board": "10.0.0.7:9090"}, True),
        ({"board": "127.0.0.1:9090", "boot_id": "ours", "emulated": True}, True),
        ({"board": "127.0.0.1:9090", "boot_id": "ours", "declared_delay_s": 0.1}, True),
        ({"board": "127.0.0.1:9090", "emulated": False, "declared_delay_s": 0.0}, False),
        ({"board": "127.0.0.1:9090", "emulated": False, "declared_delay_s": None}, False),
    ],
)
def test_a_board_is_elsewhere_where_building_here_leaves_it_alone(
    facts: dict[str, Any], elsewhere: bool
) -> None:
    assert is_elsewhere(facts, "ours") == elsewhere


def test_opening_asks_for_the_key_and_returns_each_boards_facts(ground: Ground) -> None:
    ground.tracker.boards = 2
    ground.begin = lambda worker: worker.come(threads=4)
    with BoardRunner(TRACKER) as runner:
        assert runner.open() == [
            {"board": "10.0.0.1:9090", "threads": 4},
            {"board": "10.0.0.2:9090", "threads": 4},
        ]
        assert runner.boards == 2
    assert ground.tracker.checked == [("h", 9190, "k")]


@pytest.mark.parametrize(("most", "workers"), [(None, 3), (2, 2), (1, 1)])
def test_no_more_boards_than_asked_for_get_a_worker(
    ground: Ground, most: int | None, workers: int
) -> None:
    ground.tracker.boards = 3
    with BoardRunner(TRACKER, boards=most) as runner:
        assert len(runner.open()) == workers
        runner.look()
        assert len(ground.workers) == runner.boards == workers


def test_a_key_without_boards_starts_nothing(ground: Ground) -> None:
    ground.tracker.boards = 0
    with BoardRunner(TRACKER) as runner, pytest.raises(MissingError, match="under key 'k'"):
        runner.open()
    assert ground.workers == []


def test_a_run_starts_with_the_boards_that_came_in_time(ground: Ground) -> None:
    ground.tracker.boards = 2
    ground.begin = lambda worker: worker.come() if len(ground.workers) == 1 else None
    with BoardRunner(TRACKER) as runner:
        assert len(runner.open()) == 1
        assert runner.boards == 2, "the other one is expected"


def test_one_refused_board_does_not_hold_up_the_others(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLE_SECONDS", 3600.0)
    monkeypatch.setattr(module, "OPEN_SECONDS", 3600.0)
    ground.tracker.boards = 2

    def begin(worker: FakeWorker) -> None:
        if len(ground.workers) == 1:
            worker.shared.quarantine.refuse("10.0.0.9:9090", "it is x86_64")
        else:
            worker.come()

    ground.begin = begin
    with BoardRunner(TRACKER) as runner:
        assert len(runner.open()) == 1
        assert runner.boards == 1


def test_refused_boards_only_are_an_error_of_the_input(ground: Ground) -> None:
    ground.begin = lambda worker: worker.shared.quarantine.refuse("b:1", "b:1 is x86_64") and None
    with BoardRunner(TRACKER) as runner:
        with pytest.raises(InputError, match=r"^b:1 is x86_64$"):
            runner.open()
        assert runner.boards == 1, "never none"


@pytest.mark.parametrize(
    ("trouble", "why"), [("", "every board under the key 'k' is busy"), ("it hangs", "it hangs")]
)
def test_no_board_in_time_says_why(ground: Ground, trouble: str, why: str) -> None:
    ground.begin = lambda worker: setattr(worker.shared, "trouble", trouble)
    with (
        BoardRunner(TRACKER) as runner,
        pytest.raises(MissingError, match=f"no board answered for 0 s: {why}"),
    ):
        runner.open()


def test_a_board_that_took_the_session_and_is_silent_is_not_busy(ground: Ground) -> None:
    ground.begin = lambda worker: setattr(worker.session, "waiting_for", "10.0.0.7:9090")
    said = "the board at 10.0.0.7:9090 fails: it accepted the session and does not answer"
    with BoardRunner(TRACKER) as runner, pytest.raises(MissingError, match=said):
        runner.open()


@pytest.mark.parametrize(("port", "why"), [(9090, "another generation"), (9091, "does not answer")])
def test_what_a_board_said_stands_while_it_is_asked_again(
    ground: Ground, port: int, why: str
) -> None:
    def begin(worker: Any) -> None:
        worker.session.waiting_for = "10.0.0.7:9090"
        worker.shared.trouble = f"the board at 10.0.0.7:{port} fails: another generation of TVM"

    ground.begin = begin
    with (
        BoardRunner(TRACKER) as runner,
        pytest.raises(MissingError, match=f"7:9090 fails: .*{why}"),
    ):
        runner.open()


@pytest.mark.parametrize(
    ("kinds", "remote"),
    [([], False), ([True], True), ([False], False), ([True, True], True), ([True, False], False)],
)
def test_building_overlaps_measuring_only_where_every_board_is_elsewhere(
    ground: Ground, kinds: list[bool], remote: bool
) -> None:
    runner = BoardRunner(TRACKER)
    for number, kind in enumerate(kinds):
        runner._shared.facts[str(number)] = {"board": "127.0.0.1:1", "emulated": kind}
    assert runner.remote == remote


def test_what_a_runner_is_given_reaches_its_workers(ground: Ground) -> None:
    target = {"name": "t", "thermal": {"pause_celsius": 80.0, "resume_celsius": 65.0}}
    runner = BoardRunner(
        TRACKER, target, run_timeout=4.0, reject=3.0, evaluator="icount", emulated=True
    )
    settings = runner._shared.settings
    assert (settings.tracker, settings.target) == (TRACKER, target)
    assert (settings.run_timeout, settings.reject, settings.evaluator) == (4.0, 3.0, "icount")
    assert runner._shared.emulated is True
    assert runner._shared.quarantine.too_hot({"celsius": 80.0}, resting=False)
    assert not BoardRunner(TRACKER)._shared.quarantine.too_hot({"celsius": 99.0}, resting=False)


@pytest.mark.parametrize(
    ("session_seconds", "run_timeout", "seconds"),
    [(60.0, 10.0, 60.0), (61.0, 10.0, 61.0), (59.0, 10.0, 60.0), (60.0, 20.0, 120.0)],
)
def test_a_session_outlasts_two_of_the_longest_measurements(
    session_seconds: float, run_timeout: float, seconds: float
) -> None:
    runner = BoardRunner(TRACKER, session_seconds=session_seconds, run_timeout=run_timeout)
    assert runner._shared.settings.session_seconds == seconds


def test_boards_that_come_and_go_are_told_and_get_workers(ground: Ground) -> None:
    with BoardRunner(TRACKER) as runner:
        runner.open()
        ground.tracker.boards, ground.tracker.others = 3, 5
        runner.look()
        assert ground.tracker.asked == [("h", 9190)]
        assert len(ground.workers) == 3
        assert told(runner) == [("note", {"text": "boards under the key 'k': 1 before, 3 now"})]
        runner.look()
        assert told(runner) == []
        ground.tracker.boards = 1
        runner.look()
        assert told(runner) == [("note", {"text": "boards under the key 'k': 3 before, 1 now"})]
        assert len(ground.workers) == 3
        ground.tracker.gone = True
        runner.look()
        assert runner.boards == 1
        assert told(runner) == []


def test_one_worker_stays_for_the_first_board_that_comes_back(ground: Ground) -> None:
    with BoardRunner(TRACKER) as runner:
        runner.open()
        ground.tracker.boards = 0
        runner._shared.workers.clear()
        runner.look()
        assert len(runner._shared.workers) == 1


@pytest.mark.parametrize(("pending", "others"), [(0, False), (1, False), (2, True)])
def test_ones_own_requests_are_nobody_elses(ground: Ground, pending: int, others: bool) -> None:
    ground.tracker.boards = 2
    ground.begin = lambda worker: worker.come() if len(ground.workers) == 1 else None
    with BoardRunner(TRACKER) as runner:
        runner.open()
        ground.tracker.pending = pending
        runner.look()
        assert runner._shared.others_wait == others


def waiting(ground: Ground, runner: BoardRunner) -> Future[RunResult]:
    """A job that waits from now on, without a board at work."""
    runner.open()
    runner._shared.last_ready = 0.0
    for worker in ground.workers:
        worker.ready = False
    return runner.submit(JOB)


def test_a_run_without_a_board_is_given_up_after_its_wait(ground: Ground) -> None:
    with BoardRunner(TRACKER, board_wait=90.0) as runner:
        future = waiting(ground, runner)
        ground.now += 89.9
        runner.look()
        assert not future.done()
        ground.now += 0.1
        runner.look()
        with pytest.raises(MissingError, match=r"no board answered for 90 s: none came\. Upstream"):
            future.result(0)


def test_the_last_trouble_is_the_reason(ground: Ground) -> None:
    with BoardRunner(TRACKER, board_wait=5.0) as runner:
        future = waiting(ground, runner)
        runner._shared.trouble = "no tracker at h:9190"
        ground.tracker.gone = True
        ground.now += 5.0
        runner.look()
        with pytest.raises(MissingError, match="for 5 s: no tracker at h:9190"):
            future.result(0)


def test_a_board_at_work_or_nothing_to_do_starts_the_wait_anew(ground: Ground) -> None:
    with BoardRunner(TRACKER, board_wait=90.0) as runner:
        future = waiting(ground, runner)
        ground.workers[0].ready = True
        ground.now += 91.0
        runner.look()
        assert not future.done()
        ground.workers[0].ready = False
        ground.now += 89.0
        runner.look()
        assert not future.done()
        runner._shared.todo.clear()
        ground.now += 500.0
        runner.look()
        later = runner.submit(JOB)
        ground.now += 89.0
        runner.look()
        assert not later.done()


def test_a_new_job_starts_the_wait_anew(ground: Ground) -> None:
    with BoardRunner(TRACKER, board_wait=90.0) as runner:
        runner.open()
        runner._shared.last_ready = ground.now
        ground.workers[0].ready = False
        ground.now += 500.0  # nothing looked meanwhile
        future = runner.submit(JOB)
        runner.look()
        assert not future.done()


def test_what_is_submitted_waits_its_turn(ground: Ground) -> None:
    with BoardRunner(TRACKER) as runner:
        futures = [runner.submit(JOB), runner.submit(JOB)]
        assert [work.future for work in runner._shared.todo] == futures
        assert [work.failed_on for work in runner._shared.todo] == [[], []]
        assert runner.lost == 0


def test_the_end_cancels_what_waits_and_ends_every_worker(ground: Ground) -> None:
    ground.tracker.boards = 2
    runner = BoardRunner(TRACKER)
    runner.open()
    future = runner.submit(JOB)
    runner.close()
    assert future.cancelled()
    assert [worker.ended for worker in ground.workers] == [["close", "join"]] * 2
    assert not any(thread.name == "boards" for thread in threading.enumerate())
    with pytest.raises(MissingError, match="measuring has ended"):
        runner.submit(JOB)


def test_the_watcher_looks_now_and_then(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.0)
    looked = threading.Event()
    with BoardRunner(TRACKER) as runner:
        monkeypatch.setattr(runner, "look", looked.set)
        runner.open()
        assert looked.wait(10)


# Real boards.


@pytest.mark.rpc
def test_opening_says_what_the_board_is(fleet: Fleet) -> None:
    with BoardRunner(fleet.address()) as runner:
        (facts,) = runner.open()
    assert facts["board"].startswith("127.0.0.1:")
    assert facts["threads"] == 1
    assert facts["cores"] >= 1


@pytest.mark.rpc
def test_a_file_that_is_no_library_is_that_candidates_error(fleet: Fleet, tmp_path: Path) -> None:
    bad = tmp_path / "bad.so"
    bad.write_bytes(b"not a library")
    with BoardRunner(fleet.address()) as runner:
        runner.open()
        futures = [runner.submit(RunJob(bad, [("float32", [4])])) for _ in range(2)]
        assert [future.result(60).error_kind for future in futures] == ["run_error", "run_error"]
        assert runner.lost == 0


@pytest.mark.rpc
def test_a_board_that_somebody_else_holds_is_waited_for_and_then_named(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with BoardRunner(fleet.address()) as first, BoardRunner(fleet.address()) as second:
        first.open()
        monkeypatch.setattr(module, "OPEN_SECONDS", 1.0)
        with pytest.raises(MissingError, match=r"no board answered for 1 s: .*is busy"):
            second.open()


def test_no_tracker_is_one_clear_line() -> None:
    tracker = start_tracker()
    port = tracker.wait_until_listening()
    tracker.end()
    address = {"host": "127.0.0.1", "port": port, "key": "k"}
    with (
        BoardRunner(address) as runner,
        pytest.raises(MissingError, match=f"no tracker at 127.0.0.1:{port}"),
    ):
        runner.open()
