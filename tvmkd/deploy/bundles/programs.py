"""The programs that a bundle contains, compiled for its target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tvmkd.deploy import native_programs
from tvmkd.deploy.bundles import tool
from tvmkd.deploy.bundles.model import Model

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Program:
    """One program.

    Attributes:
        path: of the file here.
        place: its path in a bundle.
        what: one line for people.
        static: needs no library of the board.
        contains: others' code that is linked in, names of `tvmkd.deploy.bundles.sbom.ELSEWHERE`.
    """

    path: Path
    place: str
    what: str
    static: bool
    contains: tuple[str, ...]


def build(model: Model, tell: Tell) -> list[Program]:
    """Compiles them, or takes them from the cache: ``tvmkd-run`` first, then the others.

    Raises:
        MissingError: there is no compiler.
        InputError: the model's archive cannot be linked.
    """
    target = model.target
    run = native_programs.run_program(target, tell=tell)
    server = native_programs.server_program(target, archive=model.archive, tell=tell)
    static = model.archive is not None
    served = "serves the model over HTTP" + (" (the model is linked in)" if static else "")
    return [
        Program(run, f"bin/{native_programs.RUN}", "runs and times the library", False, ("zig",)),
        Program(
            server,
            f"bin/{native_programs.SERVER}",
            served,
            static,
            ("zig", "musl") if static else ("zig",),
        ),
        Program(
            tool.program(target.architecture),
            f"bin/{tool.NAME}",
            "verifies signatures and switches versions",
            True,
            ("zig",),
        ),
    ]


def serve_command(built: Sequence[Program], name: str, library: str) -> str:
    """The server's command line, as seen from the bundle's folder.

    Args:
        built: from `build`.
        name: what the model is called in URLs.
        library: its path in the bundle, for a server that opens it.
    """
    server = built[1]
    model = "" if server.static else f" @HOME@/current/{library}"
    return f"{server.place}{model} --name {name}"
