"""``tvmkd data``: one file per subcommand."""

from __future__ import annotations

import click

from tvmkd.cli import LazyGroup

VERBS = {
    "crops": "Cut the objects out of a detection data set, to train a classifier.",
    "preview": "Show training images with each effect of the simulated camera.",
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
