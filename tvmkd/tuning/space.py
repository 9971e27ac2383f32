"""A tuning task, its candidates, and the protocol of a search space."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from tvm.ir import IRModule
    from tvm.s_tir import Schedule
    from tvm.target import Target

History = Sequence[tuple[str, float | None]]


@dataclass
class Task:
    """One kernel to tune.

    Attributes:
        name: a readable name.
        key: TVM's structural hash of ``mod``, in hex (see :func:`tvmkd.tuning.records.task_key`).
        mod: an ``IRModule`` with the single ``PrimFunc`` ``main``.
        target: the ``tvm.target.Target``.
        weight: how often the model runs this kernel, or what else its seconds are to count.
        flop: floating point operations of one run.
        kind: ``conv2d``, ``depthwise``, ``dense``...
        template: a space made for this kind of kernel; None: evolution over upstream's rules.
    """

    name: str
    key: str
    mod: IRModule
    target: Target
    weight: float
    flop: float
    kind: str
    template: Space | None = None

    def summary(self) -> dict[str, Any]:
        """This task's entry in the sidecar and in events."""
        return {
            "key": self.key,
            "name": self.name,
            "weight": self.weight,
            "flop": self.flop,
            "kind": self.kind,
            "template": self.template is not None,
        }


def union(groups: Iterable[Sequence[Task]], weights: Mapping[str, float] | None) -> list[Task]:
    """The distinct tasks of several models, those that weigh most first.

    Args:
        groups: the tasks of each model.
        weights: by task key; a task that is not there is left out. None: the sums of the models'.
    """
    found: dict[str, Task] = {}
    for task in itertools.chain.from_iterable(groups):
        if task.key in found:
            found[task.key].weight += task.weight
        elif weights is None or task.key in weights:
            found[task.key] = task
    if weights is None:
        return sorted(found.values(), key=lambda task: -task.flop * task.weight)
    for key, task in found.items():
        task.weight = weights[key]
    return sorted(found.values(), key=lambda task: -task.weight)


@dataclass(frozen=True)
class Candidate:
    """One way to schedule a task.

    Attributes:
        key: :func:`candidate_key` of the schedule's trace: unique within a task, and the same
            when it is worked out again from the record.
        schedule: applied already. Its ``trace`` goes into the record, its ``mod`` is built.
        config: features for a model, or None.
    """

    key: str
    schedule: Schedule
    config: dict[str, Any] | None = None


class Space(Protocol):
    """Proposes candidates for one task."""

    size: int | None
    """How many candidates there are in all; None if unknown."""

    def propose(
        self, n: int, known: set[str], history: History, rng: np.random.Generator
    ) -> list[Candidate]:
        """At most ``n`` candidates that are worth measuring next.

        Args:
            known: keys that must not be proposed (measured, failed or set aside).
            history: key and seconds (None: failed) of every trial of this task, oldest first.
            rng: the only source of chance: the same state gives the same proposals.

        Returns:
            candidates with distinct keys, none in ``known``; empty when there are no more.
        """


def plain(value: Any) -> Any:
    """A TVM container as lists, strings and numbers that ``json`` can write."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(name): plain(item) for name, item in value.items()}
    if hasattr(value, "value"):  # IntImm, FloatImm
        return value.value
    return [plain(item) for item in value]


def _canonical(value: Any) -> Any:
    """Numbers alike however they were written: 1, 1.0 and true are one thing to TVM's JSON."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return value


def candidate_key(trace_json: Any) -> str:
    """The key of a trace, given as the JSON that a record holds (20 hex digits)."""
    text = json.dumps(_canonical(trace_json), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def schedule_key(schedule: Schedule) -> str:
    """The key of an applied schedule: :func:`candidate_key` of its trace."""
    return candidate_key(plain(schedule.trace.as_json()))


def candidate(schedule: Schedule, config: dict[str, Any] | None = None) -> Candidate:
    """The candidate for an applied schedule."""
    return Candidate(schedule_key(schedule), schedule, config)
