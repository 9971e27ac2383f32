"""A search space that is a list of configurations, ranked by a cost model that learns."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import s_tir

from tvmkd.stacks.relax.templates.threads import EXPECTED
from tvmkd.tuning.space import Candidate, History, candidate

Config = dict[str, Any]
ENOUGH = {False: 10, True: 4}
"""Measured members from which a learned model ranks better than the order of the list: without and
with an expectation for each, which the model then only corrects.
"""


class EnumeratedSpace:
    """The members ``apply(Schedule(mod), config)`` for each configuration, best guess first.

    Members whose schedule cannot be applied are left out silently: a configuration is a wish, and
    the schedule primitives are the judge of what is legal.
    """

    def __init__(
        self,
        mod: tvm.IRModule,
        configs: Sequence[Config],
        apply: Callable[[s_tir.Schedule, Config], None],
    ) -> None:
        self._mod = mod
        self._configs = list(configs)
        self._apply = apply
        self._members: dict[int, Candidate | None] = {}
        self._numbers: dict[str, int] = {}
        self.size: int | None = len(self._configs)

    @property
    def configs(self) -> Sequence[Config]:
        """The configurations, in the order of the members' numbers."""
        return self._configs

    def member(self, number: int) -> Candidate | None:
        """The member at a place of the list, None where its schedule is not legal."""
        if number not in self._members:
            schedule = s_tir.Schedule(self._mod, debug_mask="none", error_render_level="none")
            member: Candidate | None = None
            try:
                self._apply(schedule, self._configs[number])
                member = candidate(schedule, self._configs[number])
                if member.key in self._numbers:  # two wishes, one schedule
                    member = None
                else:
                    self._numbers[member.key] = number
            except (s_tir.ScheduleError, tvm.error.InternalError, ValueError):
                pass
            self._members[number] = member
        return self._members[number]

    def default(self) -> s_tir.Schedule | None:
        """The schedule to use where nothing was measured: the first legal member's."""
        for number in range(len(self._configs)):
            member = self.member(number)
            if member is not None:
                return member.schedule
        return None

    def propose(
        self,
        n: int,
        known: set[str],
        history: History,
        rng: np.random.Generator,
    ) -> list[Candidate]:
        """Up to ``n`` members whose keys are not in ``known``; empty when there are none."""
        unplaced = {key for key, _ in history} - self._numbers.keys()
        if unplaced:  # a resumed session: find out which members its keys stand for
            for number in range(len(self._configs)):
                self.member(number)
        chosen: list[Candidate] = []
        for number in self._order(history, rng):
            member = self.member(number)
            if member is not None and member.key not in known:
                chosen.append(member)
                if len(chosen) == n:
                    break
        return chosen

    def _order(self, history: History, rng: np.random.Generator) -> list[int]:
        guess = list(range(len(self._configs)))
        measured = [(self._numbers[k], s) for k, s in history if k in self._numbers and s]
        if len(measured) >= ENOUGH[EXPECTED in self._configs[0]]:
            predicted = self._predict(measured)
            guess = [int(i) for i in np.argsort(predicted, kind="stable")]
        shuffled = [int(i) for i in rng.permutation(len(guess))]
        # Every fourth one at random: the model knows nothing of what nobody tried.
        merged: dict[int, None] = {}
        for place, number in enumerate(guess):
            merged.setdefault(number)
            if place % 3 == 2:
                merged.setdefault(shuffled[place])
        return list(merged)

    def _predict(self, measured: Sequence[tuple[int, float]]) -> np.ndarray:
        import xgboost

        features = _features(self._configs)
        rows = np.array([number for number, _ in measured])
        expected = np.log([float(config.get(EXPECTED, 1.0)) for config in self._configs])
        surprise = np.log([seconds for _, seconds in measured]) - expected[rows]
        model = xgboost.XGBRegressor(
            n_estimators=60, max_depth=4, learning_rate=0.2, n_jobs=1, random_state=0
        )
        # Machines differ in their clocks: only differences between members count.
        model.fit(features[rows], surprise - surprise.mean())
        return np.asarray(expected + model.predict(features))


def _features(configs: Sequence[Config]) -> np.ndarray:
    """A row for each member: float32 ``[members, names]``.

    Numbers as they are; words as a small stable number each. Members of several algorithms have
    different names; what a member does not have is NaN, which XGBoost takes for missing.
    """
    names = sorted({name for config in configs for name in config})

    def number(value: Any) -> float:
        if value is None:
            return math.nan
        if isinstance(value, (int, float)):
            return float(value)
        return hashlib.sha256(str(value).encode()).digest()[0] / 255

    rows = [[number(config.get(name)) for name in names] for config in configs]
    return np.array(rows, dtype=np.float32)
