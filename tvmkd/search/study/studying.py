"""A search by a study, from its first trial or from where it stopped, to its winner."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from tvmkd.base.locks import Lock
from tvmkd.base.wire import Event
from tvmkd.search import sampling
from tvmkd.search.results import Study
from tvmkd.search.study import snapshot
from tvmkd.search.study.bench import Bench, Plan
from tvmkd.search.study.fastest import check_budget
from tvmkd.search.study.opening import open_bench, settle_channels
from tvmkd.search.study.storage import answering
from tvmkd.search.study.worker import work
from tvmkd.search.study.workers import Workers

if TYPE_CHECKING:
    from rich.progress import Progress

    from tvmkd.distill.task import Task
    from tvmkd.search.latency.prediction import Latency
    from tvmkd.search.space import Space


def study(plan: Plan, event: Event) -> Study:
    """Does the trials that are missing, and returns the whole study.

    Every trial is kept as it ends: the same call after an interruption continues.

    Args:
        plan: of the search.
        event: gets ``study`` (``study``: what is known, ``left``: trials to do) at the start and
            after each trial, ``doing`` (what a worker does) and ``note`` (a line for the person).

    Raises:
        GateFailure: no network of the space meets the budget.
        InputError: the study was made for something else, or something that it names cannot be
            used; or all trials fail.
        MissingError: Optuna, a database or a stack is missing.
    """

    def follow(name: str, data: dict[str, Any]) -> None:
        if name == "trial":
            event("study", {"study": snapshot.write(bench)})
        else:
            event(name, data)

    with answering(plan.search.storage):
        bench = open_bench(plan, follow)
        try:
            fill_table(bench)
            settle_channels(bench)
            check_budget(bench)
            event("study", {"study": snapshot.snapshot(bench)})
            count = plan.search.workers
            if count == 1:
                work(bench)
            else:
                with Workers(plan, count) as workers:
                    workers.run(follow)
            return snapshot.finish(bench)
        finally:
            bench.close()


def fill_table(bench: Bench) -> None:
    """Measures the kernels of the space that the latency table lacks; one process at a time."""
    task = bench.networks.session(bench.plan.cfg).task
    fill(bench.plan, bench.latency, bench.space, task, bench.doing, bench.note)


def fill(
    plan: Plan,
    latency: Latency,
    space: Space,
    task: Task,
    doing: Callable[..., None],
    note: Callable[[str], None],
) -> None:
    """`fill_table` of a search of any method.

    Args:
        plan: of the search.
        latency: its table.
        space: its networks.
        task: what they learn.
        doing: gets what is done, and maybe ``done`` and ``total``.
        note: gets a line for the person.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    with Lock(plan.folder / ".table.lock", "filling the latency table", "", wait=note):
        bars = cast("Progress", _Bars(doing))
        sampling.prepare(latency, space, task, seed=plan.search.seed, progress=bars)


class _Bars:
    """Shows rich's progress bars as what a worker does: there is one live view on a screen."""

    def __init__(self, doing: Callable[..., None]) -> None:
        self._doing = doing
        self._bars: list[tuple[str, int]] = []

    def add_task(self, text: str, total: int = 0, note: str = "") -> int:
        """See ``rich.progress.Progress.add_task``."""
        del note
        self._bars.append((text, total))
        return len(self._bars) - 1

    def update(self, bar: int, completed: int = 0, note: str = "") -> None:
        """See ``rich.progress.Progress.update``."""
        text, total = self._bars[bar]
        self._doing(f"{text} {note}".strip(), done=completed, total=total)
