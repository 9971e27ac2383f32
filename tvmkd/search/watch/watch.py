"""``[distill] watch``: the latency of the student beside its accuracy, while it trains."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from tvmkd.base import console
from tvmkd.base.errors import GateFailure, InternalError, MissingError, WorkerDied
from tvmkd.base.files import read_text, write_json
from tvmkd.base.random_inputs import random_sample
from tvmkd.base.text import first_line
from tvmkd.boards.remote import RemoteModel
from tvmkd.distill.results import Result
from tvmkd.distill.shaping import FOLDER as SHAPING
from tvmkd.distill.task import Task
from tvmkd.models import checkpoint as files
from tvmkd.search.latency.target_boards import TargetBoards
from tvmkd.search.watch import entries
from tvmkd.search.watch.artifacts import Artifacts
from tvmkd.search.watch.entries import Entry

if TYPE_CHECKING:
    from tvmkd.targets import Target

RUNS = 100
WARM_UP = 10  # runs that are not counted
BLOCK = 25  # runs of one request to a board
ATTEMPTS = 3  # measurements over the budget that end a training


@contextlib.contextmanager
def _lost_boards() -> Iterator[None]:
    """Whatever goes wrong on a board means that it was lost: weights and code were checked here.

    Raises:
        MissingError: in place of what a session raises.
    """
    try:
        yield
    except (InternalError, WorkerDied) as error:
        raise MissingError(f"the board was lost ({first_line(error)})") from None


class Watch:
    """Measures students after checkpoints. Use as a context manager.

    Call it as an `AfterCheckpoint`; `while_shaping` is another one, for networks whose structure is
    not settled: they end no training.

    Args:
        folder: of the run; gets ``watch.jsonl`` and ``watch/``.
        task: what the students learn.
        target: what they are built for.
        boards: where they run: this machine, or under a tracker's key.
        artifacts: builds them.
        budget: of the median, ms.
        every: least seconds between two measurements of one training.
        kind: of the students to watch: the baselines are not what is deployed.
        here: whether ``boards`` is this machine.
    """

    def __init__(
        self,
        folder: Path,
        task: Task,
        target: Target,
        boards: TargetBoards,
        artifacts: Artifacts,
        budget: float,
        every: float,
        kind: str,
        here: bool = True,
    ) -> None:
        self._folder, self._task, self._target = folder, task, target
        self._boards, self._artifacts = boards, artifacts
        self._budget, self._every, self._kind, self._here = budget, every, kind, here
        self._looked: dict[str, float] = {}

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._boards.close()

    def __call__(self, path: Path, epoch: int, network: nn.Module) -> None:
        """Measures a checkpoint if the last measurement is old enough.

        Raises:
            GateFailure: the student is over the budget.
            InputError: it cannot be exported or compiled.
        """
        del network  # it has hooks, and lies where it trains
        if self._is_due(path):
            self._judge(path, self._look(path, epoch, self._task.restore(path), shaping=False))

    def while_shaping(self, path: Path, epoch: int, network: nn.Module) -> None:
        """Measures what would be cut out now: ``network``, on the CPU."""
        if self._is_due(path):
            self._look(path, epoch, network.eval(), shaping=True)

    def finish(self, result: Result) -> None:
        """Measures the chosen student, and adds all measurements to ``metrics.json``.

        Raises:
            GateFailure: the chosen student is over the budget.
            InputError: it cannot be exported or compiled.
            MissingError: there is no board to measure on.
        """
        try:
            self._last(result.chosen.checkpoint)
        finally:
            paths = [run.checkpoint for run in result.runs]
            paths += [path.parent / SHAPING / path.name for path in paths]
            known = {files.load(path).meta.get("training", "") for path in paths if path.is_file()}
            found = [asdict(entry) for entry in entries.read(self._folder, known)]
            metrics = json.loads(read_text(result.metrics))
            write_json(result.metrics, {**metrics, "watch": found})

    def _last(self, path: Path) -> None:
        """Measures a finished student, unless its last epoch was measured within the budget."""
        saved = files.load(path)
        done = [
            entry
            for entry in entries.read(self._folder, {saved.meta.get("training", "")})
            if (entry.training, entry.epoch, entry.shaping) == (path.stem, saved.epoch, False)
        ]
        if not done or done[-1].over or done[-1].budget != self._budget:
            self._judge(path, self._measured(path, saved.epoch, self._task.restore(path), False))

    def _is_due(self, path: Path) -> bool:
        if not path.stem.startswith(f"{self._kind}-"):
            return False
        now, before = time.monotonic(), self._looked.get(str(path))
        return before is None or now - before >= self._every

    def _look(self, path: Path, epoch: int, network: nn.Module, shaping: bool) -> Entry | None:
        """A measurement; None, with a warning, if no board can be had: others may follow."""
        try:
            return self._measured(path, epoch, network, shaping)
        except MissingError as error:
            console.warn(f"{path.stem}, epoch {epoch}: not measured: {error}")
            return None
        finally:
            self._looked[str(path)] = time.monotonic()

    def _measured(self, path: Path, epoch: int, network: nn.Module, shaping: bool) -> Entry:
        place, manifest = self._artifacts.of(network)
        inputs = [spec.model_dump() for spec in manifest.inputs]
        arrays = list(random_sample(np.random.default_rng(0), inputs).values())
        tried: list[tuple[float, ...]] = []
        with _lost_boards(), self._model(place / manifest.library) as model:
            # A disturbance makes runs slower, never faster: the least median counts.
            while len(tried) < ATTEMPTS and (not tried or min(tried)[0] > self._budget):
                model.time(arrays, WARM_UP)
                times = [model.time(arrays, BLOCK) for _ in range(RUNS // BLOCK)]
                milliseconds = np.concatenate([np.array(block) for block in times]) * 1e3
                tried.append(tuple(np.percentile(milliseconds, [50, 95, 99]).tolist()))
            board = model.facts.get("board")
        p50, p95, p99 = min(tried)
        metric, coverage = self._task.metric, manifest.coverage
        entry = Entry(
            training=path.stem,
            identity=files.load(path).meta.get("training", ""),
            epoch=epoch,
            shaping=shaping,
            structure=place.parent.name,
            p50=p50,
            p95=p95,
            p99=p99,
            runs=RUNS,
            board=None if self._here else board,
            budget=self._budget,
            score=self._task.score(network, "val"),
            metric=metric.name,
            tasks=int(coverage["tasks"]),
            tuned=int(coverage["tuned"]),
            t=round(time.time(), 1),
        )
        entries.append(self._folder, entry)
        state = " (structure not settled)" if shaping else ""
        console.say(
            f"  {path.stem}, epoch {epoch}{state}: p50 {p50:.3g} ms, p95 {p95:.3g}, p99 {p99:.3g} "
            f"of {self._budget:g} ms, validation {metric.text(entry.score)}"
        )
        return entry

    def _model(self, library: Path) -> RemoteModel:
        address = self._boards.address()
        model = RemoteModel(library, self._target.to_dict(), address, self._boards.stack)
        if model.emulated:
            model.close()
            raise MissingError(
                f"the board at {model.facts.get('board')} is emulated, and its times mean nothing: "
                "[distill] watch needs a real one"
            )
        return model

    def _judge(self, path: Path, entry: Entry | None) -> None:
        if entry is None or not entry.over:
            return
        untuned = entry.tasks - entry.tuned
        advice = (
            f"{untuned} of its {entry.tasks} kernels are not tuned: tune them (tvmkd tune), or "
            if untuned
            else ""
        )
        raise GateFailure(
            f"{path.stem}, epoch {entry.epoch}: over the budget of {self._budget:g} ms ([distill] "
            f"watch): p50 {entry.p50:.3g} ms, p99 {entry.p99:.3g} ms, the best of {ATTEMPTS} times "
            f"{RUNS} runs; {advice}give a smaller student, a larger budget or "
            f'latency = "table"; the checkpoint is {path}'
        )
