from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tvmkd import cli


@dataclass(frozen=True)
class Ended:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line of an expected error."""
        lines = [line for line in self.err.splitlines() if line.startswith("tvmkd: error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0].removeprefix("tvmkd: error: ")


@pytest.fixture
def tvmkd(capfd: pytest.CaptureFixture[str], extras: set[str]) -> Callable[..., Ended]:
    """Runs a command line in this process: ``tvmkd("targets", "--json")``.

    `tvmkd compare` without ``--engine`` leaves out optional engines, installed or not.
    """
    del extras

    def call(*argv: object) -> Ended:
        capfd.readouterr()
        code = cli.execute([str(word) for word in argv])
        return Ended(code, *capfd.readouterr())

    return call
