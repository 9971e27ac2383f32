"""A latency table: predicts a network's time on a target from the times of its kernels there."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base import stack_registry
from tvmkd.base.errors import InputError
from tvmkd.base.wire import Event
from tvmkd.search.latency import composition, correction, drift, reference
from tvmkd.search.latency.composition import Composition, Timed
from tvmkd.search.latency.drift import Reading
from tvmkd.search.latency.folder import Folder, TimedNetwork, TrialFacts, open_folder
from tvmkd.search.latency.interpolation import KernelModel
from tvmkd.search.latency.lowering import Lowering, structure
from tvmkd.search.latency.prediction import Kernel, KernelTime, Measured, Prediction
from tvmkd.search.latency.target_boards import TargetBoards
from tvmkd.tuning import records
from tvmkd.tuning.session import SCORE, check_evaluator, check_made_for, read_info

if TYPE_CHECKING:
    from torch import nn

    from tvmkd.targets import Target

READING = 2.0
"""Seconds that a reading of the drift may wait: the median of many counts."""


class LatencyTable:
    """Implements `tvmkd.search.latency.prediction.Latency`. Use as a context manager.

    Args:
        path: the folder: tuning records and, beside them, what else was measured. It is made by
            the first measurement.
        target: what runs on the boards.
        boards: what measures; None: a table that only predicts.
        stack: the compiler stack.
        dims: sizes of free dimensions of ONNX files.
        python: the interpreter of the stack; None: the one that was installed.

    Attributes:
        correction: what predictions are multiplied by: see `tvmkd.search.latency.correction`.

    Raises:
        InputError: the folder is damaged, or was made for another target.
    """

    def __init__(
        self,
        path: Path,
        target: Target,
        boards: TargetBoards | None = None,
        stack: str = stack_registry.DEFAULT,
        dims: dict[str, int] | None = None,
        python: Path | None = None,
    ) -> None:
        check_made_for(path, target.to_dict(), stack)
        evaluator = str((read_info(path) or {}).get("evaluator", "time"))
        if boards is not None or evaluator == SCORE:
            check_evaluator(path, boards.evaluator if boards else "time")
            evaluator = boards.evaluator if boards else evaluator
        self.path, self.target, self.boards, self.stack = path, target, boards, stack
        self.exact = evaluator == "icount"
        self.unit = "instructions" if self.exact else "s"
        self.folder: Folder = open_folder(path)
        self.lowering = Lowering(target, stack, dims, python)
        self._measured: dict[str, float] = {}
        self._doubts: dict[str, float] = {}
        self._seen = dict(self.folder.kernels)
        self._model: KernelModel | None = None
        self._composition: Composition | None = None
        try:
            self.refresh()
        except BaseException:
            self.lowering.close()
            raise

    def __enter__(self) -> LatencyTable:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the compiler's process and frees the boards."""
        self.lowering.close()
        if self.boards is not None:
            self.boards.close()

    def refresh(self) -> None:
        """Reads the records again, after they have changed."""
        self._model = self._composition = None
        self._measured, self._doubts = {}, {}
        self.correction = correction.factor(self.path)
        if not self.path.is_dir():
            return
        trials = self.folder.trial_facts()
        for key, found in records.best([self.path]).items():
            best = found[0]
            facts = trials.get((key, best.key), TrialFacts())
            slower = 1.0
            if not self.exact:
                lasting = drift.factor(self.folder.readings, facts.t, facts.board)
                slower = lasting * facts.slower
                self._doubts[key] = facts.doubt
            self._measured[key] = best.seconds / slower

    def kernels(self, model: nn.Module | Path, shape: Sequence[int] | None = None) -> list[Kernel]:
        """The kernels that a network becomes on the target.

        Raises:
            InputError: the network cannot be exported or compiled.
        """
        found = self.lowering.kernels(model, shape)
        self._seen.update({kernel.key: kernel for kernel in found})
        return found

    def measured(self, key: str) -> float | None:
        """Seconds of a kernel alone, without the machine's drift; None: nobody has measured it."""
        return self._measured.get(records.normal_key(key))

    def holds_times(self) -> bool:
        """True if any kernel of this target was measured, of whatever network."""
        return bool(self._measured)

    def history(self, key: str) -> list[float | None]:
        """Seconds of each trial of a kernel, oldest first; None for those that failed."""
        wanted = records.normal_key(key)
        return [
            line.get("figure")
            for line in records.trials(self.path)
            if records.normal_key(line["task"]) == wanted
        ]

    def times(self, kernels: Sequence[Kernel]) -> list[KernelTime]:
        """The time of each kernel alone, measured or interpolated.

        Raises:
            InputError: nothing in the table says anything about a kernel.
        """
        unknown = [kernel for kernel in kernels if self.measured(kernel.key) is None]
        guesses = iter(self._kernel_model().predict_all(unknown) if unknown else [])
        found = []
        for kernel in kernels:
            seconds = self.measured(kernel.key)
            if seconds is not None:
                error = self._doubts.get(records.normal_key(kernel.key), 0.0)
                found.append(KernelTime(kernel, seconds, "measured", error))
            else:
                seconds, error = next(guesses)
                found.append(KernelTime(kernel, seconds, "interpolated", error))
        return found

    def _kernel_model(self) -> KernelModel:
        if self._model is None:
            known = [
                (kernel, seconds)
                for key, kernel in self._seen.items()
                if (seconds := self.measured(key)) is not None
            ]
            if not known:
                lacks = "no kernel of this target has been measured"
                if self._measured:
                    lacks = "none of this network's kernels has been measured, nor any like them"
                raise InputError(f"{self.path}: {lacks}; measure some with: tvmkd latency table")
            self._model = KernelModel()
            self._model.fit([kernel for kernel, _ in known], [seconds for _, seconds in known])
        return self._model

    @property
    def composition(self) -> Composition:
        """The model that adds the kernels up, fitted to the networks that were timed."""
        if self._composition is None:
            self._composition = composition.fit(self.timed(), self.exact)
        return self._composition

    def timed(self) -> list[Timed]:
        """The networks that were timed whole, without drift.

        Raises:
            InputError: the folder does not know one of their kernels.
        """
        found = []
        for network in self.folder.networks:
            kernels = []
            for key, calls in network.calls.items():
                seconds, error = network.times[key]
                kernel = replace(self._kernel(key), calls=calls)
                kernels.append(KernelTime(kernel, seconds, "measured", error))
            slower = self.folder.slowdown(network)
            found.append(Timed(kernels, network.seconds / slower.expected, slower.doubt))
        return found

    def _kernel(self, key: str) -> Kernel:
        found = self.folder.kernels.get(key)
        if found is None:
            raise InputError(
                f"{self.path}: a network has the kernel {key}, which kernels.jsonl does not; "
                "remove networks.jsonl to time the networks again"
            )
        return found

    def predict(self, kernels: Sequence[Kernel]) -> Prediction:
        """The time of a network with these kernels.

        Raises:
            InputError: nothing in the table says anything about a kernel.
        """
        return correction.corrected(self.composition.predict(self.times(kernels)), self.correction)

    def predict_model(
        self, model: nn.Module | Path, shape: Sequence[int] | None = None
    ) -> Prediction:
        """`predict` of the `kernels` of a network."""
        return self.predict(self.kernels(model, shape))

    def tune(
        self,
        models: Sequence[Path],
        weights: Mapping[str, float],
        trials: int,
        *,
        seed: int = 0,
        on_event: Event | None = None,
    ) -> float:
        """Makes ``trials`` more trials of some kernels; returns the seconds that boards were busy.

        Args:
            models: ONNX files that have these kernels, see `files`.
            weights: what a second of each kernel counts, by its key.

        Raises:
            MissingError: no board answers; what was measured is kept.
        """
        begin = time.monotonic()
        try:
            with self.lowering.admitted(*models) as found:
                self._boards().tune(
                    self.lowering,
                    found,
                    self.path,
                    weights,
                    trials=trials,
                    seed=seed,
                    on_event=on_event,
                )
        finally:
            self.refresh()
        return time.monotonic() - begin

    def files(self, keys: Iterable[str]) -> list[Path]:
        """A few ONNX files, of networks lowered before, which have all these kernels."""
        return self.lowering.files(keys)

    def measure(self, onnx: Path) -> Measured:
        """Builds a network for the target, with the table's records, and times it there.

        The table learns from it.

        Raises:
            InputError: the network cannot be compiled.
            MissingError: no board answers.
        """
        kernels = self.kernels(onnx)
        boards = self._boards()
        with tempfile.TemporaryDirectory(prefix="tvmkd-network-") as work:
            out = Path(work) / "artifact"
            self.lowering.build(onnx, self._records(), out)
            fixed = None if self.exact else self.reference()
            raw = boards.measure(out, fixed, self._usual)
        if raw.fixed:
            self.folder.add_reading(Reading(time.time(), raw.fixed, raw.board))
        self._learn(structure(onnx), kernels, raw)
        self.refresh()
        slower = drift.slowdown(self.folder.readings, time.time(), raw.fixed, raw.board)
        return replace(raw, seconds=raw.seconds / slower.certain, drift=slower)

    def _learn(self, name: str, kernels: Sequence[Kernel], measured: Measured) -> None:
        try:
            times = self.times(kernels)
        except InputError:
            return  # not one kernel was measured: nothing can be said of their sum
        self.folder.add_kernels(kernels)
        calls: dict[str, int] = {}
        for kernel in kernels:
            calls[kernel.key] = calls.get(kernel.key, 0) + kernel.calls
        self.folder.add_network(
            TimedNetwork(
                name,
                calls,
                {each.kernel.key: (each.seconds, each.error) for each in times},
                measured.seconds,
                measured.spread,
                measured.fixed,
                measured.board,
                time.time(),
                sum(kernel.flop * kernel.calls for kernel in kernels) / 2,
            )
        )

    def _boards(self) -> TargetBoards:
        if self.boards is None:
            raise InputError(f"{self.path}: this table only predicts: no boards were given for it")
        return self.boards

    def _records(self) -> list[Path]:
        return [self.path] if records.holds_records(self.path) else []

    def read_drift(self, every: float = 0.0) -> None:
        """Times the fixed network, so that kernels which are tuned next can be corrected by it.

        Args:
            every: seconds; a reading that is not older is enough.

        Raises:
            MissingError: no board answers.
        """
        last = max((reading.t for reading in self.folder.readings), default=0.0)
        if 0.0 <= time.time() - last < every:
            return
        fixed = self.reference()
        raw = self._boards().measure(fixed, fixed, self._usual, READING)
        if raw.fixed:
            self.folder.add_reading(Reading(time.time(), raw.fixed, raw.board))

    def _usual(self, board: str) -> float | None:
        return drift.least(self.folder.readings, board)

    def reference(self) -> Path:
        """The artifact of the fixed network; built once, and kept with the table."""
        path = self.path / reference.FOLDER
        if not path.is_dir():
            reference.build(self.lowering, path)
        return path

    def describe(self) -> dict[str, Any]:
        """JSON-safe facts: where the times come from, and how good the predictions are."""
        return {
            "folder": str(self.path),
            "target": self.target.name,
            "stack": self.stack,
            "evaluator": "icount" if self.exact else "time",
            "kernels_measured": len(self._measured),
            "kernels_known": len(self.folder.kernels),
            **({} if self.correction == 1.0 else {"correction": self.correction}),
            **self.composition.describe(),
        }
