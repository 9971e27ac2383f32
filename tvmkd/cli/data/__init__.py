"""``tvmkd data``: one file per subcommand."""

from __future__ import annotations

import click

from tvmkd.cli import LazyGroup

VERBS = {
    "crops": "Cut the objects of a detection set out, for a classifier.",
    "preview": "Draw what a camera makes of some training images.",
}


class DataGroup(LazyGroup):
    """The subcommands of ``tvmkd data``."""

    verbs = VERBS
    package = __name__


@click.command(cls=DataGroup)
def command() -> None:
    """Look at the images that a model is trained on.

    What changes them is chosen by `augment` under `[data]` in a tvmkd.toml.
    """
