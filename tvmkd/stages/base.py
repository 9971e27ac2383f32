"""`Stage`: one step of a run, which states everything it reads and writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tvmkd.base import files

if TYPE_CHECKING:
    from tvmkd.config import Config
    from tvmkd.stages.context import RunContext


class Stage(ABC):
    """One stage of a run. Subclasses import heavy libraries in `run` only.

    Attributes:
        name: of the stage, and of its section in ``tvmkd.toml`` if it has one.
        after: the stage that comes before it in the order of a run.
        optional: True if the stage is part of a run only where the config has its section.
        makes_student: True if the stage trains or changes the student.
    """

    name: ClassVar[str]
    after: ClassVar[type[Stage] | None] = None
    optional: ClassVar[bool] = False
    makes_student: ClassVar[bool] = False

    def __init__(self, context: RunContext) -> None:
        self.context = context

    @classmethod
    def is_part_of(cls, cfg: Config) -> bool:
        """True if a run of this config has the stage."""
        return not cls.optional or getattr(cfg, cls.name) is not None

    def check(self) -> list[str]:
        """Looks for mistakes that would otherwise show only after earlier stages have run.

        Returns:
            warnings, one line each.

        Raises:
            TvmkdError: the stage cannot run with this config.
        """
        return []

    @property
    def forced(self) -> bool:
        """True if the stage must run even if nothing it reads has changed."""
        return False

    @abstractmethod
    def inputs(self) -> dict[str, Any]:
        """Everything the stage reads, JSON-safe: config fields, hashes of files, versions.

        Called after the earlier stages have run. Two equal results mean equal work.
        """

    @abstractmethod
    def outputs(self) -> list[Path]:
        """The files and folders that the stage has written, for a check that they are intact."""

    @abstractmethod
    def run(self) -> dict[str, Any]:
        """Does the work and returns a JSON-safe summary."""

    def key(self) -> str:
        """The hash of `inputs`, of the stage's name and of tvmkd's version."""
        return files.key(self.name, **self.inputs())


def in_order(last: type[Stage]) -> tuple[type[Stage], ...]:
    """The stages up to and with ``last``, first to last, by their ``after``."""
    found: list[type[Stage]] = []
    stage: type[Stage] | None = last
    while stage is not None:
        found.append(stage)
        stage = stage.after
    return tuple(reversed(found))
