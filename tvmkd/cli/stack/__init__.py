"""``tvmkd stack``: one file per subcommand."""

from __future__ import annotations

import click

from tvmkd.cli import LazyGroup

VERBS = {
    "install": "Install a compiler stack into an environment of its own.",
    "list": "List the compiler stacks and say why one cannot be used.",
}


class StackGroup(LazyGroup):
    """The subcommands of ``tvmkd stack``."""

    verbs = VERBS
    package = __name__


@click.command(cls=StackGroup)
def command() -> None:
    """Install and list the compiler stacks.

    There are two: `relax` is the TVM that tvmkd is installed with, `relay` the classic one (0.14 to
    0.19) in a Python of its own.
    """
