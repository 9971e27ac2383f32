"""Which of several models to run: down when late or hot, up again when cool and fast enough.

Both ways need evidence, so that the ladder does not swing: down takes several misses, up takes a
calm time, and each failed step up doubles the calm time that the next one needs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Rules:
    """When to step.

    Attributes:
        budget_ms: of a frame, from its release to its end.
        hot: °C at which to step down before clocks fall; None: temperature does not count.
        cool: °C down to which a board that was hot must cool before stepping up.
        misses: so many missed deadlines among the last ``window`` frames step down.
        window: number of frames.
        calm_s: seconds without a miss before a step up.
        margin: share of the budget that the next better model may be expected to use.
        probation_s: a step down within so many seconds of a step up means that it failed.
        most_calm_s: limit of the doubled calm time.
        settle_s: seconds after a step down before heat alone causes another.
    """

    budget_ms: float
    hot: float | None = None
    cool: float | None = None
    misses: int = 2
    window: int = 15
    calm_s: float = 5.0
    margin: float = 0.9
    probation_s: float = 10.0
    most_calm_s: float = 160.0
    settle_s: float = 10.0


@dataclass(frozen=True)
class Step:
    """A change of the model.

    Attributes:
        second: since the start.
        before, after: positions on the ladder; 0 is the best model.
        why: for people.
    """

    second: float
    before: int
    after: int
    why: str


class Ladder:
    """Chooses the model of the next frame.

    Args:
        reference_ms: what a frame takes with each model on a cool, idle board, the best first.
        rules: when to step.
    """

    def __init__(self, reference_ms: Sequence[float], rules: Rules) -> None:
        self.rung = 0
        self.steps: list[Step] = []
        self._reference = list(reference_ms)
        self._rules = rules
        self._missed: deque[bool] = deque(maxlen=rules.window)
        self._latency: deque[float] = deque(maxlen=rules.window)
        self._calm_since = 0.0
        self._calm_needed = rules.calm_s
        self._raised_at: float | None = None
        self._stepped_at = 0.0
        self._hot = False
        self._celsius: float | None = None

    def feel(self, celsius: float | None) -> None:
        """Takes a new temperature; None if the board has none. Keeps "hot" until it is cool."""
        self._celsius = celsius
        rules = self._rules
        if celsius is None or rules.hot is None:
            self._hot = False
        elif celsius >= rules.hot:
            self._hot = True
        elif celsius <= (rules.hot if rules.cool is None else rules.cool):
            self._hot = False

    def see(self, second: float, latency_ms: float | None) -> Step | None:
        """Takes the result of a frame, and changes `rung` where the rules say so.

        Args:
            second: since the start.
            latency_ms: from the frame's release to its end; None: it was dropped.
        """
        missed = latency_ms is None or latency_ms > self._rules.budget_ms
        self._missed.append(missed)
        if latency_ms is not None:
            self._latency.append(latency_ms)
        if missed:
            self._calm_since = second
        return self._down(second) or self._up(second)

    def _down(self, second: float) -> Step | None:
        rules, last = self._rules, self.rung == len(self._reference) - 1
        late = sum(self._missed) >= rules.misses
        heated = self._hot and self._above_hot() and second - self._stepped_at >= rules.settle_s
        if last or not (late or heated):
            return None
        if self._raised_at is not None:
            failed = second - self._raised_at <= rules.probation_s
            doubled = min(2 * self._calm_needed, rules.most_calm_s)
            self._calm_needed = doubled if failed else rules.calm_s
        self._raised_at = None
        why = (
            f"{sum(self._missed)} of {len(self._missed)} frames were late"
            if late
            else f"{self._celsius:.1f} °C, at least {rules.hot:g}"
        )
        return self._step(second, self.rung + 1, why)

    def _above_hot(self) -> bool:
        return (
            self._celsius is not None
            and self._rules.hot is not None
            and self._celsius >= self._rules.hot
        )

    def _up(self, second: float) -> Step | None:
        rules = self._rules
        calm = second - max(self._calm_since, self._stepped_at)
        if self.rung == 0 or self._hot or calm < self._calm_needed or not self._latency:
            return None
        expected = self._expected(self.rung - 1)
        if expected > rules.margin * rules.budget_ms:
            return None
        self._raised_at = second
        return self._step(
            second, self.rung - 1, f"calm for {calm:.0f} s, {expected:.1f} ms are expected"
        )

    def _expected(self, rung: int) -> float:
        """What ``rung`` would take now: its reference, slowed down as much as the current one."""
        slowed = max(self._latency) / self._reference[self.rung]
        return self._reference[rung] * max(slowed, 1.0)

    def _step(self, second: float, after: int, why: str) -> Step:
        step = Step(second, self.rung, after, why)
        self.rung = after
        self.steps.append(step)
        self._missed.clear()
        self._latency.clear()
        self._stepped_at = second
        return step
