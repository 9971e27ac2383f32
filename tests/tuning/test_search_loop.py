"""The search loop with a fake stack, builder, runner and session: nothing is compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tvmkd.base.errors import MissingError
from tvmkd.tuning import search_loop as module
from tvmkd.tuning.builder import BuildResult
from tvmkd.tuning.measurement import WRONG, RunJob, RunResult
from tvmkd.tuning.search_loop import Run, SearchLoop, end_to_end, wants_more
from tvmkd.tuning.space import Candidate, Task

ONE = "0x0000000000000001"
TWO = "0x0000000000000002"


def task(key: str = ONE, weight: int = 1) -> Task:
    return Task(f"task {key[-1]}", key, None, None, weight, 0.0, "dense")  # type: ignore[arg-type]


class FakeSession:
    """Keeps trials in memory."""

    def __init__(self, trials: Sequence[tuple[str, str, float | None]] = ()) -> None:
        self.trials = list(trials)
        self.added: list[dict[str, Any]] = []
        self.boards: list[Mapping[str, Any]] = []

    def known_keys(self, task: str) -> set[str]:
        return {key for other, key, _ in self.trials if other == task}

    def history(self, task: str) -> list[tuple[str, float | None]]:
        return [(key, figure) for other, key, figure in self.trials if other == task]

    def best(self, task: str) -> float | None:
        figures = [figure for _, figure in self.history(task) if figure is not None]
        return min(figures, default=None)

    def stored(self, task: str) -> list[Any]:
        return []

    def add(self, task: Task, candidate: Candidate, **values: Any) -> None:
        self.trials.append((task.key, candidate.key, values["figure"]))
        self.added.append({"task": task.key, "key": candidate.key, **values})

    def add_board(self, facts: Mapping[str, Any]) -> None:
        self.boards.append(facts)


class FakeSpace:
    """Proposes the keys it was given, whatever is known."""

    def __init__(self, keys: str) -> None:
        self._keys = list(keys)
        self.asked: list[tuple[int, set[str], list[tuple[str, float | None]]]] = []

    def propose(self, n: int, known: set[str], history: Any, rng: Any) -> list[Candidate]:
        self.asked.append((n, set(known), list(history)))
        taken = self._keys[:n]
        del self._keys[:n]
        return [Candidate(key, None) for key in taken]  # type: ignore[arg-type]


class FakeStack:
    def __init__(self, spaces: Mapping[str, FakeSpace], plain: bool) -> None:
        self._spaces, self._plain = spaces, plain

    def spaces(self, tasks: Sequence[Task], stored: Any, seed: int) -> list[FakeSpace]:
        return [self._spaces[task.key] for task in tasks]

    def source(self, candidate: Candidate) -> str:
        return candidate.key

    def uses_threads(self, candidate: Candidate) -> bool:
        return candidate.key.isupper()

    def plain_loops(self, task: Task, candidate: Candidate) -> str | None:
        return f"plain-{candidate.key}" if self._plain else None


class Ground:
    """A loop whose kernels have the seconds that the test gives; None: a ``run_error``.

    A key in ``unbuilt`` fails to build, one in ``wrong`` computes something else than plain loops.
    """

    def __init__(
        self,
        folder: Path,
        seconds: Mapping[str, float | None],
        keys: Mapping[str, str] | str,
        *,
        tasks: Sequence[Task] | None = None,
        plain: bool = True,
        unbuilt: str = "",
        wrong: str = "",
        remote: bool = False,
        boards: int = 1,
        session: FakeSession | None = None,
    ) -> None:
        self.folder, self.seconds, self.unbuilt, self.wrong = folder, seconds, unbuilt, wrong
        self.proof: str | None = None  # the error kind of a comparison that does not run
        self.log: list[str] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.jobs: list[RunJob] = []
        self.bests: list[float | None] = []
        self.held: list[Callable[[], None]] | None = None  # answers given later, where a list
        self.pending: list[tuple[str, dict[str, Any]]] = []
        self.tasks = tasks or [task()]
        named = keys if isinstance(keys, Mapping) else {ONE: keys}
        self.spaces = {key: FakeSpace(value) for key, value in named.items()}
        self.stack = FakeStack(self.spaces, plain)
        self.session = session or FakeSession()
        self.runner = SimpleNamespace(
            remote=remote, boards=boards, submit=self._submit, news=self._news, watches=False
        )
        self.builder = SimpleNamespace(build=self._build)

    def _news(self, tell: Callable[[str, dict[str, Any]], None]) -> None:
        while self.pending:
            tell(*self.pending.pop(0))

    def _build(
        self, sources: Sequence[str], on_result: Callable[..., None] | None = None
    ) -> list[BuildResult]:
        results = []
        for index, source in enumerate(sources):
            self.log.append(f"build {source}")
            if source in self.unbuilt.split():
                result = BuildResult(None, "build_error", "no\nsuch intrinsic", 0.25)
            else:
                path = self.folder / f"{source}.so"
                path.write_text("")
                result = BuildResult(path, None, None, 0.25, [("float32", [4])])
            results.append(result)
            if on_result is not None:
                on_result(index, result)
        return results

    def _submit(self, job: RunJob) -> Future[RunResult]:
        self.jobs.append(job)
        self.bests.append(job.best())
        future: Future[RunResult] = Future()
        if self.held is None:
            self._answer(job, future)
        else:
            self.held.append(lambda: self._answer(job, future))
        return future

    def _answer(self, job: RunJob, future: Future[RunResult]) -> None:
        key = job.path.stem
        if job.plain is not None:
            self.log.append(f"compare {key}")
            assert job.plain.exists()
            kind = WRONG if key in self.wrong.split() else self.proof
            future.set_result(RunResult(None, kind, f"{kind} of {key}", "b:1", 9.0))
            return
        self.log.append(f"measure {key}")
        value = self.seconds[key]
        kind = "run_error" if value is None else None
        seconds = None if value is None else [value]
        future.set_result(RunResult(seconds, kind, kind, "b:1", 1.5, {"spread": 0.1}))

    def run(self, total: int, batch: int = 4, done: int = 0) -> Run:
        self.counts = Run(total, done, lambda name, data: self.events.append((name, data)))
        loop = SearchLoop(
            self.tasks,
            self.stack,  # type: ignore[arg-type]
            self.session,  # type: ignore[arg-type]
            self.runner,  # type: ignore[arg-type]
            self.builder,  # type: ignore[arg-type]
            self.counts,
            0,
            batch,
        )
        loop.run()
        assert not list(self.folder.iterdir()), "every library is removed again"
        return self.counts

    def recorded(self) -> dict[str, str | None]:
        return {each["key"]: each["error_kind"] for each in self.session.added}

    def told(self, name: str) -> list[dict[str, Any]]:
        return [data for other, data in self.events if other == name]


# The rules.


def test_the_end_to_end_time_is_the_weighted_sum_of_the_bests() -> None:
    session: Any = FakeSession([(ONE, "a", 3.0), (ONE, "b", 2.0), (TWO, "c", 0.5)])
    assert end_to_end([task(ONE, 2), task(TWO, 3)], session) == 2 * 2.0 + 3 * 0.5
    assert end_to_end([task(ONE)], session) == 2.0
    assert end_to_end([], session) == 0.0


def test_without_a_best_of_every_task_there_is_no_end_to_end_time() -> None:
    session: Any = FakeSession([(ONE, "a", 3.0), (TWO, "c", None)])
    assert end_to_end([task(ONE), task(TWO)], session) is None
    assert end_to_end([task(TWO), task(ONE)], session) is None


def test_the_time_left_is_that_of_the_trials_left_at_the_pace_so_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 130.0))
    counts = Run(total=20, done=10, emit=lambda *_: None, fresh=0, started=100.0)
    assert counts.seconds_left() is None
    counts.fresh, counts.done = 6, 16
    assert counts.seconds_left() == 30.0 / 6 * 4
    counts.fresh, counts.done = 10, 20
    assert counts.seconds_left() == 0.0


@pytest.mark.parametrize(
    ("done", "in_flight", "total", "room", "more"),
    [
        (0, 0, 8, None, True),
        (7, 0, 8, None, True),
        (8, 0, 8, None, False),
        (9, 0, 8, None, False),
        (0, 1, 8, None, False),
        (0, 1, 8, 4, True),
        (0, 3, 8, 4, True),
        (0, 4, 8, 4, False),
        (5, 3, 8, 4, False),
        (4, 3, 8, 4, True),
        (0, 0, 8, 0, True),
    ],
)
def test_the_next_batch_comes_when_there_is_room(
    done: int, in_flight: int, total: int, room: int | None, more: bool
) -> None:
    assert wants_more(done, in_flight, total, room) == more


def test_two_candidates_a_board_are_in_flight() -> None:
    assert module.AHEAD == 2


# Building and measuring.


def test_here_a_batch_is_built_before_it_is_measured(tmp_path: Path) -> None:
    ground = Ground(tmp_path, {"a": 2.0, "b": 3.0, "c": 4.0}, "abc", plain=False)
    counts = ground.run(total=3, batch=2)
    order = ["build a", "build b", "measure a", "measure b", "build c", "measure c"]
    assert ground.log == order
    assert (counts.done, counts.fresh, counts.errors) == (3, 3, {})


def test_elsewhere_a_kernel_is_measured_as_soon_as_it_is_built(tmp_path: Path) -> None:
    ground = Ground(tmp_path, {"a": 2.0, "b": 3.0}, "ab", plain=False, remote=True)
    ground.run(total=2, batch=2)
    assert ground.log == ["build a", "measure a", "build b", "measure b"]


@pytest.mark.parametrize(
    ("remote", "boards", "batch", "in_flight"),
    [(False, 8, 2, 2), (True, 1, 2, 2), (True, 3, 2, 6), (True, 1, 4, 4), (True, 2, 5, 5)],
)
def test_as_many_candidates_are_in_flight_as_the_boards_need(
    tmp_path: Path, remote: bool, boards: int, batch: int, in_flight: int
) -> None:
    keys = "abcdefghijklmnopqrst"
    ground = Ground(
        tmp_path, dict.fromkeys(keys, 1.0), keys, plain=False, remote=remote, boards=boards
    )
    ground.held = held = []
    most = 0

    def release(tell: Any) -> None:  # asked each time the loop writes down or waits
        nonlocal most
        most = max(most, len(held))
        if len(held) >= in_flight or not ground.spaces[ONE]._keys:
            while held:
                held.pop(0)()

    ground.runner.news = release
    ground.run(total=20, batch=batch)
    assert most >= in_flight
    assert most < in_flight + batch


def test_a_batch_is_no_larger_than_what_is_left(tmp_path: Path) -> None:
    keys = "abcdefgh"
    ground = Ground(tmp_path, dict.fromkeys(keys, 1.0), keys, plain=False)
    counts = ground.run(total=9, batch=4, done=2)
    assert [asked[0] for asked in ground.spaces[ONE].asked] == [4, 3]
    assert (counts.done, counts.fresh) == (9, 7)


def test_a_trial_has_all_that_is_known_of_it(tmp_path: Path) -> None:
    ground = Ground(tmp_path, {"a": 2e-6, "b": None}, "abc", plain=False, unbuilt="c")
    counts = ground.run(total=3)
    common = {"task": ONE, "board": "b:1", "wall": 1.75, "facts": {"spread": 0.1}}
    good, bad, unbuilt = (
        next(each for each in ground.session.added if each["key"] == key) for key in "abc"
    )
    none = {"figure": None, "seconds": None}
    assert good == {
        **common,
        "key": "a",
        "figure": 2e-6,
        "seconds": [2e-6],
        "error_kind": None,
        "error": None,
    }
    assert bad == {**common, **none, "key": "b", "error_kind": "run_error", "error": "run_error"}
    assert unbuilt == {
        **none,
        "task": ONE,
        "key": "c",
        "error_kind": "build_error",
        "error": "no\nsuch intrinsic",
        "board": None,
        "wall": 0.25,
        "facts": {},
    }
    assert counts.errors == {"run_error": 1, "build_error": 1}


def test_each_trial_is_told_in_microseconds(tmp_path: Path) -> None:
    session = FakeSession([(ONE, "x", 3e-6)])
    ground = Ground(tmp_path, {"a": 2e-6, "b": None}, "ab", plain=False, session=session)
    ground.run(total=5, done=1)
    first, second = ground.told("trial")
    assert first == {
        "task": ONE,
        "key": "a",
        "status": "ok",
        "us": pytest.approx(2.0),
        "best_us": pytest.approx(2.0),
        "trials_done": 2,
        "trials_total": 5,
        "error_kind": None,
    }
    assert second["status"] == "failed"
    assert (second["us"], second["error_kind"]) == (None, "run_error")
    assert second["best_us"] == pytest.approx(2.0)
    estimates = ground.told("estimate")
    assert [each["end_to_end_us"] for each in estimates] == [pytest.approx(2.0)]


def test_without_a_success_there_is_no_estimate(tmp_path: Path) -> None:
    ground = Ground(tmp_path, {"a": None}, "a", plain=False)
    ground.run(total=1)
    (trial,), (estimate,) = ground.told("trial"), ground.told("estimate")
    assert trial["best_us"] is None
    assert estimate["end_to_end_us"] is None


# What is proposed.


def test_what_is_known_is_not_built_again(tmp_path: Path) -> None:
    session = FakeSession([(ONE, "a", 3.0), (TWO, "b", 1.0)])
    ground = Ground(tmp_path, {"b": 2.0, "c": 2.0}, "abcb", plain=False, session=session)
    ground.run(total=2)
    assert [line for line in ground.log if "build" in line] == ["build b", "build c"]
    (count, known, history) = ground.spaces[ONE].asked[0]
    assert (count, known, history) == (2, {"a"}, [("a", 3.0)])


def test_a_space_that_is_exhausted_leaves_the_trials_to_the_others(tmp_path: Path) -> None:
    keys = {ONE: "a", TWO: "bcdef"}
    ground = Ground(
        tmp_path, dict.fromkeys("abcdef", 1.0), keys, tasks=[task(ONE), task(TWO)], plain=False
    )
    counts = ground.run(total=9, batch=2)
    assert counts.done == 6
    assert ground.told("note") == [{"text": "every task's space is exhausted"}]
    assert set(ground.recorded()) == set("abcdef")


def test_a_space_that_waits_for_its_results_is_not_dropped(tmp_path: Path) -> None:
    ground = Ground(tmp_path, dict.fromkeys("abcd", 1.0), "", plain=False, remote=True, boards=9)
    space = ground.spaces[ONE]
    ground.held = held = []

    def propose(n: int, known: set[str], history: Any, rng: Any) -> list[Candidate]:
        if history:
            ground.held = None
            return [Candidate(key, None) for key in "cd"]  # type: ignore[arg-type]
        if held:
            while held:
                held.pop(0)()
            return []
        return [Candidate(key, None) for key in "ab"]  # type: ignore[arg-type]

    space.propose = propose  # type: ignore[method-assign]
    counts = ground.run(total=4, batch=2)
    assert counts.done == 4
    assert ground.told("note") == []


def test_earlier_trials_count_for_the_scheduler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[Any, ...]] = []

    class Scheduler(module.TaskScheduler):
        def __init__(self, tasks: Any) -> None:
            super().__init__(tasks)
            told.append(("tasks", tasks))

        def resume(self, index: int, best: float | None, batches: int) -> None:
            super().resume(index, best, batches)
            told.append((index, best, batches))

    monkeypatch.setattr(module, "TaskScheduler", Scheduler)
    session = FakeSession([(ONE, key, 1.0) for key in "abcdefg"] + [(TWO, "x", None)])
    ground = Ground(
        tmp_path, {}, {ONE: "", TWO: ""}, tasks=[task(ONE, 5), task(TWO)], session=session
    )
    ground.run(total=9, batch=4, done=8)
    assert told == [("tasks", [(5, 0.0, "dense"), (1, 0.0, "dense")]), (0, 1.0, 1), (1, None, 0)]


# Verification.


def test_only_the_fastest_new_best_of_a_batch_is_compared(tmp_path: Path) -> None:
    ground = Ground(tmp_path, {"a": 4.0, "b": 2.0, "c": 3.0}, "abc")
    ground.run(total=3)
    assert ground.log[-2:] == ["build plain-b", "compare b"]
    assert [line for line in ground.log if "compare" in line] == ["compare b"]
    assert ground.recorded() == {"a": None, "b": None, "c": None}
    figures = {each["key"]: each["figure"] for each in ground.session.added}
    assert figures == {"a": 4.0, "b": 2.0, "c": 3.0}
    job = ground.jobs[-1]
    assert (job.path.name, job.plain and job.plain.name) == ("b.so", "plain-b.so")
    assert job.args == [("float32", [4])]


def test_what_is_no_new_best_is_not_compared(tmp_path: Path) -> None:
    session = FakeSession([(ONE, "x", 2.0)])
    ground = Ground(tmp_path, {"a": 2.0, "b": 2.5, "c": None}, "abc", session=session)
    ground.run(total=4, done=1)
    assert not [line for line in ground.log if "plain" in line]


def test_a_wrong_kernel_counts_as_failed_and_the_next_fastest_is_compared(
    tmp_path: Path,
) -> None:
    ground = Ground(tmp_path, {"a": 4.0, "b": 2.0, "c": 3.0}, "abc", wrong="b c")
    counts = ground.run(total=3)
    assert [line for line in ground.log if "compare" in line] == [
        "compare b",
        "compare c",
        "compare a",
    ]
    assert ground.recorded() == {"b": WRONG, "c": WRONG, "a": None}
    assert counts.errors == {WRONG: 2}
    wrong = next(each for each in ground.session.added if each["key"] == "b")
    assert (wrong["figure"], wrong["seconds"], wrong["error"]) == (None, None, f"{WRONG} of b")
    assert wrong["wall"] == 1.75
    assert ground.session.best(ONE) == 4.0


def test_when_all_new_bests_are_wrong_the_batch_ends(tmp_path: Path) -> None:
    ground = Ground(tmp_path, {"a": 4.0, "b": 2.0}, "ab", wrong="a b")
    counts = ground.run(total=2)
    assert counts.done == 2
    assert ground.session.best(ONE) is None
    assert len(ground.told("estimate")) == 1


@pytest.mark.parametrize("unbuilt", ["", "plain-a plain-b plain-c plain-d"])
def test_plain_loops_that_do_not_run_are_tried_once_a_task(tmp_path: Path, unbuilt: str) -> None:
    keys = {ONE: "abc", TWO: "d"}
    ground = Ground(
        tmp_path,
        {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0},
        keys,
        tasks=[task(ONE), task(TWO)],
        unbuilt=unbuilt,
    )
    ground.proof = "run_timeout"
    counts = ground.run(total=4, batch=1)
    built = [line for line in ground.log if line.startswith("build plain")]
    assert len(built) == 2, "once for each of two tasks"
    reason = "such intrinsic" if unbuilt else "run_timeout of"
    first, second = (note["text"] for note in ground.told("note"))
    assert first.startswith("task 1: its kernels are not compared with plain loops")
    assert second.startswith("task 2: ")
    assert reason in first
    assert counts.errors == {}, "a comparison that does not run is not the candidate's failure"
    assert ground.recorded() == dict.fromkeys("abcd")
    assert len(ground.told("estimate")) == 4, "every batch ends"


def test_without_a_reason_it_says_so(tmp_path: Path) -> None:
    ground = Ground(tmp_path, {"a": 4.0}, "a")
    ground.builder.build = lambda sources, on_result=None: (
        [BuildResult(None, "build_error", None, 0.1)]
        if on_result is None
        else Ground._build(ground, sources, on_result)
    )
    ground.run(total=1)
    (note,) = ground.told("note")
    assert note["text"].endswith("(no reason given)")


def test_a_stack_without_plain_loops_compares_nothing(tmp_path: Path) -> None:
    ground = Ground(tmp_path, {"a": 4.0}, "a", plain=False)
    ground.run(total=1)
    assert ground.log == ["build a", "measure a"]


def test_a_job_knows_the_best_so_far_held_ones_included(tmp_path: Path) -> None:
    session = FakeSession([(ONE, "x", 5.0)])
    keys = "abcd"
    ground = Ground(
        tmp_path, {"a": 4.0, "b": 6.0, "c": 3.0, "d": 9.0}, keys, session=session, remote=True
    )
    ground.run(total=5, batch=4, done=1)
    assert ground.bests[:4] == [5.0, 4.0, 4.0, 3.0]


# Boards.


def test_a_board_that_comes_is_written_down_and_told(tmp_path: Path) -> None:
    ground = Ground(tmp_path, {"a": 4.0}, "a", plain=False)
    ground.pending = [("board", {"board": "b:2", "threads": 4}), ("note", {"text": "left out"})]
    ground.run(total=1)
    assert ground.session.boards == [{"board": "b:2", "threads": 4}]
    assert ground.told("note") == [{"text": "the board at b:2 has come"}, {"text": "left out"}]
    assert ground.told("board") == []


def test_a_run_without_boards_ends_with_their_error(tmp_path: Path) -> None:
    ground = Ground(tmp_path, {"a": 4.0}, "a", plain=False)
    future: Future[RunResult] = Future()
    future.set_exception(MissingError("no board answered"))
    ground.runner.submit = lambda job: future
    with pytest.raises(MissingError, match="no board answered"):
        ground.run(total=1)
    assert ground.session.added == []


@pytest.mark.parametrize("watches", [True, False])
def test_boards_that_run_a_canary_are_told_which_kernels_use_threads(
    tmp_path: Path, watches: bool
) -> None:
    ground = Ground(tmp_path, {"a": 2.0, "B": 1.0}, "aB", plain=False)
    ground.runner.watches = watches
    ground.run(2)
    assert [job.threads for job in ground.jobs] == [False, watches]
