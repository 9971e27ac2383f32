"""The programs that a bundle contains, compiled for its target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tvmkd.deploy import native_programs
from tvmkd.deploy.bundles import tool
from tvmkd.deploy.bundles.model import Model

RUN, SERVER, STREAM, TOOL = (
    f"bin/{name}"
    for name in (native_programs.RUN, native_programs.SERVER, native_programs.STREAM, tool.NAME)
)
"""Their paths in a bundle."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Program:
    """One program.

    Attributes:
        path: of the file here.
        place: its path in a bundle.
        what: one line for people.
        static: needs no library of the board.
    """

    path: Path
    place: str
    what: str
    static: bool


def build(model: Model, tell: Tell) -> list[Program]:
    """Compiles them, or takes them from the cache: ``tvmkd-run`` first, then the others.

    Raises:
        MissingError: there is no compiler.
    """
    target = model.target
    run = native_programs.run_program(target, tell=tell)
    # Not the static server with the model linked in: the weights would be there twice, and what is
    # served would not be what the self-test ran.
    server = native_programs.server_program(target, tell=tell)
    stream = native_programs.stream_program(target, tell=tell)
    checker = tool.program(target.architecture)
    return [
        Program(run, RUN, "runs and times the library", False),
        Program(server, SERVER, "serves the library over HTTP", False),
        Program(stream, STREAM, "runs frames through the library on time", False),
        Program(checker, TOOL, "verifies signatures and switches versions", True),
    ]
