"""``tvmkd stack``: one file per subcommand."""

from __future__ import annotations

import click

from tvmkd.cli import LazyGroup

VERBS = {
    "install": "Install a compiler stack into a separate environment.",
    "list": "List the compiler stacks, and why one cannot be used.",
}


class StackGroup(LazyGroup):
    """The subcommands of ``tvmkd stack``."""

    verbs = VERBS
    package = __name__


@click.command(cls=StackGroup)
def command() -> None:
    """Install and list the compiler stacks.

    There are two: `relax` is the TVM that is installed with tvmkd; `relay` is the classic TVM (0.14
    to 0.19) in a separate Python environment.
    """
