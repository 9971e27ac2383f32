"""Runs a network with early exits in pieces, or in one standalone library."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tvmkd import artifact
from tvmkd.artifact import MANIFEST, Artifact
from tvmkd.base.errors import InputError
from tvmkd.base.exits import rule_of
from tvmkd.early_exit import runtime
from tvmkd.early_exit.runtime import EarlyExit
from tvmkd.runtime.standalone_program import Late


class EarlyExitLibrary:
    """As `EarlyExit`, in one standalone library (``tvmkd build exits/ --runtime standalone``).

    Args:
        library: an artifact with early exits.

    Attributes:
        rule, thresholds: as of `EarlyExit`.

    Raises:
        InputError: the artifact has none.
    """

    def __init__(self, library: Artifact) -> None:
        if not library.manifest.exits:
            raise InputError(f"{library.path}: has no early exits; load it with tvmkd.load")
        self.library = library
        self.rule = rule_of(library.manifest.exits)
        self.thresholds = list(self.rule.thresholds)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, int]:
        """Classifies one image: see `EarlyExit.__call__`."""
        (logits,), taken = self.library.run_until([image])
        return logits, taken

    def run_until(self, image: np.ndarray, deadline: int) -> tuple[np.ndarray, int]:
        """Classifies one image before a deadline: where the time is short, at an earlier exit.

        The first exit is always reached, if need be too late.

        Args:
            image: as of a call.
            deadline: nanoseconds of ``time.monotonic_ns``.

        Returns:
            logits, and the exit, as of a call.

        Raises:
            InputError: another shape or dtype.
        """
        try:
            (logits,), taken = self.library.run_until([image], deadline)
        except Late:
            (logits,), taken = self.library.run_exit([image], 0), 0
        return logits, taken


def load(folder: str | Path) -> EarlyExit | EarlyExitLibrary:
    """Checks and loads a network with early exits.

    Args:
        folder: of pieces, written by ``tvmkd distill``; or of a standalone library made of one.

    Raises:
        InputError: the folder has no plan, or something in it is damaged, changed, or not for this
            machine.
        MissingError: the TVM that a piece needs is not installed.
    """
    if (Path(folder) / MANIFEST).is_file():
        return EarlyExitLibrary(artifact.load(folder))
    return runtime.load(folder)
