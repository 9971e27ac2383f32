"""AutoScheduler's own search as a space: sketches, evolution, and the XGBoost cost model.

Upstream's ``SketchPolicy`` searches and measures in one call. Here its two halves, sampling and
evolution, are called by themselves, so that what is proposed goes through the same builder, boards
and records as every other candidate. Population and generations are small: on two cores a round of
upstream's defaults (2048 by 4) searches for minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tvmkd.stacks.relay.register_tiles import odd_vectors, retiled
from tvmkd.tuning.autoscheduler_log import candidate_key
from tvmkd.tuning.space import Candidate, History, Task

if TYPE_CHECKING:
    import numpy as np

    from tvmkd.tuning.records import StoredRecord

POPULATION = 128
GENERATIONS = 3
SAMPLES = 24  # fresh ones that a round starts from
SEEDS = 24  # of the best measured ones beside them
TILED = 32  # with tiles that fill the registers
WARM_UP = 24  # samples before the cost model is asked
EPSILON = 0.25  # share of a batch that is drawn at random, of the tiled ones where there are any
ROUNDS = 3  # proposals in a row that may bring nothing new before a space counts as exhausted


def cost_model(seed: int = 0) -> Any:
    """Upstream's XGBoost cost model, to be shared by the spaces of all tasks of a run."""
    from tvm.auto_scheduler import XGBModel

    return XGBModel(
        verbose_eval=0, num_warmup_sample=WARM_UP, seed=seed + 1, adaptive_training=True
    )


class SketchSpace:
    """The schedules that AutoScheduler's sketches of one task span, as a :class:`Space`.

    Args:
        task: its ``mod`` is the ``auto_scheduler.SearchTask``.
        stored: records from earlier runs.
        model: see :func:`cost_model`.
    """

    size: int | None = None

    def __init__(self, task: Task, stored: list[StoredRecord], model: Any) -> None:
        self._task = task
        self._model = model
        self._policy: Any = None
        self._inputs: dict[str, Any] = {}  # measure inputs by candidate key
        self._told = 0  # how much of the history the model has been told
        self._stored = stored

    def _start(self, rng: np.random.Generator) -> None:
        from tvm.auto_scheduler import SketchPolicy

        params = {
            "sample_init_min_population": SAMPLES,
            "evolutionary_search_population": POPULATION,
            "evolutionary_search_num_iters": GENERATIONS,
        }
        seed = int(rng.integers(1, 2**30))
        self._policy = SketchPolicy(
            self._task.mod, self._model, params=params, seed=seed, verbose=0
        )
        for record in self._stored:
            self._inputs[record.key] = restore(record.record)
        self._stored = []

    def _tell(self, history: History) -> None:
        """Passes on to the model what was measured since it was last told."""
        from tvm.auto_scheduler.measure import MeasureResult

        fresh = [
            (self._inputs[key], seconds)
            for key, seconds in history[self._told :]
            if seconds is not None and key in self._inputs
        ]
        self._told = len(history)
        if fresh:
            results = [MeasureResult([seconds], 0, "", seconds, 0) for _, seconds in fresh]
            self._model.update([measured for measured, _ in fresh], results)

    def propose(
        self, n: int, known: set[str], history: History, rng: np.random.Generator
    ) -> list[Candidate]:
        """At most ``n`` candidates; see :class:`tvmkd.tuning.space.Space`."""
        import numpy as np

        np.random.seed(int(rng.integers(2**31)))  # noqa: NPY002 - the model draws from it
        if self._policy is None:
            self._start(rng)
        self._tell(history)
        chosen: dict[str, Candidate] = {}
        for _ in range(ROUNDS):
            self._round(n, known, history, rng, chosen)
            if chosen:
                break
        return list(chosen.values())

    def _round(
        self,
        n: int,
        known: set[str],
        history: History,
        rng: np.random.Generator,
        chosen: dict[str, Candidate],
    ) -> None:
        sampled = list(self._policy.sample_initial_population())
        tiled = self._tiled(sampled, rng)
        good = sorted((seconds, key) for key, seconds in history if seconds is not None)
        seeds = [self._inputs[key].state for _, key in good[:SEEDS] if key in self._inputs]
        pool = sampled + tiled + seeds
        if len(self._model.inputs) <= WARM_UP:
            # The cost model answers at random: evolution by it would be a slow random choice.
            found = [pool[index] for index in rng.permutation(len(pool))[: 3 * n]]
        else:
            found = list(self._policy.evolutionary_search(pool, 3 * n))
        drawn = tiled or sampled
        lucky = [drawn[index] for index in rng.permutation(len(drawn))]
        share = max(1, round(EPSILON * n))
        for states, most in ((found, n - share), (lucky, n), (found, n), (sampled, n)):
            for state in states:
                if len(chosen) >= most:
                    break
                new, measured = candidate(self._task.mod, state)
                if odd_vectors(new.schedule):
                    continue
                if new.key not in known and new.key not in chosen:
                    chosen[new.key] = new
                    self._inputs[new.key] = measured

    def _tiled(self, sampled: list[Any], rng: np.random.Generator) -> list[Any]:
        """Sampled states with tiles that fill the registers; none for a GPU or without tiling."""
        import tvm

        found: list[Any] = []
        if self._task.target.kind.name != "llvm":
            return found
        for index in rng.choice(len(sampled), TILED):
            line = retiled(candidate(self._task.mod, sampled[index])[0].schedule, rng)
            if line is None:
                continue
            try:
                found.append(restore(line).state)
            except tvm.error.TVMError:  # steps that do not go with these sizes
                continue
        return found


def candidate(search_task: Any, state: Any) -> tuple[Candidate, Any]:
    """A state of AutoScheduler's as a candidate, and as a measure input.

    The candidate's ``schedule`` is the log's line of it, without a result.
    """
    import json

    from tvm.auto_scheduler.measure import MeasureInput, MeasureResult
    from tvm.auto_scheduler.measure_record import dump_record_to_string

    measured = MeasureInput(search_task, state)
    text = dump_record_to_string(measured, MeasureResult([0.0], 0, "", 0, 0))
    line = json.loads(text)
    return Candidate(candidate_key(line["i"][1][1]), line), measured


def restore(line: Any) -> Any:
    """The measure input of a line of the log, its state rebuilt so that it can be evolved."""
    import json

    from tvm.auto_scheduler.measure import recover_measure_input
    from tvm.auto_scheduler.measure_record import load_record_from_string

    measured, _ = load_record_from_string(json.dumps(line))
    return recover_measure_input(measured, rebuild_state=True)
