"""The search loop: candidates are proposed, built, measured, verified and recorded.

If a board is this very machine, building and measuring never overlap: a build would slow down the
kernel that is being measured. Other boards measure while the next candidates are built.

A compiler that miscompiles produces wrong kernels, and some of them are fast. So before a new best
counts, the board compares its output with plain loops that compute the same, if the stack can make
them. Until then this candidate and the other new bests of its batch are held back.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvmkd.tuning.builder import BuildResult, WarmBuilder
from tvmkd.tuning.measurement import WRONG, RunJob, RunResult
from tvmkd.tuning.runner import BoardRunner
from tvmkd.tuning.scheduler import TaskScheduler
from tvmkd.tuning.session import Session
from tvmkd.tuning.space import Candidate, Task
from tvmkd.tuning.tuner_backend import TunerBackend

Emit = Callable[[str, dict[str, Any]], None]

AHEAD = 2  # candidates in flight for each board, where building and measuring overlap


@dataclass
class Run:
    """What one call of :func:`tune` counts."""

    total: int
    done: int
    emit: Emit
    fresh: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def seconds_left(self) -> float | None:
        """At the pace so far; None before the first trial."""
        if self.fresh == 0:
            return None
        return (time.monotonic() - self.started) / self.fresh * (self.total - self.done)


@dataclass
class _Batch:
    """Candidates of one task that are in flight."""

    index: int
    task: Task
    candidates: list[Candidate]
    left: int  # how many are not finished
    builds: dict[int, BuildResult] = field(default_factory=dict)
    held: dict[int, RunResult] = field(default_factory=dict)  # faster than the task's best
    plain: Path | None = None  # the library that the fastest of them is compared with


def end_to_end(tasks: Sequence[Task], session: Session) -> float | None:
    """The model's time in seconds if it were the sum of its kernels' best; None: not all known."""
    total = 0.0
    for task in tasks:
        best = session.best(task.key)
        if best is None:
            return None
        total += task.weight * best
    return total


def wants_more(done: int, in_flight: int, total: int, room: int | None) -> bool:
    """True if the next batch should be proposed now.

    Args:
        done: trials that are finished.
        in_flight: candidates that are being built or measured.
        total: trials that were asked for.
        room: how many candidates may be in flight; None: building and measuring must not overlap.
    """
    if done + in_flight >= total:
        return False
    return in_flight == 0 or (room is not None and in_flight < room)


class SearchLoop:
    """Supplies the boards with candidates until all trials are made or all spaces are exhausted."""

    def __init__(
        self,
        tasks: Sequence[Task],
        stack: TunerBackend,
        session: Session,
        runner: BoardRunner,
        builder: WarmBuilder,
        run: Run,
        seed: int,
        batch: int,
    ) -> None:
        import numpy as np

        self._tasks = tasks
        self._stack = stack
        self._session = session
        self._runner = runner
        self._builder = builder
        self._run = run
        self._batch = batch
        self._rng = np.random.default_rng([seed, run.done])
        self._spaces = stack.spaces(tasks, session.stored, seed)
        self._scheduler = TaskScheduler([(task.weight, task.flop, task.kind) for task in tasks])
        for index, task in enumerate(tasks):
            earlier = len(session.history(task.key)) // batch
            self._scheduler.resume(index, session.best(task.key), earlier)
        self._in_flight_keys: dict[str, set[str]] = {task.key: set() for task in tasks}
        # Not SimpleQueue: in Python 3.10 its `get` with a timeout of 0 may wait for ever.
        self._measured: queue.Queue[tuple[_Batch, int, Future[RunResult]]] = queue.Queue()
        self._settled: list[_Batch] = []  # measured, their best to be verified
        self._unverifiable: set[str] = set()  # tasks whose plain loops do not run

    def run(self) -> None:
        """Runs to the end.

        Raises:
            MissingError: no board answers any more; what was measured is written down.
        """
        supplied = True
        while supplied or self._in_flight():
            while supplied and self._wants_more():
                supplied = self._supply()
                self._verify_settled()
            if self._in_flight():
                self._write_down(wait=True)
                self._verify_settled()
            supplied = supplied and self._run.done + self._in_flight() < self._run.total

    def _in_flight(self) -> int:
        return sum(map(len, self._in_flight_keys.values()))

    def _wants_more(self) -> bool:
        room = max(self._batch, AHEAD * self._runner.boards) if self._runner.remote else None
        return wants_more(self._run.done, self._in_flight(), self._run.total, room)

    def _supply(self) -> bool:
        """Proposes and builds one task's candidates. False: there is nothing more to try."""
        chosen = self._scheduler.next(self._rng)
        if chosen is None:
            gained = self._scheduler.nothing_to_gain()
            text = "further trials are not expected to gain anything"
            self._run.emit("note", {"text": text if gained else "every task's space is exhausted"})
            return False
        task = self._tasks[chosen]
        count = min(self._batch, self._run.total - self._run.done - self._in_flight())
        known = self._session.known_keys(task.key) | self._in_flight_keys[task.key]
        history = self._session.history(task.key)
        proposed = self._spaces[chosen].propose(count, known, history, self._rng)
        fresh = {each.key: each for each in proposed if each.key not in known}
        if fresh:
            self._scheduler.begin(chosen)
            self._build(_Batch(chosen, task, list(fresh.values()), len(fresh)))
        elif not self._in_flight_keys[task.key]:
            self._scheduler.drop(chosen)
        else:
            self._write_down(wait=True)  # the space may propose more once it knows the results
        return True

    def _build(self, batch: _Batch) -> None:
        """Builds a batch and submits it: each candidate at once, or all when the last is built."""
        self._in_flight_keys[batch.task.key].update(each.key for each in batch.candidates)
        at_once = self._runner.remote
        waiting: list[int] = []

        def built(index: int, build: BuildResult) -> None:
            batch.builds[index] = build
            if build.path is None:
                self._finish(batch, index, build.error_kind, build.error, None)
                self._settle(batch)
            elif at_once:
                self._measure(batch, index)
            else:
                waiting.append(index)
            self._write_down(wait=False)

        self._builder.build(list(map(self._stack.source, batch.candidates)), built)
        for index in sorted(waiting):
            self._measure(batch, index)

    def _measure(self, batch: _Batch, index: int) -> None:
        build = batch.builds[index]
        assert build.path is not None
        threads = self._runner.watches and self._stack.uses_threads(batch.candidates[index])
        job = RunJob(build.path, build.args, lambda: self._best(batch), threads=threads)
        self._submit(batch, index, job)

    def _best(self, batch: _Batch) -> float | None:
        """The best seconds of a batch's task so far, verified or not."""
        figures = [self._session.best(batch.task.key)]
        figures += [result.figure for result in list(batch.held.values())]
        return min((figure for figure in figures if figure is not None), default=None)

    def _submit(self, batch: _Batch, index: int, job: RunJob) -> None:
        future = self._runner.submit(job)
        future.add_done_callback(lambda done: self._measured.put((batch, index, done)))

    def _write_down(self, *, wait: bool) -> None:
        """Records the finished measurements (``wait``: waits for at least one)."""
        self._runner.news(self._tell)
        while True:
            try:
                # Wakes up every second to report the boards' events while they happen.
                batch, index, future = self._measured.get(block=wait, timeout=1.0)
            except queue.Empty:
                self._runner.news(self._tell)
                if not wait:
                    return
                continue
            result = future.result()
            if index in batch.held:
                self._verified(batch, index, result)
            elif self._is_new_best(batch.task, result) and self._plain_loops(batch, index):
                batch.held[index] = result
            else:
                self._finish(batch, index, result.error_kind, result.error, result)
            self._settle(batch)
            wait = False

    def _is_new_best(self, task: Task, result: RunResult) -> bool:
        best = self._session.best(task.key)
        return result.figure is not None and (best is None or result.figure < best)

    def _plain_loops(self, batch: _Batch, index: int) -> str | None:
        """The source of the plain loops to compare a candidate with; None: there are none."""
        if batch.task.key in self._unverifiable:
            return None
        return self._stack.plain_loops(batch.task, batch.candidates[index])

    def _settle(self, batch: _Batch) -> None:
        """Once all of a batch is measured: queues it for verification, or ends it."""
        if batch.held and batch.left == len(batch.held):
            self._settled.append(batch)  # not here: the builder may be at work
        elif batch.left == 0:
            self._end(batch)

    def _verify_settled(self) -> None:
        """Submits the fastest kernel of each measured batch for comparison with plain loops."""
        while self._settled:
            batch = self._settled.pop()
            index = min(batch.held, key=lambda index: batch.held[index].figure or 0.0)
            if not self._verify(batch, index):
                self._release(batch)
                self._settle(batch)

    def _verify(self, batch: _Batch, index: int) -> bool:
        """Submits a kernel for comparison. False: it cannot be compared."""
        source = self._plain_loops(batch, index)
        if source is None:
            return False
        (plain,) = self._builder.build([source])
        if plain.path is None:
            self._cannot_verify(batch.task, plain.error)
            return False
        build, batch.plain = batch.builds[index], plain.path
        assert build.path is not None
        self._submit(batch, index, RunJob(build.path, build.args, plain=plain.path))
        return True

    def _verified(self, batch: _Batch, index: int, answer: RunResult) -> None:
        """Counts a wrong kernel as failed; otherwise releases the batch."""
        assert batch.plain is not None
        batch.plain.unlink(missing_ok=True)
        if answer.error_kind == WRONG:
            measured = batch.held.pop(index)
            self._finish(batch, index, WRONG, answer.error, measured)
            return
        if answer.error_kind is not None:
            self._cannot_verify(batch.task, answer.error)
        self._release(batch)

    def _cannot_verify(self, task: Task, why: str | None) -> None:
        self._unverifiable.add(task.key)
        last = ((why or "").strip().splitlines() or ["no reason given"])[-1]
        text = f"{task.name}: its kernels are not compared with plain loops, which do not run"
        self._run.emit("note", {"text": f"{text} ({last})"})

    def _release(self, batch: _Batch) -> None:
        for index in sorted(batch.held):
            self._finish(batch, index, None, None, batch.held.pop(index))

    def _tell(self, name: str, data: dict[str, Any]) -> None:
        if name == "board":
            self._session.add_board(data)
            name, data = "note", {"text": f"the board at {data['board']} has come"}
        self._run.emit(name, data)

    def _finish(
        self,
        batch: _Batch,
        index: int,
        kind: str | None,
        error: str | None,
        result: RunResult | None,
    ) -> None:
        task, candidate, build = batch.task, batch.candidates[index], batch.builds[index]
        good = result if kind is None else None
        figure = None if good is None else good.figure
        self._session.add(
            task,
            candidate,
            figure=figure,
            seconds=None if good is None else good.seconds,
            error_kind=kind,
            error=error,
            board=None if result is None else result.board,
            wall=build.seconds + (0.0 if result is None else result.wall),
            facts={} if result is None else result.facts,
        )
        if build.path is not None:
            build.path.unlink(missing_ok=True)
        self._in_flight_keys[task.key].discard(candidate.key)
        run = self._run
        run.done += 1
        run.fresh += 1
        if kind is not None:
            run.errors[kind] = run.errors.get(kind, 0) + 1
        best = self._session.best(task.key)
        run.emit(
            "trial",
            {
                "task": task.key,
                "key": candidate.key,
                "status": "ok" if kind is None else "failed",
                "us": None if figure is None else figure * 1e6,
                "best_us": None if best is None else best * 1e6,
                "trials_done": run.done,
                "trials_total": run.total,
                "error_kind": kind,
            },
        )
        batch.left -= 1

    def _end(self, batch: _Batch) -> None:
        self._scheduler.record(batch.index, self._session.best(batch.task.key))
        estimate = end_to_end(self._tasks, self._session)
        self._run.emit(
            "estimate",
            {
                "end_to_end_us": None if estimate is None else estimate * 1e6,
                "time_left_s": self._run.seconds_left(),
            },
        )
