"""The boards of a latency table: kernels are tuned and whole networks timed on them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tvmkd import artifact
from tvmkd.base import resources, stack_registry
from tvmkd.base.errors import MissingError, UsageError
from tvmkd.base.locks import Lock
from tvmkd.base.wire import Event
from tvmkd.boards import here
from tvmkd.boards.model_timer import ModelTimer
from tvmkd.search.latency.drift import DISTURBED
from tvmkd.search.latency.lowering import Lowering
from tvmkd.search.latency.prediction import Measured
from tvmkd.tuning.canary import Patience

if TYPE_CHECKING:
    from tvmkd.export.check import ModelInfo
    from tvmkd.targets import Target

ROUNDS = 8
"""Slices of the network that count."""
SLICE = 0.03
"""Seconds of each; the fixed network is timed for half of it before and after."""
SECONDS_PER_INSTRUCTION = 1e-9
WARM_UP = 0.1
LONGEST = 20.0
"""Seconds that one network may wait for slices that count."""
PATIENCE = 60.0
FACTOR = 5.0
"""What may be waited in all: so many seconds, and so many times what measuring has taken."""


class TargetBoards:
    """The boards under a key, or this machine as one. Use as a context manager.

    Args:
        target: what runs on them.
        stack: the compiler stack.
        tracker: host and port of TVM's tracker; None: a tracker and one board on this machine,
            which start when they are needed.
        key: of the boards.
        evaluator: ``"time"``, or ``"icount"`` on emulated boards that count instructions.
        boards: to tune on at once; None: all under the key.
        python: the interpreter of the stack; None: the one that was installed.

    Raises:
        UsageError: the target does not run on this machine, and there is no tracker.
    """

    def __init__(
        self,
        target: Target,
        stack: str = stack_registry.DEFAULT,
        *,
        tracker: tuple[str, int] | None = None,
        key: str = "local",
        evaluator: str = "time",
        boards: int | None = None,
        python: Path | None = None,
    ) -> None:
        reason = here.why_not(target) if tracker is None else None
        if reason is not None:
            raise UsageError(
                f"{target.name}: nothing can be timed on this machine: {reason}; give the tracker "
                "and the key of its boards"
            )
        self.target, self.stack, self.evaluator = target, stack, evaluator
        self._tracker, self._key, self._boards = tracker, key, boards
        self._python = python
        self._opened = contextlib.ExitStack()
        self._address: dict[str, Any] | None = None
        self._timer = ModelTimer(stack, python=python)
        self._patience = Patience(PATIENCE, FACTOR)

    def __enter__(self) -> TargetBoards:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the boards."""
        self._timer.close()
        self._opened.close()
        self._address = None

    def address(self) -> dict[str, Any]:
        """``{"host", "port", "key"}`` of the tracker.

        Raises:
            MissingError: there is none, or no board under the key.
        """
        if self._address is not None:
            return self._address
        if self._tracker is None:
            from tvmkd.runtime import interpreters

            runs = interpreters.find(self.stack, self._python)
            fleet = here.fleet(self.target, 1, self._key, runs)
            self._address = self._opened.enter_context(fleet)
        else:
            from tvmkd.boards.connect import check

            check(*self._tracker, self._key)
            host, port = self._tracker
            self._address = {"host": host, "port": port, "key": self._key}
        return self._address

    def tune(
        self,
        lowering: Lowering,
        models: Sequence[ModelInfo],
        folder: Path,
        weights: Mapping[str, float],
        *,
        trials: int,
        seed: int = 0,
        on_event: Event | None = None,
    ) -> dict[str, Any]:
        """Makes ``trials`` more trials of the kernels in ``weights``, into a records folder.

        Returns:
            the session's summary, see `tvmkd.tuning.tune.tune`.

        Raises:
            MissingError: no board answers.
            InputError: another process tunes into the folder.
        """
        from tvmkd.tuning import records

        wanted = {records.normal_key(key) for key in weights}
        done = sum(records.normal_key(line["task"]) in wanted for line in records.trials(folder))
        return lowering.client.tune(
            models[0],
            self.target.to_dict(),
            folder,
            trials=done + trials,
            tracker=self.address(),
            seed=seed,
            options={"boards": self._boards, "evaluator": self.evaluator, "steady": True},
            others=models[1:],
            weights=weights,
            on_event=on_event,
        )

    def measure(
        self,
        folder: Path,
        reference: Path | None = None,
        usual: Callable[[str], float | None] = lambda _: None,
        longest: float = LONGEST,
    ) -> Measured:
        """Times an artifact and the fixed network in turns; the drift is left in.

        Args:
            folder: the artifact.
            reference: that of the fixed network; not used by boards that count instructions.
            usual: seconds that the fixed network takes on a board, ``HOST:PORT``, when nothing
                disturbs it; None: unknown. What was timed beside a slower one does not count, since
                not everything is slowed down alike: see `tvmkd.tuning.canary`.
            longest: seconds to wait for undisturbed moments.

        Raises:
            MissingError: no board answers, or it is lost meanwhile.
        """
        address = self.address()
        begin = time.monotonic()
        try:
            with self._alone():
                board = self._timer.connect(address, self.target.to_dict())
                self._load("model", folder)
                if self.evaluator == "icount":
                    count = self._timer.count("model")
                    seconds, spread, fixed = count * SECONDS_PER_INSTRUCTION, 0.0, 0.0
                else:
                    assert reference is not None
                    self._load("reference", reference)
                    seconds, spread, fixed = self._undisturbed(usual(board), longest)
                self._timer.release()
        except BaseException as error:
            # Not released: a board that hangs would not answer that either.
            self._timer.close()
            if self._tracker is None and isinstance(error, MissingError):
                self._forget_fleet()
            raise
        took = time.monotonic() - begin
        return Measured(seconds, spread, fixed=fixed, board=board, board_seconds=took)

    def _forget_fleet(self) -> None:
        """Ends this machine's own board, whose server may be dead; the next call starts another."""
        self._opened.close()
        self._address = None

    def _undisturbed(self, usual: float | None, longest: float) -> tuple[float, float, float]:
        """The model's median and spread, and the fixed network's median, of undisturbed slices.

        The two are timed in turns, until `ROUNDS` slices of the model have an undisturbed one of
        the fixed network before and after. If there are none in time, the least disturbed count.
        """
        for name in ("model", "reference"):
            self._timer.time(name, WARM_UP)
        begin = time.monotonic()
        fixed, model = [self._slice("reference", SLICE / 2)], list[float]()
        while True:
            model.append(self._slice("model", SLICE))
            fixed.append(self._slice("reference", SLICE / 2))
            worst = np.maximum(fixed[:-1], fixed[1:])
            least = float(np.quantile(fixed, 0.1, method="higher"))
            calm = worst <= DISTURBED * min(least, usual or least)
            took = time.monotonic() - begin
            # A slow network gets less slices than it should.
            limit = min(longest, self._patience.left) if len(model) >= ROUNDS else longest
            if calm.sum() >= ROUNDS or took > limit:
                break
        self._patience.measured(took, took / len(model) * ROUNDS)
        if not calm.any():
            calm = worst <= np.sort(worst)[min(ROUNDS // 2, len(worst)) - 1]
        kept = np.array(model)[calm]
        low, middle, high = np.quantile(kept, [0.25, 0.5, 0.75])
        return float(middle), float((high - low) / middle), float(np.median(worst[calm]))

    def _slice(self, name: str, seconds: float) -> float:
        return float(np.median(self._timer.time(name, seconds)))

    def _load(self, name: str, folder: Path) -> None:
        manifest, library = artifact.read_with_library(folder)
        device = self.target.device
        specs = [spec.model_dump() for spec in manifest.inputs]
        self._timer.load(name, library, device, specs)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """While the board is this machine, no other process of tvmkd times a network here."""
        if self._tracker is not None:
            yield
            return
        folder = resources.cache("locks")
        folder.mkdir(parents=True, exist_ok=True)
        with Lock(folder / "timing", "timing a network", "stop it", wait=lambda _: None):
            yield
