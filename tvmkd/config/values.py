"""The values that one parameter of a search space may have: a list, or a range."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictFloat, StrictInt, model_validator

from tvmkd.config.fields import Count, Section


def _finite(number: int | float) -> int | float:
    if not math.isfinite(number):
        raise ValueError("wants a finite number")
    return number


Number = Annotated[StrictInt | StrictFloat, AfterValidator(_finite)]
DIGITS = 10
"""Decimals to which values of a range are rounded: 0.1 + 2 · 0.1 is 0.3."""


class Values(Section):
    """``[search.space.NAME]``: the values of a parameter: a plain list of them, or a table.

    NAME is ``model``, ``width``, ``depth``, ``kernel``, ``expansion``, ``resolution``, ``exits``,
    ``prune`` or ``precision``, or the path of any key of this file that describes a network or its
    training, in quotes: ``"distill.lr"``, ``"student.args.blocks"``. A table has the keys of a
    range (``low``, ``high``, and ``step`` or ``log``), or ``choices``.
    """

    choices: list[Any] | None = None
    """The values; ``NAME = [...]`` is short for a table with this key alone."""
    low: Number | None = None
    """Lowest value of a range. A range of whole numbers, with a whole ``step`` or none, has whole
    values."""
    high: Number | None = None
    """Highest value of a range."""
    step: Number | None = None
    """Distance of neighbouring values. Without it: 1 for whole numbers, any value otherwise."""
    log: bool = False
    """Draw the logarithm of the value evenly, for values that differ by orders of magnitude."""
    only: list[str] = Field(default_factory=list)
    """The models that have this parameter; others are built without it. Without it: those whose
    signature has the argument."""
    per_stage: StrictBool | Annotated[StrictInt, Field(ge=1)] = False
    """Choose a value for each stage of the network, which gets a list of them. ``true`` for
    registered models, whose stages are known; the number of stages for others."""
    channels: Literal["efficient"] | None = None
    """``efficient``, for a multiplier of channel counts with ``low`` and ``high``: offer only the
    values whose network is faster than every wider one, as the latency table says."""
    multiple: Count | None = None
    """With ``channels``: the counts to try are multiples of this. Without it: 4, or the target's
    channel multiple if that is smaller."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        if isinstance(data, list):
            return {"choices": data}
        if not isinstance(data, dict):
            if isinstance(data, Values):
                return data
            raise ValueError("wants a list of values, or a range such as { low = 0.5, high = 1.5 }")
        if isinstance(data.get("only"), str):
            return {**data, "only": [data["only"]]}
        return data

    @model_validator(mode="after")
    def _complete(self) -> Values:
        if self.choices is not None:
            given = [name for name in _OF_RANGES if getattr(self, name) not in (None, False)]
            if given:
                raise ValueError(f"has choices, which go without {given[0]}")
            _check_choices(self.choices)
            return self
        if self.low is None or self.high is None:
            absent = "high" if self.high is None else "low"
            if self.low is None and self.high is None:
                raise ValueError("wants a list of values, or low and high of a range")
            raise ValueError(f"has no {absent}; a range has low and high")
        _check_range(self.low, self.high, self.step, self.log)
        if self.channels is not None and (self.step is not None or self.log or self.per_stage):
            raise ValueError("channels finds the values itself: leave step, log and per_stage out")
        if self.multiple is not None and self.channels is None:
            raise ValueError('multiple goes with channels = "efficient"')
        return self

    @property
    def whole(self) -> bool:
        """True for a range of whole numbers; channel multipliers are none."""
        if self.channels is not None:
            return False
        bounds = (self.low, self.high, 1 if self.step is None else self.step)
        return self.choices is None and all(isinstance(bound, int) for bound in bounds)

    def listed(self) -> list[Any] | None:
        """All values in order; None for a range without steps, which has too many."""
        if self.choices is not None:
            return list(self.choices)
        assert self.low is not None
        assert self.high is not None
        if self.low == self.high:
            return [self.low]
        step = 1 if self.whole and self.step is None else self.step
        if step is None:
            return None
        count = round((self.high - self.low) / step) + 1
        if self.whole:
            return [self.low + index * step for index in range(count)]
        return [float(round(self.low + index * step, DIGITS)) for index in range(count)]

    def samples(self) -> list[Any]:
        """The values that stand for all when they are checked: the list, or both ends."""
        return list(self.choices) if self.choices is not None else [self.low, self.high]


_OF_RANGES = ("low", "high", "step", "log", "channels", "multiple")
MOST = 100_000
"""Values that a range may have: more is a mistyped step, or a range without one."""


def _check_choices(choices: list[Any]) -> None:
    if not choices:
        raise ValueError("the list is empty; name at least one value")
    seen = set()
    for value in choices:
        try:
            text = json.dumps(value, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError(f"{value!r} is no value of a parameter") from None
        # 1 and 1.0 are the same width, but true is not 1.
        text = json.dumps(float(value)) if type(value) is int else text
        if text in seen:
            raise ValueError(f"names {value!r} twice")
        seen.add(text)


def _check_range(low: float, high: float, step: float | None, log: bool) -> None:
    if low > high:
        raise ValueError(f"low {low:g} is above high {high:g}")
    if log and low <= 0:
        raise ValueError(f"low {low:g} has no logarithm; with log = true it is above 0")
    if log and low < 10.0**-DIGITS:
        raise ValueError(f"low {low:g} is too small: values have {DIGITS} decimals")
    if step is None:
        if isinstance(low, int) and isinstance(high, int) and high - low >= MOST:
            raise ValueError(f"has more than {MOST} values; give a step")
        return
    if log:
        raise ValueError("has step and log; give one of them")
    if step <= 0:
        raise ValueError(f"step {step:g} is not above 0")
    count = (high - low) / step
    if count >= MOST:
        raise ValueError(f"has more than {MOST} values; give a larger step")
    if abs(count - round(count)) > 1e-6:
        last = low + math.floor(count) * step
        raise ValueError(
            f"step {step:g} from low {low:g} does not reach high {high:g}; high = {last:g} fits"
        )
