"""``tvmkd board``: one file per subcommand."""

from __future__ import annotations

import click

from tvmkd.cli import LazyGroup

VERBS = {
    "bundle": "Create the archive that turns a bare board into a TVM RPC server.",
    "serve": "Run the RPC server here: this machine becomes a board.",
    "list": "List the boards at a tracker.",
    "top": "Watch boards and inference servers, live.",
    "doctor": "Check the boards under a key and print how to fix each fault.",
    "emulate": "Run emulated boards here, registered with a tracker.",
}


class BoardGroup(LazyGroup):
    """The subcommands of ``tvmkd board``."""

    verbs = VERBS
    package = __name__


@click.command(cls=BoardGroup)
def command() -> None:
    """Make, serve, list, watch, check and emulate boards.

    A first board takes ten minutes: docs/start/first-board.md.
    """
