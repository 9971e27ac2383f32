"""What a compiler stack implements so that `tvmkd.stacks.build` can build its artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from tvmkd.export.check import ModelInfo
from tvmkd.tuning.records import StoredRecord
from tvmkd.tuning.space import Task

Chosen = Mapping[str, StoredRecord]
"""The record that each tuned task is built with, by task key."""


class Model(Protocol):
    """An imported ONNX file."""

    @property
    def info(self) -> ModelInfo:
        """Facts about the file."""

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """``{"name", "shape", "dtype"}`` of each input, in order."""

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """``{"name", "shape", "dtype"}`` of each output, in order."""


class Builder(Protocol):
    """Builds libraries of one model with the records that are chosen for its tasks.

    Attributes:
        stack: the stack's name.
        version: of the compiler.
        runtime: what runs its libraries, one of `tvmkd.base.runtimes.RUNTIMES`.
        tasks: the model's tasks, by key.
        byoc: report on regions in another engine, JSON-safe; None if none were requested.
    """

    stack: str
    version: str
    runtime: str
    tasks: dict[str, Task]
    byoc: Mapping[str, Any] | None

    def ahead(self, chosen: Chosen, *, defaults: bool) -> AbstractContextManager[None]:
        """Inside the block, may compile in the background what `library` is asked for first.

        Args:
            chosen, defaults: as `library` will get them.
        """

    def files(self, library: Path) -> Mapping[str, Path]:
        """The files of an artifact by name, once `library` has written ``library``."""

    def library(self, chosen: Chosen, path: Path, *, defaults: bool) -> Path:
        """Compiles a library into ``path``.

        Args:
            chosen: the records to use.
            path: the file to write.
            defaults: use the stack's default schedules for tasks without a record; else compile
                them without any schedule, as the reference in the search for a wrong record.

        Returns:
            ``path``.
        """

    def over_rpc(self) -> Builder:
        """A builder of the same kernels whose libraries a board's RPC server can run."""

    def fits(self, task: Task, record: StoredRecord) -> bool:
        """Whether the record can be applied to the task."""

    def default_schedule(self, task: Task) -> str:
        """The name of the schedule that a task without a record runs."""

    def kernel_facts(self, chosen: Chosen) -> dict[str, dict[str, Any]]:
        """The facts that a profile needs about each kernel, by its name in the library."""
