"""What differs between the stacks' tuners: how candidates are proposed, built and recorded.

The session, the loop, the builder and the boards are the same for every stack. A tuner backend is a
module with the functions of :class:`TunerBackend`; it imports its TVM inside them, so that reading
a folder of records needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from tvmkd.base import stack_registry
from tvmkd.tuning.records import StoredRecord
from tvmkd.tuning.space import Candidate, Space, Task

Stored = Callable[[str], list[StoredRecord]]
"""A task's key to its records from earlier runs."""

Arguments = list[tuple[str, list[int]]]
"""Dtype and shape of each argument of a kernel."""


class Recorder(Protocol):
    """Writes native records into one folder, by the process that holds its lock."""

    def add(self, task: Task, candidate: Candidate, figure: float) -> None:
        """Appends the record of a candidate, with one value: upstream ranks by the mean."""


class TunerBackend(Protocol):
    """The functions of a tuner backend's module."""

    def import_compiler(self) -> Any:
        """Imports this stack's TVM with all that tuning needs; returns the module."""

    def recorder(self, folder: Path) -> Recorder:
        """The writer of native records."""

    def spaces(self, tasks: Sequence[Task], stored: Stored, seed: int) -> list[Space]:
        """A search space for each task, which starts from the records that ``stored`` gives."""

    def setup(self, tasks: Sequence[Task]) -> Any:
        """JSON-safe data about all tasks, for the builder's process."""

    def source(self, candidate: Candidate) -> str:
        """A candidate as text, for `compile_object` in another process."""

    def plain_loops(self, task: Task, candidate: Candidate) -> str | None:
        """The task's computation in plain loops, as text for `compile_object`.

        It has the candidate's arguments, weights in the candidate's layout. None if the stack
        cannot make them: then only the check of the whole model finds a wrong kernel.
        """

    def uses_threads(self, candidate: Candidate) -> bool:
        """Whether a candidate uses more than one core."""

    def canary(self, target: Mapping[str, Any]) -> str | None:
        """A small kernel on all cores, as text for `compile_object`: see `tvmkd.tuning.canary`.

        It reads what other cores have written, and has one input and one output.

        Args:
            target: ``Target.to_dict()``.

        Returns:
            None where the stack cannot make one, or the target is a GPU.
        """

    def warm_up(self, setup: Any, cuda: Mapping[str, Any] | None, folder: Path) -> None:
        """Compiles one kernel in the builder's process, so that every fork of it starts warm."""

    def compile_object(self, source: str, setup: Any, path: Path) -> Arguments:
        """Compiles a candidate into the object file ``path``, its function called ``main``.

        Code for a GPU goes into another beside it, ``STEM.dev.o``.

        Returns:
            the function's arguments, weights in the layout of the schedule.
        """


def of(stack: str) -> TunerBackend:
    """The tuner backend of a stack.

    Raises:
        UsageError: there is no such stack.
    """
    return cast("TunerBackend", stack_registry.load(stack_registry.get(stack).tuner_backend))
