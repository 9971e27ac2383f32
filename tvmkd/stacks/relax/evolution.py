"""The space of every kernel that has no template: upstream's rules, evolution and cost model.

Upstream's search proposes from its post-order rules, mutates what measured well, and ranks with
a gradient-boosted model of its own features. Population and generations are small: on few cores
the search would otherwise take longer than the measuring.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from tvmkd.base.errors import MissingError
from tvmkd.runtime.tvm_process import register_intrinsics
from tvmkd.tuning.records import StoredRecord, database
from tvmkd.tuning.space import Candidate, History, Task, candidate

if TYPE_CHECKING:
    import numpy as np

POPULATION = 128
GENERATIONS = 3
WARM_UP = 24  # samples before the cost model is asked
ROUNDS = 3  # proposals in a row that may bring nothing new before a space counts as exhausted


def cost_model(seed: int = 0, threads: int = 1) -> Any:
    """Upstream's XGBoost cost model, to be shared by the spaces of all tasks of a run.

    Raises:
        MissingError: xgboost is not installed.
    """
    try:
        import xgboost  # noqa: F401
    except ImportError:
        raise MissingError("the cost model needs xgboost: pip install xgboost") from None
    from tvm.s_tir.meta_schedule.cost_model import XGBModel
    from tvm.s_tir.meta_schedule.cost_model.xgb_model import XGBConfig

    logging.getLogger("tvm.s_tir.meta_schedule.cost_model.xgb_model").setLevel(logging.WARNING)
    config = XGBConfig(max_depth=6, seed=seed + 1, nthread=threads, tree_method="hist")
    return XGBModel(
        config=config, num_warmup_samples=WARM_UP, verbose_eval=0, early_stopping_rounds=20
    )


class EvolutionSpace:
    """Upstream's evolutionary search over its post-order rules, as a :class:`Space`.

    Args:
        task: the task.
        stored: records from earlier runs: the search starts from the best of them.
        model: see :func:`cost_model`; None ranks at random.
    """

    size: int | None = None

    def __init__(
        self, task: Task, stored: list[StoredRecord] | None = None, model: Any = None
    ) -> None:
        self._task = task
        self._model = model
        self._database = database(stored or [])
        self._workload = self._database.commit_workload(task.mod)
        self._context: Any = None
        self._batch = 0
        self._proposed: dict[str, Any] = {}  # measure candidates whose result is awaited
        self._told = 0  # how much of the history the search has been told

    def _start(self, batch: int, rng: np.random.Generator) -> None:
        from tvm.s_tir import meta_schedule as ms

        register_intrinsics(gpu=self._task.target.kind.name == "cuda")
        strategy = ms.search_strategy.EvolutionarySearch(
            population_size=POPULATION,
            init_measured_ratio=0.25,
            init_min_unmeasured=POPULATION // 4,
            max_fail_count=5,
            genetic_num_iters=GENERATIONS,
            genetic_mutate_prob=0.85,
            genetic_max_fail_count=8,
            eps_greedy=0.1,
        )
        # One thread: with more, which of them draws which random number is left to chance.
        self._context = ms.TuneContext(
            self._task.mod,
            target=self._task.target,
            space_generator="post-order-apply",
            search_strategy=strategy,
            task_name=self._task.name,
            rand_state=int(rng.integers(1, 2**30)),
            num_threads=1,
            logger=_quiet(),
        )
        self._batch = batch
        self._context.pre_tuning(
            1 << 30,
            batch,
            self._context.generate_design_space(),
            self._database,
            self._model if self._model is not None else ms.cost_model.RandomModel(),
        )

    def _tell(self, history: History) -> None:
        """Passes on the results of what this space proposed."""
        from tvm.s_tir import meta_schedule as ms

        measured, results = [], []
        for key, seconds in history[self._told :]:
            proposal = self._proposed.pop(key, None)
            if proposal is None:
                continue
            measured.append(proposal)
            run_secs = None if seconds is None else [seconds]
            error = "failed" if seconds is None else None
            results.append(ms.runner.RunnerResult(run_secs, error))
            if seconds is not None:
                record = ms.database.TuningRecord(
                    proposal.sch.trace,
                    self._workload,
                    [seconds],
                    self._task.target,
                    proposal.args_info,
                )
                self._database.commit_tuning_record(record)
        self._told = len(history)
        if measured and self._model is not None:
            self._model.update(self._context, measured, results)

    def propose(
        self, n: int, known: set[str], history: History, rng: np.random.Generator
    ) -> list[Candidate]:
        """At most ``n`` candidates; see :class:`tvmkd.tuning.space.Space`."""
        if self._context is None or n > self._batch:
            self._start(n, rng)
        self._tell(history)
        chosen: dict[str, tuple[Candidate, Any]] = {}
        for _ in range(ROUNDS):
            for measure in self._context.generate_measure_candidates() or []:
                new = candidate(measure.sch)
                if new.key not in known and new.key not in chosen and len(chosen) < n:
                    chosen[new.key] = (new, measure)
            if chosen:
                break
        for key, (_, measure) in chosen.items():
            self._proposed[key] = measure
        return [new for new, _ in chosen.values()]


def _quiet() -> logging.Logger:
    logger = logging.getLogger("tvmkd.stacks.relax.evolution.upstream")
    logger.setLevel(logging.ERROR)
    return logger
